"""Codes of MFA devices, on SQLite and PostgreSQL: each works once, in its time."""

from __future__ import annotations

import datetime as dt
import threading

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.records.identities import MfaDevice
from freehold.records.ids import AccountId
from freehold.records.mfa import STEP_SECONDS, code_at, device_of, step_of, synchronise, verify_code
from freehold.records.secrets import MFA_DEVICE, Sealer
from freehold.records.store import Store

ACCOUNT = AccountId("111122223333")
ARN = f"arn:aws:iam::{ACCOUNT}:mfa/phone"
SEED = pyotp.random_base32()
SEALER = Sealer(bytes(range(32)))


@pytest.fixture
def device(store: Store) -> MfaDevice:
    with store.write() as tx:
        device = MfaDevice(
            ARN, ACCOUNT, "AIDAALICE", SEALER.seal(MFA_DEVICE, ARN, SEED.encode()), tx.now, tx.now, step_latest=0,
            skew_steps=0,
        )  # fmt: skip
        tx.insert(device)
    return device


def verified(store: Store, step: int) -> bool:
    with store.write() as tx:
        device = tx.get(MfaDevice, ARN)
        assert device is not None
        return verify_code(tx, SEALER, device, code_at(SEED, step))


def this_step() -> int:
    return step_of(dt.datetime.now(dt.UTC))


@given(st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2090, 1, 1)))
def test_codes_are_those_of_an_authenticator(moment: dt.datetime) -> None:
    moment = moment.replace(tzinfo=dt.UTC)
    assert code_at(SEED, step_of(moment)) == pyotp.TOTP(SEED, interval=STEP_SECONDS).at(moment)


def test_a_code_works_once(store: Store, device: MfaDevice) -> None:
    now = this_step()
    assert verified(store, now)
    assert not verified(store, now)
    assert not verified(store, now - 1), "a code older than one that was used"
    assert verified(store, now + 1), "a clock that is fast"
    assert not verified(store, now + 5)
    with store.write() as tx:
        assert not verify_code(tx, SEALER, device, "12345")
        assert not verify_code(tx, SEALER, device, "12345é")


def test_of_two_calls_with_one_code_one_is_refused(store: Store, device: MfaDevice) -> None:
    code = code_at(SEED, this_step())
    answers: list[bool] = []

    def call() -> None:
        with store.write() as tx:
            answers.append(verify_code(tx, SEALER, device, code))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False, False, False, True]


def test_two_codes_in_a_row_tell_how_the_clock_is_off(store: Store, device: MfaDevice) -> None:
    with store.write() as tx:
        now = step_of(tx.now)

        def given(step_1: int, step_2: int) -> MfaDevice | None:
            return synchronise(tx, SEALER, device, code_at(SEED, now + step_1), code_at(SEED, now + step_2))

        assert given(40, 42) is None
        assert given(42, 41) is None
        assert given(99, 100) is None
        synchronised = given(40, 41)
        assert synchronised is not None
        assert synchronised.skew_steps == 41
        assert given(40, 41) is None, "used before"
    assert not verified(store, now)
    assert not verified(store, now + 41)
    assert verified(store, now + 42)


def test_a_device_is_its_owners(store: Store, device: MfaDevice) -> None:
    with store.read() as tx:
        assert device_of(tx, ACCOUNT, "AIDAALICE", ARN) == device
        assert device_of(tx, ACCOUNT, "AIDABOB", ARN) is None
        assert device_of(tx, AccountId("999999999999"), "AIDAALICE", ARN) is None
        assert device_of(tx, ACCOUNT, "AIDAALICE", "\0") is None
