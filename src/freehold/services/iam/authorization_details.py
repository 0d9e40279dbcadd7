"""GetAccountAuthorizationDetails: all users, groups, roles and policies of an account, and how they belong together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from freehold.records.accounts import User
from freehold.records.identities import (
    Group,
    InlinePolicy,
    InstanceProfile,
    ManagedPolicy,
    Membership,
    PolicyAttachment,
    Role,
    policy_attachments,
)
from freehold.records.schema import TABLES
from freehold.records.tags import tags_of
from freehold.services.iam import tags
from freehold.services.iam.attachments import described as attached
from freehold.services.iam.boundaries import described_boundary
from freehold.services.iam.documents import encoded
from freehold.services.iam.instance_profiles import summaries
from freehold.services.iam.managed_policies import (
    attachments_of,
    boundaries_by,
    everyones_policies,
    summary,
)
from freehold.services.iam.paging import Rows, page_of_all
from freehold.services.iam.policy_owners import Owner
from freehold.services.iam.policy_versions import described as described_version
from freehold.services.iam.policy_versions import versions_of
from freehold.services.iam.resources import arn
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import GetAccountAuthorizationDetailsRequestTypeDef

Named = User | Group | Role | ManagedPolicy
Held = TypeVar("Held", InlinePolicy, PolicyAttachment)

_KINDS: Mapping[str, type[Named]] = {"User": User, "Group": Group, "Role": Role, "LocalManagedPolicy": ManagedPolicy}


@operation()
def get_account_authorization_details(call: Call, request: GetAccountAuthorizationDetailsRequestTypeDef) -> Response:
    """Users, groups, roles, the account's policies and those of AWS's own that are attached, each by name; a page ends
    wherever it is full."""
    refuse_others(request, {"Filter", "MaxItems", "Marker"})
    wanted: Sequence[str] = request.get("Filter") or [*_KINDS, "AWSManagedPolicy"]

    def of_kind(kind: type[Named]) -> Rows[Named]:
        folded = TABLES[kind].c.folded
        return lambda after, limit: call.tx.select(
            kind, folded > after, account_id=call.account_id, order_by=(folded,), limit=limit
        )

    lists: dict[str, Rows[Named]] = {name: of_kind(kind) for name, kind in _KINDS.items() if name in wanted}
    if "AWSManagedPolicy" in wanted:
        lists["AWSManagedPolicy"] = lambda after, limit: [
            policy for policy in _everyones_attached(call) if policy.folded > after
        ][:limit]
    found = page_of_all(call, request, lists)
    records = found.rows
    return {
        "UserDetailList": _users(call, [record for record in records if isinstance(record, User)]),
        "GroupDetailList": _groups(call, [record for record in records if isinstance(record, Group)]),
        "RoleDetailList": _roles(call, [record for record in records if isinstance(record, Role)]),
        "Policies": [_policy(call, record) for record in records if isinstance(record, ManagedPolicy)],
        **found.end,
    }


def _everyones_attached(call: Call) -> list[ManagedPolicy]:
    query = sa.select(policy_attachments.c.policy_arn).where(policy_attachments.c.account_id == call.account_id)
    attached = set(call.tx.connection.scalars(query.distinct()))
    return sorted(
        (policy for policy in everyones_policies() if policy.arn in attached), key=lambda policy: policy.folded
    )


def _users(call: Call, found: Sequence[User]) -> list[dict[str, Any]]:
    ids = [user.id for user in found]
    memberships = call.tx.select(Membership, user_id=ids)
    groups = {group.id: group.name for group in call.tx.select(Group, id=[one.group_id for one in memberships])}
    held, policies = tags_of(call.tx, ids), _Policies(call, ids)
    return [
        {
            **_named(user, "User"),
            **policies.of(user, "UserPolicyList"),
            "GroupList": sorted(groups[one.group_id] for one in memberships if one.user_id == user.id),
            **described_boundary(user.boundary_arn),
            "Tags": tags.tag_list(held[user.id]),
        }
        for user in found
    ]


def _groups(call: Call, found: Sequence[Group]) -> list[dict[str, Any]]:
    policies = _Policies(call, [group.id for group in found])
    return [{**_named(group, "Group"), **policies.of(group, "GroupPolicyList")} for group in found]


def _roles(call: Call, found: Sequence[Role]) -> list[dict[str, Any]]:
    ids = [role.id for role in found]
    profiles = call.tx.select(InstanceProfile, role_id=ids)
    shown = dict(zip((profile.id for profile in profiles), summaries(call, profiles), strict=True))
    held, policies = tags_of(call.tx, ids), _Policies(call, ids)
    return [
        {
            **_named(role, "Role"),
            "AssumeRolePolicyDocument": encoded(role.trust_policy),
            "InstanceProfileList": [shown[profile.id] for profile in profiles if profile.role_id == role.id],
            **policies.of(role, "RolePolicyList"),
            **described_boundary(role.boundary_arn),
            "Tags": tags.tag_list(held[role.id]),
            "RoleLastUsed": (
                {"LastUsedDate": role.last_used_at, "Region": role.last_used_region} if role.last_used_at else {}
            ),
        }
        for role in found
    ]


def _policy(call: Call, policy: ManagedPolicy) -> dict[str, Any]:
    return {
        **summary(policy, attachments_of(call, policy.arn), boundaries_by(call, policy.arn)),
        **({"Description": policy.description} if policy.description else {}),
        "PolicyVersionList": [described_version(policy, version) for version in versions_of(call, policy)],
    }


def _named(record: Owner, word: str) -> dict[str, Any]:
    return {
        "Path": record.path,
        f"{word}Name": record.name,
        f"{word}Id": record.id,
        "Arn": arn(record),
        "CreateDate": record.created_at,
    }


class _Policies:
    """The policies of many users, groups or roles, read at once."""

    def __init__(self, call: Call, ids: list[str]) -> None:
        self._inline = _by_owner(call.tx.select(InlinePolicy, owner_id=ids))
        self._attached = _by_owner(call.tx.select(PolicyAttachment, owner_id=ids))

    def of(self, owner: Owner, inline: str) -> dict[str, Any]:
        """The members that tell them; `inline` is the name of the one for inline policies."""
        return {
            inline: [
                {"PolicyName": policy.name, "PolicyDocument": encoded(policy.document)}
                for policy in self._inline.get(owner.id, ())
            ],
            "AttachedManagedPolicies": [attached(one.policy_arn) for one in self._attached.get(owner.id, ())],
        }


def _by_owner(found: Iterable[Held]) -> dict[str, list[Held]]:
    result: dict[str, list[Held]] = {}
    for one in found:
        result.setdefault(one.owner_id, []).append(one)
    return result
