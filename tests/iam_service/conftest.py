"""Fixtures of the IAM tests: boto3 against a real front door on SQLite and, where the database matters, PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cloudapi import ApiServer, api_server


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("cloud")) as served:
        yield served


@pytest.fixture
def iam(api: ApiServer) -> Any:
    """A client of the root of an account of its own."""
    _, keys = api.create_account("lab")
    return api.client("iam", keys=keys)
