"""One cloud for all end-to-end tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.clouds import running_cloud, short_place
from tests.e2e.servers import Servers, wait
from tests.templates import SharedTemplates


@pytest.fixture(scope="module")
def servers(request: pytest.FixtureRequest, templates: SharedTemplates) -> Iterator[Servers]:
    """A new cloud with the module's `POOL`, and `CONFIGURATION` if it has one; gone with all in it afterwards."""
    configuration = getattr(request.module, "CONFIGURATION", "")
    with short_place() as place, running_cloud(place / "e2e", request.module.POOL, configuration, templates) as cloud:
        servers = Servers(cloud)
        log = cloud.paths.log / "host.log"
        wait(lambda: "template ready" in log.read_text(), "there is a template: servers are clones of it")
        templates.keep(cloud.data_dir)
        yield servers
        servers.close()
        if request.session.testsfailed:
            print(cloud.logs())
