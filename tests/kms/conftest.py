"""Fixtures of the KMS tests: boto3 through the front door."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cloudapi import ApiServer, api_server


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("kms")) as served:
        yield served


@pytest.fixture(scope="session")
def kms(api: ApiServer) -> Any:
    """A client of the account's root."""
    return api.client("kms")


@pytest.fixture
def key_id(kms: Any) -> str:
    """A new symmetric key."""
    created: str = kms.create_key()["KeyMetadata"]["KeyId"]
    return created
