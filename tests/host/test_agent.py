"""The real host agent with real guests: told over its link what should be, and what then is."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from freehold.images.build import build
from tests.host.plane import AgentProcess, Plane, guest_spec, leftovers, running_agent
from tests.ovn import Cloud, ovn_cloud


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("host")


@pytest.fixture(scope="module")
def image_id(data_dir: Path) -> str:
    return build("freehold-micro", data_dir, print).image_id


@pytest.fixture(scope="module")
def cloud(data_dir: Path) -> Iterator[Cloud]:
    with ovn_cloud(data_dir, IPv4Network("203.0.113.0/28")) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def plane(data_dir: Path, cloud: Cloud) -> Iterator[Plane]:
    plane = Plane(data_dir)
    yield plane
    plane.close()


@pytest.fixture(scope="module")
def agent(data_dir: Path, plane: Plane) -> Iterator[AgentProcess]:
    with running_agent(data_dir) as agent:
        yield agent


def test_a_guest_boots_hears_the_power_button_and_leaves_nothing(
    plane: Plane, agent: AgentProcess, image_id: str, data_dir: Path, cloud: Cloud
) -> None:
    """Stopping by ACPI proves that the guest's own system runs: within the grace, QEMU is not ended by force."""
    spec = guest_spec(1, image_id)
    plane.assign(spec)
    plane.wait_for_state(spec.instance_id, "running")
    plane.want(spec.instance_id, "stopped", shutdown_grace_seconds=3600)
    stopped = plane.wait_for_state(spec.instance_id, "stopped")
    assert not stopped.guest_shutdown
    plane.want(spec.instance_id, "running")
    plane.wait_for_state(spec.instance_id, "running")
    plane.want(spec.instance_id, "absent")
    plane.wait_for_state(spec.instance_id, "absent")
    assert leftovers(data_dir, cloud.paths.switch) == []
