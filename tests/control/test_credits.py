"""CPU credits that a host reports become records and the bill; what it can not be is passed over."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from freehold.config import Config
from freehold.control.billing import bill
from freehold.control.credits import apply_credits
from freehold.host.wire import CreditReading, GuestReport, Report
from freehold.records.compute import Instance
from freehold.records.cpu_credits import CpuCredits
from freehold.records.store import Store

from .builders import ACCOUNT, HOST, make_host, make_instance, make_network

CONFIG = Config()


@pytest.fixture
def instance(store: Store) -> Instance:
    with store.write() as tx:
        make_network(tx)
        make_host(tx)
        return make_instance(tx, state="running", launched_at=tx.now - dt.timedelta(hours=1))


def say(store: Store, instance: Instance, *amounts: int, host: str = HOST) -> CpuCredits | None:
    """The host says these credits; what is recorded then."""
    with store.write() as tx:
        guest = GuestReport(instance.id, 1, "running", tx.now, credits=CreditReading(*amounts))
        apply_credits(tx, CONFIG, host, Report((guest,)))
        return tx.get(CpuCredits, instance.id)


def charged(store: Store) -> Decimal:
    with store.read() as tx:
        lines = bill(tx, CONFIG, ACCOUNT, tx.now - dt.timedelta(days=1), tx.now + dt.timedelta(days=1))
    return sum((line.cost for line in lines if line.item == "cpu-credits"), start=Decimal(0))


def test_what_is_charged_is_paid_once(store: Store, instance: Instance) -> None:
    for _ in range(2):
        recorded = say(store, instance, 0, 5000, 60_000)  # 60 minutes of a vCPU
    assert recorded is not None
    assert (recorded.surplus, recorded.charged) == (5000, 60_000)
    assert charged(store) == Decimal("0.05")
    say(store, instance, 0, 0, 63_000)
    assert charged(store) == Decimal("0.0525")


def test_a_host_can_not_charge_what_was_never_used(store: Store, instance: Instance) -> None:
    assert say(store, instance, 0, 0, 130_000) is None  # it has two vCPUs since an hour
    say(store, instance, 1000, 0, 0)
    say(store, instance, 1000, 0, 10_000)
    assert say(store, instance, 0, 0, 0, host="host-2") == say(store, instance, 0, 0, 0)
    assert charged(store) == 0


def test_a_host_that_has_forgotten_counts_on(store: Store, instance: Instance) -> None:
    say(store, instance, 0, 5000, 60_000)
    say(store, instance, 0, 5000, 0)
    assert charged(store) == Decimal("0.05")
    say(store, instance, 0, 0, 3_000)
    assert charged(store) == Decimal("0.0525")


def test_a_balance_is_written_down_from_time_to_time(store: Store, instance: Instance) -> None:
    say(store, instance, 1000, 0, 0)
    recorded = say(store, instance, 1001, 0, 0)
    assert recorded is not None
    assert recorded.balance == 1000
    with store.write() as tx:
        tx.update(recorded, at=recorded.at - dt.timedelta(minutes=2))
    recorded = say(store, instance, 1002, 0, 0)
    assert recorded is not None
    assert recorded.balance == 1002
