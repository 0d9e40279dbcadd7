"""CPU credits: what is earned and spent, and what a guest that has none left may use."""

from __future__ import annotations

import datetime as dt
import math

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from freehold.host.credits.account import SECONDS, CreditAccount, advance, most
from freehold.host.credits.keeper import Book, allowed, next_book
from freehold.host.wire import CreditSpec
from freehold.processes import Identity

NOW = dt.datetime(2026, 11, 26, tzinfo=dt.UTC)
QEMU = Identity(100, 1, "boot")
STANDARD = CreditSpec(12, unlimited=False)  # t3.micro: 2 vCPUs, a baseline of a fifth of one
UNLIMITED = CreditSpec(12, unlimited=True)
HOUR = 3600.0

amounts = st.floats(0, 1e5)
specs = st.builds(CreditSpec, st.integers(1, 200), st.booleans(), st.sampled_from((1.0, 60.0)))


@given(specs, st.lists(st.tuples(amounts, amounts)))
def test_accounts_are_never_impossible(spec: CreditSpec, steps: list[tuple[float, float]]) -> None:
    account = CreditAccount()
    for seconds, used in steps:
        before, account = account, advance(account, spec, seconds, used)
        assert 0 <= account.balance <= most(spec)
        assert 0 <= account.surplus <= most(spec)
        assert account.balance == 0 or account.surplus == 0
        assert account.charged >= before.charged
        assert spec.unlimited or account.charged == account.surplus == 0


@given(specs, amounts, amounts)
def test_nothing_is_lost_below_the_limits(spec: CreditSpec, seconds: float, used: float) -> None:
    spec = replace(spec, unlimited=True)
    account = advance(CreditAccount(), spec, seconds, used)
    worth = account.balance - account.surplus - account.charged
    earned = (spec.per_hour * SECONDS / HOUR * seconds - used) * spec.clock
    assert math.isclose(worth, min(earned, most(spec)), rel_tol=1e-9, abs_tol=1e-6)


def test_an_idle_hour_earns_the_types_credits_and_a_day_is_the_most() -> None:
    assert advance(CreditAccount(), STANDARD, HOUR, 0).balance == 12 * SECONDS
    assert advance(CreditAccount(), STANDARD, 100 * HOUR, 0).balance == 288 * SECONDS


def test_surplus_is_paid_back_and_charged_beyond_a_day_or_at_the_end() -> None:
    owing = advance(CreditAccount(), UNLIMITED, HOUR, 2 * HOUR)
    assert owing == CreditAccount(0, 108 * SECONDS, 0)
    assert advance(owing, UNLIMITED, 9 * HOUR, 0) == CreditAccount(0, 0, 0)
    assert advance(owing, UNLIMITED, 2 * HOUR, 4 * HOUR) == CreditAccount(0, 288 * SECONDS, 36 * SECONDS)
    assert advance(owing, STANDARD, 0, 0) == CreditAccount(0, 0, 108 * SECONDS)


def test_who_has_none_left_gets_the_baseline_until_there_is_enough_again() -> None:
    assert allowed(CreditAccount(1), STANDARD, 2, throttled=False) == 2
    assert allowed(CreditAccount(0), STANDARD, 2, throttled=False) == 0.2
    assert allowed(CreditAccount(1), STANDARD, 2, throttled=True) == 0.2
    assert allowed(CreditAccount(60), STANDARD, 2, throttled=True) == 2
    assert allowed(CreditAccount(0), UNLIMITED, 2, throttled=False) == 2


def book(before: Book | None, minutes: float, process: Identity | None, used: float) -> Book:
    return next_book(before, UNLIMITED, NOW + dt.timedelta(minutes=minutes), process, used)


def test_a_stop_keeps_the_balance_for_seven_days_and_settles() -> None:
    runs = book(book(None, 0, QEMU, 0), 60, QEMU, 0)
    assert runs.account.balance == 12 * SECONDS
    stopped = book(runs, 61, None, 0)
    assert book(stopped, 5000, None, 0) == stopped
    again = Identity(200, 2, "boot")
    assert book(stopped, 5000, again, 0).account.balance == 12 * SECONDS
    assert book(stopped, 7 * 24 * 60 + 62, again, 0).account.balance == 0
    owing = book(book(None, 0, QEMU, 0), 60, QEMU, 2 * HOUR)
    assert book(owing, 61, None, 0).account == CreditAccount(0, 0, 108 * SECONDS)


def test_an_agent_that_was_away_misses_nothing() -> None:
    begun = book(None, 0, QEMU, 5)
    watched = book(book(begun, 30, QEMU, 100), 60, QEMU, 400)
    away = book(begun, 60, QEMU, 400)
    assert math.isclose(watched.account.balance, away.account.balance)
