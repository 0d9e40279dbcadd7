"""Codes of virtual MFA devices: time-based one-time passwords (RFC 6238) of six digits, a new one every 30 seconds.

A code is the HOTP (RFC 4226) of its time step, the number of the half minute since 1970. A device's clock may be off:
by how many steps is found when it is enabled or resynchronised, with two codes in a row.
"""

from __future__ import annotations

import datetime as dt
import hmac

import pyotp
import sqlalchemy as sa

from freehold.records.identities import MfaDevice, mfa_devices
from freehold.records.ids import AccountId
from freehold.records.secrets import MFA_DEVICE, Sealer
from freehold.records.store import Transaction

STEP_SECONDS = 30
_TOLERANCE_STEPS = 1
"""A code is good one step before and after its own (RFC 6238 §5.2: for the time that it takes to type it in)."""
_SEARCHED_STEPS = 60
"""How far a device's clock may be off when it is enabled or resynchronised: half an hour."""


def step_of(moment: dt.datetime) -> int:
    """The time step of a moment."""
    return int(moment.timestamp()) // STEP_SECONDS


def code_at(seed: str, step: int) -> str:
    """The code that a device with this seed (in base 32) shows during a time step."""
    return pyotp.HOTP(seed).at(step)


def device_of(tx: Transaction, account_id: AccountId, owner_id: str, serial: str) -> MfaDevice | None:
    """The enabled device with this serial number (its ARN) of a user, or of the account's root (`owner_id` is then the
    account's id); None if it has no such."""
    return tx.find(MfaDevice, arn=serial, account_id=account_id, user_id=owner_id) if "\0" not in serial else None


def verify_code(tx: Transaction, sealer: Sealer, device: MfaDevice, code: str) -> bool:
    """Whether the device shows `code` now. A code that was accepted is refused from then on, as is every older one:
    `tx` has to be a transaction that writes."""
    seed = _seed(sealer, device)
    now = step_of(tx.now) + device.skew_steps
    for step in range(now - _TOLERANCE_STEPS, now + _TOLERANCE_STEPS + 1):
        if _same(code_at(seed, step), code):
            return _use(tx, device, step)
    return False


def synchronise(tx: Transaction, sealer: Sealer, device: MfaDevice, code_1: str, code_2: str) -> MfaDevice | None:
    """Find by two codes in a row by how much the device's clock is off; both are used up. None when they are not two
    codes in a row of this device, or were used before."""
    seed = _seed(sealer, device)
    now = step_of(tx.now)
    for skew in sorted(range(-_SEARCHED_STEPS, _SEARCHED_STEPS + 1), key=abs):
        if _same(code_at(seed, now + skew), code_2) and _same(code_at(seed, now + skew - 1), code_1):
            return tx.update(device, skew_steps=skew) if _use(tx, device, now + skew) else None
    return None


def _seed(sealer: Sealer, device: MfaDevice) -> str:
    return sealer.open(MFA_DEVICE, device.arn, device.sealed_seed).decode()


def _same(code: str, given: str) -> bool:
    return hmac.compare_digest(code.encode(), given.encode())


def _use(tx: Transaction, device: MfaDevice, step: int) -> bool:
    """Note a step as used, unless it or a later one is: of two calls at once with one code, one finds it used."""
    unused = sa.update(mfa_devices).where(mfa_devices.c.arn == device.arn, mfa_devices.c.step_latest < step)
    return tx.connection.execute(unused.values(step_latest=step)).rowcount == 1
