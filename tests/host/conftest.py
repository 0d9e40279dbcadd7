"""A host for all tests of a module: the real agent in the network of a cloud whose pool is the module's `POOL`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.images.build import build
from tests.host.plane import AgentProcess, Plane, running_agent
from tests.ovn import Cloud, ovn_cloud
from tests.templates import SharedTemplates


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("host")


@pytest.fixture(scope="module")
def image_id(data_dir: Path) -> str:
    return build("freehold-micro", data_dir, print).image_id


@pytest.fixture(scope="module")
def cloud(request: pytest.FixtureRequest, data_dir: Path) -> Iterator[Cloud]:
    with ovn_cloud(data_dir, request.module.POOL) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def plane(data_dir: Path, cloud: Cloud) -> Iterator[Plane]:
    plane = Plane(data_dir)
    yield plane
    plane.close()


@pytest.fixture(scope="module")
def agent(
    request: pytest.FixtureRequest, data_dir: Path, plane: Plane, templates: SharedTemplates
) -> Iterator[AgentProcess]:
    """It has a template from the beginning if the run has made one, unless the module has `OWN_TEMPLATES`."""
    shares = not hasattr(request.module, "OWN_TEMPLATES")
    if shares:
        templates.lend(data_dir, "t3.nano")
    with running_agent(data_dir) as agent:
        yield agent
        if request.session.testsfailed:
            print(agent.log.read_text()[-4000:])
    if shares:
        templates.keep(data_dir)
