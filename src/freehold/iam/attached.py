"""The policies that count for a principal, read in the transaction of the request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from freehold.iam.evaluate import Policies, Policy
from freehold.iam.managed import managed_policy
from freehold.records.accounts import users
from freehold.records.identities import (
    ManagedPolicy,
    PolicyVersion,
    inline_policies,
    managed_policies,
    memberships,
    policy_attachments,
    policy_versions,
    roles,
)
from freehold.records.store import Transaction
from freehold.services.operation import Principal

_EVERYTHING = Policy('{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}', "identity")
_NOTHING = Policy('{"Statement": {"Effect": "Allow", "NotAction": "*", "Resource": "*"}}', "identity")


def _documents_of(owners: sa.Table) -> sa.Select[tuple[str, str, str | None]]:
    """(kind, name or ARN, document) of all policies of a user (with their groups) or role, and of its boundary. The
    document of an AWS managed policy is no row."""
    owner_id = sa.bindparam("owner_id", type_=sa.Text())
    groups = sa.select(memberships.c.group_id).where(memberships.c.user_id == owner_id)
    all_owners = sa.union_all(sa.select(owner_id.label("id")), groups)

    def with_document(arn: sa.Column[str]) -> sa.Join:
        return sa.outerjoin(arn.table, managed_policies, managed_policies.c.arn == arn).outerjoin(
            policy_versions,
            (policy_versions.c.policy_id == managed_policies.c.id)
            & (policy_versions.c.version == managed_policies.c.version_default),
        )

    inline = sa.select(sa.literal_column("'inline'").label("kind"), inline_policies.c.name, inline_policies.c.document)
    attached = sa.select(sa.literal_column("'attached'"), policy_attachments.c.policy_arn, policy_versions.c.document)
    boundary = sa.select(sa.literal_column("'boundary'"), owners.c.boundary_arn, policy_versions.c.document)
    found = sa.union_all(
        inline.where(inline_policies.c.owner_id.in_(all_owners)),
        attached.select_from(with_document(policy_attachments.c.policy_arn)).where(
            policy_attachments.c.owner_id.in_(all_owners)
        ),
        boundary.select_from(with_document(owners.c.boundary_arn)).where(
            owners.c.id == owner_id, owners.c.boundary_arn.is_not(None)
        ),
    ).subquery()
    return sa.select(found.c.kind, found.c.name, found.c.document)


_QUERIES = {"user": _documents_of(users), "federated": _documents_of(users), "role": _documents_of(roles)}


def policies_of(tx: Transaction, principal: Principal) -> Policies:
    """What a user, role or session may do, as far as its own policies say. Root may do everything."""
    session = _session(tx, principal)
    if principal.owner_id == principal.account_id:
        return Policies(identity=(_EVERYTHING,), session=session)
    identity, boundary = [], None
    for kind, name, document in tx.rows(_QUERIES[principal.kind], owner_id=principal.owner_id):
        text = document if document is not None else managed_policy(name)
        if kind == "boundary":
            # A boundary that is no longer there allows nothing.
            boundary = Policy.of(text) if text is not None else _NOTHING
        elif text is not None:
            identity.append(Policy.of(text))
    return Policies(identity=identity, boundary=boundary, session=session)


def _session(tx: Transaction, principal: Principal) -> Sequence[Policy] | None:
    """The session's policies; None if they do not count. A federated user without any may do nothing.
    https://docs.aws.amazon.com/STS/latest/APIReference/API_GetFederationToken.html"""
    session = principal.session
    if session is None or not (session.policies or session.policy_arns or principal.kind == "federated"):
        return None
    texts = [*session.policies, *_documents(tx, principal, session.policy_arns)]
    return [Policy.of(text) for text in texts]


def _documents(tx: Transaction, principal: Principal, arns: Sequence[str]) -> Iterator[str]:
    found = {
        policy.arn: policy
        for policy in tx.select(ManagedPolicy, account_id=principal.account_id, arn=list(dict.fromkeys(arns)))
    }
    for arn in arns:
        own = found.get(arn)
        version = tx.get(PolicyVersion, own.id, own.version_default) if own is not None else None
        document = version.document if version is not None else managed_policy(arn)
        if document is not None:
            yield document
