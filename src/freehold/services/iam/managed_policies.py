"""Managed policies: the account's own, and those that everyone has.

The ones that everyone has are data (freehold.iam.managed), and stand here as records of the account ``aws``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.iam import managed
from freehold.iam.managed import AwsPolicy
from freehold.records.accounts import User, users
from freehold.records.feed import take_turn
from freehold.records.identities import (
    ManagedPolicy,
    PolicyAttachment,
    PolicyVersion,
    Role,
    policy_attachments,
    roles,
)
from freehold.records.ids import AccountId, new_iam_id
from freehold.records.tags import Tag, delete_tags_of, tags_of
from freehold.services.iam import tags
from freehold.services.iam.documents import managed_policy
from freehold.services.iam.errors import InvalidInput, LimitExceeded
from freehold.services.iam.paging import page_of
from freehold.services.iam.policy_errors import DeletePolicyConflict, NoSuchPolicy, PolicyAlreadyExists
from freehold.services.iam.resources import all_under, arn_of, tags_by_key
from freehold.services.operation import Call, Needed, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import (
        CreatePolicyRequestTypeDef,
        DeletePolicyRequestTypeDef,
        GetPolicyRequestTypeDef,
        ListPoliciesRequestTypeDef,
        ListPolicyTagsRequestTypeDef,
        TagPolicyRequestTypeDef,
        UntagPolicyRequestTypeDef,
    )

MAX_POLICIES = 1500
EVERYONES = AccountId("aws")


def policy_named(call: Call, request: Any) -> list[str | Needed]:
    """For `operation(resources=…)`: the policy whose ARN is in the request."""

    def held() -> dict[str, str]:
        own = {"arn": request["PolicyArn"], "account_id": call.account_id}
        policy = call.tx.find(ManagedPolicy, **own) if "\0" not in own["arn"] else None
        return tags_by_key(call, policy.id) if policy else {}

    return [Needed(request["PolicyArn"], tags=held)]


def _created(call: Call, request: CreatePolicyRequestTypeDef) -> list[str]:
    return [arn_of(call.account_id, "policy", request.get("Path", "/"), request["PolicyName"])]


def find_policy(call: Call, policy_arn: str) -> ManagedPolicy | None:
    """The policy with this ARN that the caller's account may use. Raises InvalidInput for what is no policy's ARN."""
    if not policy_arn.startswith("arn:aws:iam::") or ":policy/" not in policy_arn:
        raise InvalidInput(f"ARN {policy_arn} is not valid.")
    everyones = managed.policies().get(policy_arn)
    if everyones is not None:
        return _record(everyones)
    return call.tx.find(ManagedPolicy, arn=policy_arn, account_id=call.account_id)


def load_policy(call: Call, policy_arn: str) -> ManagedPolicy:
    """The same. Raises NoSuchEntity, too."""
    policy = find_policy(call, policy_arn)
    if policy is None:
        raise NoSuchPolicy(f"Policy {policy_arn} was not found")
    return policy


def load_own_policy(call: Call, policy_arn: str) -> ManagedPolicy:
    """The account's own policy with this ARN, to be changed. Raises InvalidInput or NoSuchEntity."""
    policy = load_policy(call, policy_arn)
    if policy.account_id == EVERYONES:
        raise InvalidInput(f"The policy {policy_arn} is managed by AWS and can not be changed.")
    return policy


def is_attachable(policy: ManagedPolicy) -> bool:
    """Whether users, groups and roles may have it: not if it is for the roles of services."""
    return policy.account_id != EVERYONES or managed.policies()[policy.arn].attachable


def document_of(call: Call, policy: ManagedPolicy) -> str:
    """The JSON text of a policy's default version."""
    if policy.account_id == EVERYONES:
        return managed.policies()[policy.arn].document
    version = call.tx.get(PolicyVersion, policy.id, policy.version_default)
    assert version is not None, "the default version of a policy can not be deleted"
    return version.document


def everyones_policies() -> list[ManagedPolicy]:
    """Those that everyone has."""
    return [_record(policy) for policy in managed.policies().values()]


