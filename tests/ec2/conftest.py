"""Fixtures of the EC2 tests that call operations on a store."""

from __future__ import annotations

import pytest

from freehold.records.accounts import Account
from freehold.records.store import Store
from freehold.services.ec2.default_vpc import open_region
from tests.ec2.calls import Caller
from tests.ec2.launching import add_host, add_images


def opened(store: Store, account: str, region: str = "us-east-1") -> Caller:
    """A caller of an account that has its default VPC in the region."""
    caller = Caller(store, account, region)
    with store.write() as tx:
        if tx.get(Account, caller.account) is None:
            tx.insert(Account(caller.account, "test", tx.now))
        open_region(tx, caller.config, caller.account, region)
    return caller


@pytest.fixture
def caller(store: Store) -> Caller:
    return opened(store, "111122223333")


@pytest.fixture
def ready(caller: Caller) -> Caller:
    """A caller who can launch: there are images, and a host with room."""
    add_host(caller.store)
    add_images(caller.store)
    return caller


@pytest.fixture
def stranger(store: Store) -> Caller:
    """Another account in the same region."""
    return opened(store, "444455556666")
