"""Versions of managed policies: five at most, one of which is the default and counts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from freehold.records.feed import take_turn
from freehold.records.identities import ManagedPolicy, PolicyVersion
from freehold.services.iam.documents import encoded, managed_policy
from freehold.services.iam.managed_policies import (
    EVERYONES,
    document_of,
    load_own_policy,
    load_policy,
    policy_named,
)
from freehold.services.iam.paging import page_of
from freehold.services.iam.policy_errors import DeletePolicyConflict, LimitExceededOfVersions, NoSuchPolicy
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import (
        CreatePolicyVersionRequestTypeDef,
        DeletePolicyVersionRequestTypeDef,
        GetPolicyVersionRequestTypeDef,
        ListPolicyVersionsRequestTypeDef,
        SetDefaultPolicyVersionRequestTypeDef,
    )

MAX_VERSIONS = 5

_VERSION = re.compile(r"v([1-9][0-9]{0,9})")


@operation(resources=policy_named)
def create_policy_version(call: Call, request: CreatePolicyVersionRequestTypeDef) -> Response:
    """It counts at once with SetAsDefault, else not yet. Raises LimitExceeded at the sixth."""
    refuse_others(request, {"PolicyArn", "PolicyDocument", "SetAsDefault"})
    document = managed_policy(request["PolicyDocument"])
    take_turn(call.tx)
    policy = load_own_policy(call, request["PolicyArn"])
    if call.tx.count(PolicyVersion, policy_id=policy.id) >= MAX_VERSIONS:
        raise LimitExceededOfVersions(MAX_VERSIONS)
    version = PolicyVersion(policy.id, policy.version_latest + 1, call.account_id, document, call.now)
    call.tx.insert(version)
    default = version.version if request.get("SetAsDefault") else policy.version_default
    policy = call.tx.update(policy, version_latest=version.version, version_default=default, updated_at=call.now)
    return {"PolicyVersion": _summary(policy, version)}


@operation(resources=policy_named)
def get_policy_version(call: Call, request: GetPolicyVersionRequestTypeDef) -> Response:
    """With its document, URL-encoded."""
    refuse_others(request, {"PolicyArn", "VersionId"})
    policy = load_policy(call, request["PolicyArn"])
    version = _load(call, policy, request["VersionId"])
    return {"PolicyVersion": described(policy, version)}


@operation(resources=policy_named)
def list_policy_versions(call: Call, request: ListPolicyVersionsRequestTypeDef) -> Response:
    """Newest first; as in AWS, without documents."""
    refuse_others(request, {"PolicyArn", "Marker", "MaxItems"})
    policy = load_policy(call, request["PolicyArn"])
    found = page_of(call, request, versions_of(call, policy), lambda version: f"{2**40 - version.version:013}")
    return {"Versions": [_summary(policy, version) for version in found.rows], **found.end}


@operation(resources=policy_named)
def set_default_policy_version(call: Call, request: SetDefaultPolicyVersionRequestTypeDef) -> Response:
    """Which version counts for all who have the policy."""
    refuse_others(request, {"PolicyArn", "VersionId"})
    take_turn(call.tx)
    policy = load_own_policy(call, request["PolicyArn"])
    version = _load(call, policy, request["VersionId"])
    call.tx.update(policy, version_default=version.version, updated_at=call.now)
    return {}


@operation(resources=policy_named)
def delete_policy_version(call: Call, request: DeletePolicyVersionRequestTypeDef) -> Response:
    """Its number is not used again. Raises DeleteConflict for the default version."""
    refuse_others(request, {"PolicyArn", "VersionId"})
    take_turn(call.tx)
    policy = load_own_policy(call, request["PolicyArn"])
    version = _load(call, policy, request["VersionId"])
    if version.version == policy.version_default:
        raise DeletePolicyConflict("Cannot delete the default version of a policy.")
    call.tx.delete(version)
    return {}


def versions_of(call: Call, policy: ManagedPolicy) -> list[PolicyVersion]:
    """All versions of a policy, with their documents."""
    if policy.account_id == EVERYONES:
        return [PolicyVersion(policy.id, 1, EVERYONES, document_of(call, policy), policy.created_at)]
    return call.tx.select(PolicyVersion, policy_id=policy.id)


def described(policy: ManagedPolicy, version: PolicyVersion) -> dict[str, Any]:
    """A version with its document."""
    return {"Document": encoded(version.document), **_summary(policy, version)}


def _summary(policy: ManagedPolicy, version: PolicyVersion) -> dict[str, Any]:
    return {
        "VersionId": f"v{version.version}",
        "IsDefaultVersion": version.version == policy.version_default,
        "CreateDate": version.created_at,
    }


def _load(call: Call, policy: ManagedPolicy, version_id: str) -> PolicyVersion:
    number = _VERSION.fullmatch(version_id)
    for version in versions_of(call, policy):
        if number is not None and version.version == int(number[1]):
            return version
    raise NoSuchPolicy(f"Policy {policy.arn} version {version_id} does not exist or is not attachable")
