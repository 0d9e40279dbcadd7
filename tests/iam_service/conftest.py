"""Fixtures of the IAM tests: boto3 against a real front door on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cloudapi import ApiServer, api_server
from tests.conftest import opened_store


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    directory = tmp_path_factory.mktemp("cloud")
    with opened_store(request.param, directory, request) as store, api_server(directory, store=store) as served:
        yield served


@pytest.fixture
def iam(api: ApiServer) -> Any:
    """A client of the root of an account of its own."""
    _, keys = api.create_account("lab")
    return api.client("iam", keys=keys)
