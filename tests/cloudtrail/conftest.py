"""Fixtures of the CloudTrail tests: boto3 through the front door, and what the controllers do behind it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from freehold.control.sealing import Chain
from freehold.records.store import Store
from freehold.records.trails import Bucket
from tests.cloudapi import ApiServer, api_server
from tests.front.audited import written


class Cloud:
    """A front door with the chain behind it. The bucket ``logs`` is the account's."""

    def __init__(self, api: ApiServer, directory: Path) -> None:
        self.api = api
        self.chain = Chain(api.store, api.sealer, directory / "audit.head")
        self.add_bucket("logs")

    def add_bucket(self, name: str, account_id: str | None = None) -> None:
        with self.api.store.write() as tx:
            tx.insert(Bucket(name, account_id or self.api.account_id, "us-east-1", tx.now))

    def client(self, region: str = "us-east-1", **options: Any) -> Any:
        return self.api.client("cloudtrail", region, **options)

    def settle(self, request_id: str) -> None:
        """Until the record of a request, and all before it, can be looked up."""
        for _ in range(200):
            if any(record["requestID"] == request_id for record in written(self.api.store)):
                self.chain.follow()
                return
            time.sleep(0.05)
        pytest.fail(f"{request_id} is not recorded")


@pytest.fixture
def cloud(store: Store, tmp_path: Path) -> Iterator[Cloud]:
    """On SQLite and on PostgreSQL."""
    with api_server(tmp_path, store=store) as api:
        yield Cloud(api, tmp_path)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """One on SQLite for tests that need no trail of their own alone."""
    directory = tmp_path_factory.mktemp("cloud")
    with api_server(directory) as api:
        yield Cloud(api, directory)
