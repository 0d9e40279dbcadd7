"""AssumeRole.

https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from freehold.iam.policy import decide_on
from freehold.records.sessions import Holder, Session
from freehold.services.operation import Call, Needed, Response, Value, operation
from freehold.services.parameters import refuse_others
from freehold.services.sts import mfa, session_parameters, trust
from freehold.services.sts.credentials import issued, packed
from freehold.services.sts.errors import AccessDenied

if TYPE_CHECKING:
    from mypy_boto3_sts.type_defs import AssumeRoleRequestTypeDef

_HONOURED = {
    "DurationSeconds",
    "ExternalId",
    "Policy",
    "PolicyArns",
    "RoleArn",
    "RoleSessionName",
    "SerialNumber",
    "SourceIdentity",
    "Tags",
    "TokenCode",
    "TransitiveTagKeys",
}


def _decided_within(_call: Call, _request: AssumeRoleRequestTypeDef) -> list[Needed]:
    """The decision depends on the code of an MFA device, which can be verified only once."""
    return []


@operation(resources=_decided_within, read_only=True)
def assume_role(call: Call, request: AssumeRoleRequestTypeDef) -> Response:
    """A session of a role for whom its trust policy and their own policies let. Its credentials do not say that there
    was a code of an MFA device (as AWS's do not)."""
    refuse_others(request, _HONOURED, {"MinimumSessionTokenSize": 0})
    principal, before, role_arn = call.principal, call.principal.session, request["RoleArn"]
    account_id = trust.account_of(role_arn)
    tags, transitive = session_parameters.tags(request, before)
    source_identity = session_parameters.source_identity(request.get("SourceIdentity"), before)
    policies, policy_arns = session_parameters.policies(call, account_id, request)
    if principal.kind == "root":
        raise AccessDenied("Roles may not be assumed by root accounts.")
    if principal.kind == "federated":
        raise AccessDenied(
            f"User: {principal.arn} is not authorized to perform: sts:AssumeRole on resource: {role_arn}"
        )
    proven_at = mfa.proven_at(call, request)
    role = trust.role_named(call.tx, role_arn)
    actions = trust.actions_of("sts:AssumeRole", tagged=bool(tags), source_identity=source_identity is not None)
    needed = trust.needed(call, role_arn, role, actions, lambda: _keys(request, source_identity, transitive))
    decision = decide_on(replace(call, mfa_at=proven_at), "sts:AssumeRole", needed, request)
    if not decision.allowed or role is None:
        raise AccessDenied(decision.explanation)
    chained = principal.kind == "role"
    seconds = session_parameters.seconds(request.get("DurationSeconds"), role.session_seconds_max, chained=chained)
    name = request["RoleSessionName"]
    session = Session(
        call.now,
        call.now + dt.timedelta(seconds=seconds),
        policies=policies,
        policy_arns=policy_arns,
        tags=tags,
        transitive_tag_keys=transitive,
        source_identity=source_identity,
        chained=chained,
    )
    answer: dict[str, Any] = {
        **issued(call, Holder(role.account_id, "role", role.id, name), session),
        "AssumedRoleUser": {
            "AssumedRoleId": f"{role.id}:{name}",
            "Arn": f"arn:aws:sts::{role.account_id}:assumed-role/{role.name}/{name}",
        },
    }
    if source_identity is not None:
        answer["SourceIdentity"] = source_identity
    return packed(answer, session)


def _keys(
    request: AssumeRoleRequestTypeDef, source_identity: str | None, transitive: tuple[str, ...]
) -> Mapping[str, Value]:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html#condition-keys-sts"""
    return {
        "sts:ExternalId": request.get("ExternalId"),
        "sts:RoleSessionName": request["RoleSessionName"],
        "sts:SourceIdentity": source_identity,
        "sts:TransitiveTagKeys": list(transitive) or None,
    }