def _record(policy: AwsPolicy) -> ManagedPolicy:
    return ManagedPolicy(
        id=policy.id,
        account_id=EVERYONES,
        arn=policy.arn,
        name=policy.name,
        folded=policy.name.lower(),
        path=policy.path,
        description=policy.description,
        version_default=1,
        version_latest=1,
        created_at=managed.WRITTEN,
        updated_at=managed.WRITTEN,
    )


@operation(resources=_created)
def create_policy(call: Call, request: CreatePolicyRequestTypeDef) -> Response:
    """With its first version, v1. Raises EntityAlreadyExists, whatever the path of the other; MalformedPolicyDocument,
    LimitExceeded."""
    refuse_others(request, {"PolicyName", "Path", "PolicyDocument", "Description", "Tags"})
    document = managed_policy(request["PolicyDocument"])
    pairs = tags.checked(request.get("Tags"), "policy")
    take_turn(call.tx)
    name, path = request["PolicyName"], request.get("Path", "/")
    if call.tx.count(ManagedPolicy, account_id=call.account_id, folded=name.lower()):
        raise PolicyAlreadyExists(name)
    if call.tx.count(ManagedPolicy, account_id=call.account_id) >= MAX_POLICIES:
        raise LimitExceeded("PoliciesPerAccount", MAX_POLICIES)
    policy = ManagedPolicy(
        id=new_iam_id("ANPA"),
        account_id=call.account_id,
        arn=arn_of(call.account_id, "policy", path, name),
        name=name,
        folded=name.lower(),
        path=path,
        description=request.get("Description", ""),
        version_default=1,
        version_latest=1,
        created_at=call.now,
        updated_at=call.now,
    )
    call.tx.insert(policy, PolicyVersion(policy.id, 1, call.account_id, document, call.now))
    tags.put(call, "policy", policy.id, pairs)
    return {"Policy": {**summary(policy, 0, 0), **_with_tags(tags_of(call.tx, [policy.id])[policy.id])}}


@operation(resources=policy_named)
def get_policy(call: Call, request: GetPolicyRequestTypeDef) -> Response:
    """The policy without its document, which GetPolicyVersion answers."""
    refuse_others(request, {"PolicyArn"})
    policy = load_policy(call, request["PolicyArn"])
    attached, bounding = attachments_of(call, policy.arn), boundaries_by(call, policy.arn)
    about = {"Description": policy.description} if policy.description else {}
    held = tags_of(call.tx, [policy.id])[policy.id]
    return {"Policy": {**summary(policy, attached, bounding), **about, **_with_tags(held)}}


@operation(resources=all_under("policy"))
def list_policies(call: Call, request: ListPoliciesRequestTypeDef) -> Response:
    """AWS's own and then the account's, each by name; as in AWS, without descriptions and tags."""
    refuse_others(request, {"Scope", "OnlyAttached", "PathPrefix", "PolicyUsageFilter", "Marker", "MaxItems"})
    scope, prefix = request.get("Scope", "All"), request.get("PathPrefix", "/")
    attached, bounding = _attached(call), _bounding(call)
    found: list[ManagedPolicy] = []
    if scope != "Local":
        found += everyones_policies()
    if scope != "AWS":
        found += call.tx.select(ManagedPolicy, account_id=call.account_id)
    usage = request.get("PolicyUsageFilter")
    used_by = {"PermissionsPolicy": attached, "PermissionsBoundary": bounding}.get(usage or "", attached | bounding)
    if usage is not None or request.get("OnlyAttached"):
        found = [policy for policy in found if policy.arn in used_by]
    listed = page_of(call, request, (policy for policy in found if policy.path.startswith(prefix)), _place)
    described = [summary(policy, attached.get(policy.arn, 0), bounding.get(policy.arn, 0)) for policy in listed.rows]
    return {"Policies": described, **listed.end}


def _place(policy: ManagedPolicy) -> str:
    return f"{'aws' if policy.account_id == EVERYONES else 'own'}/{policy.folded}"


