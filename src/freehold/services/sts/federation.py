"""Temporary credentials of users: GetSessionToken for themselves, GetFederationToken for whom they vouch."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from freehold.records.sessions import Holder, Session
from freehold.services.operation import Call, Needed, Response, operation
from freehold.services.parameters import refuse_others
from freehold.services.sts import mfa, session_parameters
from freehold.services.sts.credentials import issued, packed, seconds_of
from freehold.services.sts.errors import AccessDenied

if TYPE_CHECKING:
    from mypy_boto3_sts.type_defs import GetFederationTokenRequestTypeDef, GetSessionTokenRequestTypeDef


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


def _federated(call: Call, request: GetFederationTokenRequestTypeDef) -> list[Needed]:
    arn = f"arn:aws:sts::{call.account_id}:federated-user/{request['Name']}"
    return [Needed(arn), *([Needed(arn, "sts:TagSession")] if request.get("Tags") else [])]


@operation(resources=_federated)
def get_federation_token(call: Call, request: GetFederationTokenRequestTypeDef) -> Response:
    """For someone who may do what both the caller's policies and the session's allow; without session policies nothing.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_GetFederationToken.html"""
    refuse_others(request, {"DurationSeconds", "Name", "Policy", "PolicyArns", "Tags"}, {"MinimumSessionTokenSize": 0})
    principal, name = call.principal, request["Name"]
    if principal.session is not None:
        raise AccessDenied("Cannot call GetFederationToken with session credentials")
    policies, policy_arns = session_parameters.policies(call, call.account_id, request)
    tags, _ = session_parameters.tags(request)
    expires_at = call.now + dt.timedelta(seconds=seconds_of(call, request.get("DurationSeconds")))
    session = Session(call.now, expires_at, policies=policies, policy_arns=policy_arns, tags=tags)
    answer = issued(call, Holder(call.account_id, "federated", principal.owner_id, name), session)
    user = {
        "FederatedUserId": f"{call.account_id}:{name}",
        "Arn": f"arn:aws:sts::{call.account_id}:federated-user/{name}",
    }
    return packed({**answer, "FederatedUser": user, "PackedPolicySize": 0}, session)
