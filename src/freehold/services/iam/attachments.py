"""Managed policies on users, groups and roles: attach, detach, list, and who has a policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from freehold.records.accounts import User
from freehold.records.feed import take_turn
from freehold.records.identities import Group, PolicyAttachment, Role
from freehold.services.iam.errors import LimitExceeded
from freehold.services.iam.managed_policies import find_policy, is_attachable, load_policy, policy_named
from freehold.services.iam.paging import page_of
from freehold.services.iam.policy_errors import NoSuchPolicy, PolicyNotAttachable
from freehold.services.iam.policy_owners import MEMBERS, WORDS, Owner, load
from freehold.services.iam.resources import group_named, role_named, user_named
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import (
        AttachGroupPolicyRequestTypeDef,
        AttachRolePolicyRequestTypeDef,
        AttachUserPolicyRequestTypeDef,
        DetachGroupPolicyRequestTypeDef,
        DetachRolePolicyRequestTypeDef,
        DetachUserPolicyRequestTypeDef,
        ListAttachedGroupPoliciesRequestTypeDef,
        ListAttachedRolePoliciesRequestTypeDef,
        ListAttachedUserPoliciesRequestTypeDef,
        ListEntitiesForPolicyRequestTypeDef,
    )

MAX_ATTACHED = 10

_QUOTAS: Mapping[type[Owner], str] = {User: "PoliciesPerUser", Group: "PoliciesPerGroup", Role: "PoliciesPerRole"}
_FILTERS: Mapping[str, Sequence[type[Owner]]] = {"User": (User,), "Group": (Group,), "Role": (Role,)}


@operation(resources=user_named)
def attach_user_policy(call: Call, request: AttachUserPolicyRequestTypeDef) -> Response:
    """One that is attached already stays so. Raises LimitExceeded at the eleventh."""
    refuse_others(request, {"UserName", "PolicyArn"})
    return _attach(call, request, User)


@operation(resources=group_named)
def attach_group_policy(call: Call, request: AttachGroupPolicyRequestTypeDef) -> Response:
    """One that is attached already stays so. Raises LimitExceeded at the eleventh."""
    refuse_others(request, {"GroupName", "PolicyArn"})
    return _attach(call, request, Group)


@operation(resources=role_named)
def attach_role_policy(call: Call, request: AttachRolePolicyRequestTypeDef) -> Response:
    """One that is attached already stays so. Raises LimitExceeded at the eleventh, UnmodifiableEntity."""
    refuse_others(request, {"RoleName", "PolicyArn"})
    return _attach(call, request, Role)


@operation(resources=user_named)
def detach_user_policy(call: Call, request: DetachUserPolicyRequestTypeDef) -> Response:
    """Raises NoSuchEntity if the user does not have it."""
    refuse_others(request, {"UserName", "PolicyArn"})
    return _detach(call, request, User)


@operation(resources=group_named)
def detach_group_policy(call: Call, request: DetachGroupPolicyRequestTypeDef) -> Response:
    """Raises NoSuchEntity if the group does not have it."""
    refuse_others(request, {"GroupName", "PolicyArn"})
    return _detach(call, request, Group)


@operation(resources=role_named)
def detach_role_policy(call: Call, request: DetachRolePolicyRequestTypeDef) -> Response:
    """Raises NoSuchEntity if the role does not have it, UnmodifiableEntity."""
    refuse_others(request, {"RoleName", "PolicyArn"})
    return _detach(call, request, Role)


@operation(resources=user_named)
def list_attached_user_policies(call: Call, request: ListAttachedUserPoliciesRequestTypeDef) -> Response:
    """Without those of the user's groups."""
    refuse_others(request, {"UserName", "PathPrefix", "Marker", "MaxItems"})
    return _list(call, request, User)


@operation(resources=group_named)
def list_attached_group_policies(call: Call, request: ListAttachedGroupPoliciesRequestTypeDef) -> Response:
    """Names and ARNs."""
    refuse_others(request, {"GroupName", "PathPrefix", "Marker", "MaxItems"})
    return _list(call, request, Group)


@operation(resources=role_named)
def list_attached_role_policies(call: Call, request: ListAttachedRolePoliciesRequestTypeDef) -> Response:
    """Names and ARNs."""
    refuse_others(request, {"RoleName", "PathPrefix", "Marker", "MaxItems"})
    return _list(call, request, Role)


