"""Codes of MFA devices in calls that take them.

https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_mfa_configure-api-require.html
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Mapping
from typing import Any

from freehold.records import mfa
from freehold.services.operation import Call, WriteNeeded
from freehold.services.sts.errors import AccessDenied

_FAILED = "MultiFactorAuthentication failed"


class Guesses:
    """How many wrong codes were given for each device of late, so that none is found by trying: of a million codes
    three are right at any time."""

    _MAX = 10
    _WINDOW = dt.timedelta(minutes=5)
    _REMEMBERED_MAX = 10_000

    def __init__(self) -> None:
        self._wrong: dict[str, list[dt.datetime]] = {}
        self._lock = threading.Lock()

    def too_many(self, device: str, now: dt.datetime) -> bool:
        with self._lock:
            recent = [at for at in self._wrong.pop(device, ()) if at > now - self._WINDOW]
            if recent:
                self._wrong[device] = recent
            return len(recent) >= self._MAX

    def add(self, device: str, now: dt.datetime) -> None:
        with self._lock:
            if len(self._wrong) >= self._REMEMBERED_MAX:
                del self._wrong[next(iter(self._wrong))]
            self._wrong.setdefault(device, []).append(now)


_guesses = Guesses()


def proven_at(call: Call, request: Mapping[str, Any]) -> dt.datetime | None:
    """When the caller proved to have their MFA device: now if SerialNumber and TokenCode say so, None if neither is
    given. Raises AccessDenied when they are not right, WriteNeeded outside a write transaction."""
    serial, code = request.get("SerialNumber"), request.get("TokenCode")
    if not serial and not code:
        return None
    if not serial or not code:
        raise AccessDenied(f"{_FAILED}, must provide both MFA serial number and one time pass code.")
    device = mfa.device_of(call.tx, call.account_id, call.principal.owner_id, serial)
    if device is None:
        raise AccessDenied(
            f"{_FAILED}, unable to validate MFA code.  Please verify your MFA serial number is valid and associated "
            "with this user."
        )
    if not call.tx.writable:
        raise WriteNeeded
    if _guesses.too_many(device.arn, call.now) or not mfa.verify_code(call.tx, call.sealer, device, code):
        _guesses.add(device.arn, call.now)
        raise AccessDenied(f"{_FAILED} with invalid MFA one time pass code. ")
    return call.now
