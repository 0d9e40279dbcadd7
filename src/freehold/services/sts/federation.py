"""Temporary credentials of users: GetSessionToken."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from freehold.records.sessions import Holder, Session
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others
from freehold.services.sts import mfa
from freehold.services.sts.credentials import issued, seconds_of
from freehold.services.sts.errors import AccessDenied

if TYPE_CHECKING:
    from mypy_boto3_sts.type_defs import GetSessionTokenRequestTypeDef


@operation()
def get_session_token(call: Call, request: GetSessionTokenRequestTypeDef) -> Response:
    """https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html"""
    refuse_others(request, {"DurationSeconds", "SerialNumber", "TokenCode"}, {"MinimumSessionTokenSize": 0})
    principal = call.principal
    if principal.session is not None or principal.kind not in ("root", "user"):
        raise AccessDenied("Cannot call GetSessionToken with session credentials")
    mfa_at = mfa.proven_at(call, request)
    expires_at = call.now + dt.timedelta(seconds=seconds_of(call, request.get("DurationSeconds")))
    holder = Holder(call.account_id, principal.kind, principal.owner_id)
    return issued(call, holder, Session(call.now, expires_at, mfa_at))
