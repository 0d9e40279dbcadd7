"""Roles as they are named by those who assume them, and whether their trust policies let them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from freehold.iam.evaluate import Policies, Policy, evaluate
from freehold.iam.patterns import Value
from freehold.iam.principals import Who
from freehold.records.identities import Role
from freehold.records.ids import AccountId
from freehold.records.store import Transaction
from freehold.records.tags import tags_of
from freehold.services.operation import Call, Needed
from freehold.services.sts.errors import ValidationError

# (A policy must have a statement.)
_TRUSTS_NOBODY = '{"Statement":{"Effect":"Allow","Principal":{"AWS":"000000000000"},"Action":"sts:None"}}'
_ROLE_ARN = re.compile(r"arn:aws:iam::([0-9]{12}):role(/(?:[\x21-\x7e]+/)?)([\w+=,.@-]{1,64})", re.ASCII)


def account_of(role_arn: str) -> AccountId:
    """The account in a role's ARN. Raises ValidationError for what is no such ARN."""
    named = _ROLE_ARN.fullmatch(role_arn)
    if named is None:
        raise ValidationError(f"{role_arn} is invalid")
    return AccountId(named[1])


def role_named(tx: Transaction, role_arn: str) -> Role | None:
    """The role with this ARN, of whatever account; None if there is none. Raises ValidationError."""
    account_id = account_of(role_arn)
    named = _ROLE_ARN.fullmatch(role_arn)
    assert named is not None
    found = tx.find(Role, account_id=account_id, folded=named[3].lower())
    return found if found is not None and (found.path, found.name) == (named[2], named[3]) else None


def trusts(role: Role, role_arn: str, who: Who, actions: Sequence[str], context: Mapping[str, Value]) -> bool:
    """Whether the role's trust policy by itself lets someone do all of the actions, who has no policies here: a
    service, or the user of an identity provider."""
    policies = Policies(resource=Policy.of(role.trust_policy, "trust"), required=True, trust=True)
    return all(evaluate(who, action, role_arn, context.get, policies).allowed for action in actions)


def needed(
    call: Call, role_arn: str, role: Role | None, actions: Sequence[str], keys: Callable[[], Mapping[str, Value]]
) -> list[Needed]:
    """What the policies of both sides have to allow for a caller to assume a role. A role that does not exist is one
    that trusts nobody, so that no stranger learns which there are."""
    return [
        Needed(
            role_arn,
            action,
            keys=keys,
            tags=lambda: {} if role is None else {tag.key: tag.value for tag in tags_of(call.tx, [role.id])[role.id]},
            account_id=account_of(role_arn),
            policy=_TRUSTS_NOBODY if role is None else role.trust_policy,
            required=True,
            trust=True,
        )
        for action in actions
    ]


def actions_of(assume: str, *, tagged: bool, source_identity: bool) -> list[str]:
    """What a trust policy has to allow: tags and source identities are permissions of their own.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_permissions-required"""
    return [
        assume,
        *(["sts:TagSession"] if tagged else ()),
        *(["sts:SetSourceIdentity"] if source_identity else ()),
    ]
