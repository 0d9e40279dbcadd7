"""All policies that count for a user, group or role, each with what it is called."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from freehold.records.accounts import User
from freehold.records.identities import Group, InlinePolicy, Membership, PolicyAttachment, Role
from freehold.services.iam.errors import InvalidInput
from freehold.services.iam.managed_policies import EVERYONES, document_of, load_policy
from freehold.services.iam.policy_owners import Owner, word
from freehold.services.iam.resources import load_group, load_role, load_user
from freehold.services.operation import Call

Type = Literal["user", "group", "role", "aws-managed", "user-managed", "resource", "none"]

_ARN = re.compile(r"arn:aws:iam::([0-9]{12}):(user|group|role)/(?:.*/)?([^/]+)")


@dataclass(frozen=True, slots=True)
class Source:
    """A policy of `owner`. `arn` None: it is inline, and part of it. `type` is how simulations call it."""

    name: str
    arn: str | None
    type: Type
    owner: Owner
    text: str

    @property
    def id(self) -> str:
        """``AmazonS3FullAccess``, or ``user_alice_look`` of one that is inline."""
        return self.name if self.arn else f"{word(self.owner)}_{self.owner.name}_{self.name}"


def load_owner(call: Call, arn: str) -> Owner:
    """The user, group or role of the account that has this ARN. Raises InvalidInput or NoSuchEntity."""
    named = _ARN.fullmatch(arn)
    if named is None or named[1] != call.account_id:
        raise InvalidInput(f"Invalid Entity Arn: {arn} does not clearly define entity type and name.")
    match named[2]:
        case "user":
            return load_user(call, named[3])
        case "group":
            return load_group(call, named[3])
        case _:
            return load_role(call, named[3])


def with_groups(call: Call, owner: Owner) -> Sequence[Owner]:
    """A user and the groups that the user is in; a group or role by itself."""
    if not isinstance(owner, User):
        return [owner]
    memberships = call.tx.select(Membership, user_id=owner.id)
    return [owner, *call.tx.select(Group, id=[one.group_id for one in memberships])]


def sources(call: Call, owner: Owner) -> Iterator[Source]:
    """The policies of one, inline and attached, without those of groups."""
    for inline in call.tx.select(InlinePolicy, owner_id=owner.id):
        yield Source(inline.name, None, word(owner), owner, inline.document)
    for attached in call.tx.select(PolicyAttachment, owner_id=owner.id):
        policy = load_policy(call, attached.policy_arn)
        kind: Type = "aws-managed" if policy.account_id == EVERYONES else "user-managed"
        yield Source(policy.name, policy.arn, kind, owner, document_of(call, policy))


def boundary(call: Call, owner: Owner) -> Source | None:
    """The permissions boundary of a user or role, if it has one."""
    if not isinstance(owner, User | Role) or owner.boundary_arn is None:
        return None
    policy = load_policy(call, owner.boundary_arn)
    kind: Type = "aws-managed" if policy.account_id == EVERYONES else "user-managed"
    return Source(policy.name, policy.arn, kind, owner, document_of(call, policy))


def source_named(_call: Call, request: Any) -> list[str]:
    """For `operation(resources=…)`: whose policies are asked for."""
    return [request["PolicySourceArn"]]
