"""Fixtures of the STS tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cloudapi import ApiServer, api_server


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("cloud")) as served:
        yield served
