"""One cloud for all end-to-end tests of a module."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.clouds import CommandCloud
from tests.e2e.servers import Servers


@pytest.fixture(scope="module")
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """A new cloud, whose pool is the module's `POOL`; gone with everything in it afterwards."""
    place = Path(tempfile.mkdtemp(prefix="fh-"))
    cloud = CommandCloud.at(place / "e2e", request.module.POOL)
    try:
        cloud.up()
        servers = Servers(cloud)
        yield servers
        servers.ec2.close()
    finally:
        if request.session.testsfailed:
            print(cloud.logs())
        cloud.destroy()
        shutil.rmtree(place)
