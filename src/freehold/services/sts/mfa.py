"""Codes of MFA devices in calls that take them.

https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_mfa_configure-api-require.html
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from freehold.records import mfa
from freehold.services.guesses import Guesses
from freehold.services.operation import Call, WriteNeeded
from freehold.services.sts.errors import AccessDenied

_FAILED = "MultiFactorAuthentication failed"
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
    if _guesses.too_many(device.arn) or not mfa.verify_code(call.tx, call.sealer, device, code):
        _guesses.add(device.arn)
        raise AccessDenied(f"{_FAILED} with invalid MFA one time pass code. ")
    return call.now