@operation(resources=policy_named)
def delete_policy(call: Call, request: DeletePolicyRequestTypeDef) -> Response:
    """A policy that nobody has any more, with its only version. Raises DeleteConflict."""
    refuse_others(request, {"PolicyArn"})
    take_turn(call.tx)
    policy = load_own_policy(call, request["PolicyArn"])
    if attachments_of(call, policy.arn) or boundaries_by(call, policy.arn):
        raise DeletePolicyConflict("Cannot delete a policy attached to entities.")
    if call.tx.count(PolicyVersion, policy_id=policy.id) > 1:
        raise DeletePolicyConflict(
            "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. "
            "The default version is deleted with the policy."
        )
    call.tx.delete_where(PolicyVersion, policy_id=policy.id)
    delete_tags_of(call.tx, policy.id)
    call.tx.delete(policy)
    return {}


@operation(resources=policy_named)
def tag_policy(call: Call, request: TagPolicyRequestTypeDef) -> Response:
    """Raises LimitExceeded at more than 50 tags."""
    refuse_others(request, {"PolicyArn", "Tags"})
    pairs = tags.checked(request["Tags"], "policy")
    take_turn(call.tx)
    tags.put(call, "policy", load_own_policy(call, request["PolicyArn"]).id, pairs)
    return {}


@operation(resources=policy_named)
def untag_policy(call: Call, request: UntagPolicyRequestTypeDef) -> Response:
    """Keys that the policy has no tag with make no difference."""
    refuse_others(request, {"PolicyArn", "TagKeys"})
    take_turn(call.tx)
    tags.remove(call, "policy", load_own_policy(call, request["PolicyArn"]).id, request["TagKeys"])
    return {}


@operation(resources=policy_named)
def list_policy_tags(call: Call, request: ListPolicyTagsRequestTypeDef) -> Response:
    """By key; those that everyone has have none."""
    refuse_others(request, {"PolicyArn", "Marker", "MaxItems"})
    return tags.listed(call, request, load_policy(call, request["PolicyArn"]).id)


def summary(policy: ManagedPolicy, attached: int, bounding: int) -> dict[str, Any]:
    """A policy in lists: how many have it attached, and how many as their boundary."""
    return {
        "PolicyName": policy.name,
        "PolicyId": policy.id,
        "Arn": policy.arn,
        "Path": policy.path,
        "DefaultVersionId": f"v{policy.version_default}",
        "AttachmentCount": attached,
        "PermissionsBoundaryUsageCount": bounding,
        "IsAttachable": True,
        "CreateDate": policy.created_at,
        "UpdateDate": policy.updated_at,
    }


def _with_tags(held: list[Tag]) -> dict[str, Any]:
    return {"Tags": tags.tag_list(held)} if held else {}


def attachments_of(call: Call, policy_arn: str) -> int:
    """How many users, groups and roles of the account have the policy."""
    return call.tx.count(PolicyAttachment, account_id=call.account_id, policy_arn=policy_arn)


def boundaries_by(call: Call, policy_arn: str) -> int:
    """How many users and roles of the account it bounds."""
    return sum(call.tx.count(kind, account_id=call.account_id, boundary_arn=policy_arn) for kind in (User, Role))


def _attached(call: Call) -> dict[str, int]:
    """The same of all the account's attached policies, by ARN."""
    query = (
        sa.select(policy_attachments.c.policy_arn, sa.func.count())
        .where(policy_attachments.c.account_id == call.account_id)
        .group_by(policy_attachments.c.policy_arn)
    )
    return {row[0]: row[1] for row in call.tx.connection.execute(query)}


def _bounding(call: Call) -> dict[str, int]:
    """How many users and roles each policy bounds, by ARN."""
    found: dict[str, int] = {}
    for table in (users, roles):
        query = (
            sa.select(table.c.boundary_arn, sa.func.count())
            .where(table.c.account_id == call.account_id, table.c.boundary_arn.is_not(None))
            .group_by(table.c.boundary_arn)
        )
        for policy_arn, count in call.tx.connection.execute(query):
            found[policy_arn] = found.get(policy_arn, 0) + count
    return found
