"""Inline policies: those that are part of one user, group or role, and go with it.

All inline policies of one together have a size at most, white space not counted:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html#reference_iam-quotas-entity-length
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from freehold.records.accounts import User
from freehold.records.feed import take_turn
from freehold.records.identities import Group, InlinePolicy, Role
from freehold.services.iam.documents import characters, encoded, identity_policy
from freehold.services.iam.errors import NoSuchEntity
from freehold.services.iam.paging import page
from freehold.services.iam.policy_errors import LimitExceededOfInlinePolicies
from freehold.services.iam.policy_owners import MEMBERS, Owner, load, word
from freehold.services.iam.resources import group_named, role_named, user_named
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import (
        DeleteGroupPolicyRequestTypeDef,
        DeleteRolePolicyRequestTypeDef,
        DeleteUserPolicyRequestTypeDef,
        GetGroupPolicyRequestTypeDef,
        GetRolePolicyRequestTypeDef,
        GetUserPolicyRequestTypeDef,
        ListGroupPoliciesRequestTypeDef,
        ListRolePoliciesRequestTypeDef,
        ListUserPoliciesRequestTypeDef,
        PutGroupPolicyRequestTypeDef,
        PutRolePolicyRequestTypeDef,
        PutUserPolicyRequestTypeDef,
    )

CHARACTERS_MAX: Mapping[type[Owner], int] = {User: 2048, Group: 5120, Role: 10240}


@operation(resources=user_named)
def put_user_policy(call: Call, request: PutUserPolicyRequestTypeDef) -> Response:
    """Adds it, or replaces the one with this name. Raises MalformedPolicyDocument or LimitExceeded."""
    refuse_others(request, {"UserName", "PolicyName", "PolicyDocument"})
    return _put(call, request, User)


@operation(resources=group_named)
def put_group_policy(call: Call, request: PutGroupPolicyRequestTypeDef) -> Response:
    """Adds it, or replaces the one with this name. Raises MalformedPolicyDocument or LimitExceeded."""
    refuse_others(request, {"GroupName", "PolicyName", "PolicyDocument"})
    return _put(call, request, Group)


@operation(resources=role_named)
def put_role_policy(call: Call, request: PutRolePolicyRequestTypeDef) -> Response:
    """Adds it, or replaces the one with this name. Raises the same, and UnmodifiableEntity."""
    refuse_others(request, {"RoleName", "PolicyName", "PolicyDocument"})
    return _put(call, request, Role)


@operation(resources=user_named)
def get_user_policy(call: Call, request: GetUserPolicyRequestTypeDef) -> Response:
    """With its document, URL-encoded."""
    refuse_others(request, {"UserName", "PolicyName"})
    return _get(call, request, User)


@operation(resources=group_named)
def get_group_policy(call: Call, request: GetGroupPolicyRequestTypeDef) -> Response:
    """With its document, URL-encoded."""
    refuse_others(request, {"GroupName", "PolicyName"})
    return _get(call, request, Group)


@operation(resources=role_named)
def get_role_policy(call: Call, request: GetRolePolicyRequestTypeDef) -> Response:
    """With its document, URL-encoded."""
    refuse_others(request, {"RoleName", "PolicyName"})
    return _get(call, request, Role)


@operation(resources=user_named)
def list_user_policies(call: Call, request: ListUserPoliciesRequestTypeDef) -> Response:
    """Their names."""
    refuse_others(request, {"UserName", "Marker", "MaxItems"})
    return _list(call, request, User)


@operation(resources=group_named)
def list_group_policies(call: Call, request: ListGroupPoliciesRequestTypeDef) -> Response:
    """Their names."""
    refuse_others(request, {"GroupName", "Marker", "MaxItems"})
    return _list(call, request, Group)


@operation(resources=role_named)
def list_role_policies(call: Call, request: ListRolePoliciesRequestTypeDef) -> Response:
    """Their names."""
    refuse_others(request, {"RoleName", "Marker", "MaxItems"})
    return _list(call, request, Role)


@operation(resources=user_named)
def delete_user_policy(call: Call, request: DeleteUserPolicyRequestTypeDef) -> Response:
    """Raises NoSuchEntity if there is none with this name."""
    refuse_others(request, {"UserName", "PolicyName"})
    return _delete(call, request, User)


@operation(resources=group_named)
def delete_group_policy(call: Call, request: DeleteGroupPolicyRequestTypeDef) -> Response:
    """Raises NoSuchEntity if there is none with this name."""
    refuse_others(request, {"GroupName", "PolicyName"})
    return _delete(call, request, Group)


@operation(resources=role_named)
def delete_role_policy(call: Call, request: DeleteRolePolicyRequestTypeDef) -> Response:
    """Raises NoSuchEntity if there is none with this name, UnmodifiableEntity for a service's own role."""
    refuse_others(request, {"RoleName", "PolicyName"})
    return _delete(call, request, Role)


def _put(call: Call, request: Mapping[str, Any], kind: type[Owner]) -> Response:
    name, document = request["PolicyName"], request["PolicyDocument"]
    identity_policy(document)
    take_turn(call.tx)
    owner = load(call, request, kind, to_change=True)
    others = [policy.document for policy in call.tx.select(InlinePolicy, owner_id=owner.id) if policy.name != name]
    if sum(map(characters, [*others, document])) > CHARACTERS_MAX[kind]:
        raise LimitExceededOfInlinePolicies(word(owner), owner.name, CHARACTERS_MAX[kind])
    call.tx.put(InlinePolicy(owner.id, name, call.account_id, document))
    return {}


def _get(call: Call, request: Mapping[str, Any], kind: type[Owner]) -> Response:
    owner = load(call, request, kind)
    policy = _load(call, owner, request["PolicyName"])
    return {MEMBERS[kind]: owner.name, "PolicyName": policy.name, "PolicyDocument": encoded(policy.document)}


def _list(call: Call, request: Mapping[str, Any], kind: type[Owner]) -> Response:
    owner = load(call, request, kind)
    found = page(call, InlinePolicy, request, key=("name",), owner_id=owner.id)
    return {"PolicyNames": [policy.name for policy in found.rows], **found.end}


def _delete(call: Call, request: Mapping[str, Any], kind: type[Owner]) -> Response:
    take_turn(call.tx)
    owner = load(call, request, kind, to_change=True)
    call.tx.delete(_load(call, owner, request["PolicyName"]))
    return {}


def _load(call: Call, owner: Owner, name: str) -> InlinePolicy:
    policy = call.tx.get(InlinePolicy, owner.id, name)
    if policy is None:
        raise NoSuchEntity(f"The {word(owner)} policy with name {name}")
    return policy