@operation(resources=policy_named)
def list_entities_for_policy(call: Call, request: ListEntitiesForPolicyRequestTypeDef) -> Response:
    """Whoever has the policy attached, or as permissions boundary: groups, roles and users, each by unique id.
    PathPrefix is of their paths."""
    refuse_others(request, {"PolicyArn", "EntityFilter", "PathPrefix", "PolicyUsageFilter", "Marker", "MaxItems"})
    policy = load_policy(call, request["PolicyArn"])
    prefix, usage = request.get("PathPrefix", "/"), request.get("PolicyUsageFilter")
    kinds = _FILTERS.get(request.get("EntityFilter", ""), (Group, Role, User))
    if request.get("EntityFilter") in ("LocalManagedPolicy", "AWSManagedPolicy"):
        kinds = ()  # policies have no policies
    found: dict[str, Owner] = {}
    for kind in kinds:
        for owner in _having(call, policy.arn, kind, usage):
            if owner.path.startswith(prefix):
                found[f"{WORDS[kind]}/{owner.id}"] = owner
    listed = page_of(call, request, found.items(), lambda item: item[0])
    answer: dict[str, list[dict[str, str]]] = {"PolicyGroups": [], "PolicyRoles": [], "PolicyUsers": []}
    for _, owner in listed.rows:
        word = WORDS[type(owner)].capitalize()
        answer[f"Policy{word}s"].append({MEMBERS[type(owner)]: owner.name, f"{word}Id": owner.id})
    return {**answer, **listed.end}


def _attach(call: Call, request: Mapping[str, Any], kind: type[Owner]) -> Response:
    take_turn(call.tx)
    owner = load(call, request, kind, to_change=True)
    policy = find_policy(call, request["PolicyArn"])
    if policy is None:
        raise NoSuchPolicy(f"Policy {request['PolicyArn']} does not exist or is not attachable")
    if not is_attachable(policy):
        raise PolicyNotAttachable()
    if call.tx.get(PolicyAttachment, owner.id, policy.arn) is not None:
        return {}
    if call.tx.count(PolicyAttachment, owner_id=owner.id) >= MAX_ATTACHED:
        raise LimitExceeded(_QUOTAS[kind], MAX_ATTACHED)
    call.tx.insert(PolicyAttachment(owner.id, policy.arn, call.account_id, call.now))
    return {}


def _detach(call: Call, request: Mapping[str, Any], kind: type[Owner]) -> Response:
    take_turn(call.tx)
    owner = load(call, request, kind, to_change=True)
    find_policy(call, request["PolicyArn"])
    attachment = call.tx.get(PolicyAttachment, owner.id, request["PolicyArn"])
    if attachment is None:
        raise NoSuchPolicy(f"Policy {request['PolicyArn']} was not found")
    call.tx.delete(attachment)
    return {}


def _list(call: Call, request: Mapping[str, Any], kind: type[Owner]) -> Response:
    owner = load(call, request, kind)
    prefix = request.get("PathPrefix", "/")
    held = [attachment.policy_arn for attachment in call.tx.select(PolicyAttachment, owner_id=owner.id)]
    below = (policy_arn for policy_arn in held if _path(policy_arn).startswith(prefix))
    listed = page_of(call, request, enumerate(below), lambda item: f"{item[0]:02}")
    return {"AttachedPolicies": [described(policy_arn) for _, policy_arn in listed.rows], **listed.end}


def described(policy_arn: str) -> dict[str, str]:
    """An attached policy, as every answer lists it."""
    return {"PolicyName": policy_arn.rpartition("/")[2], "PolicyArn": policy_arn}


def _having(call: Call, policy_arn: str, kind: type[Owner], usage: str | None) -> Iterator[Owner]:
    """The users, groups or roles that have the policy."""
    if usage != "PermissionsBoundary":
        attached = call.tx.select(PolicyAttachment, account_id=call.account_id, policy_arn=policy_arn)
        yield from call.tx.select(kind, id=[attachment.owner_id for attachment in attached])
    if usage != "PermissionsPolicy" and kind is not Group:
        yield from call.tx.select(kind, account_id=call.account_id, boundary_arn=policy_arn)


def _path(policy_arn: str) -> str:
    """``/division/`` of ``arn:aws:iam::123456789012:policy/division/name``."""
    rest = policy_arn.partition(":policy")[2]
    return rest[: rest.rfind("/") + 1]
