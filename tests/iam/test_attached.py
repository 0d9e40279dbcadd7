"""Which policies count for whom, on SQLite and on PostgreSQL."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from freehold.iam.attached import policies_of
from freehold.records.accounts import User
from freehold.records.identities import (
    Group,
    InlinePolicy,
    ManagedPolicy,
    Membership,
    PolicyAttachment,
    PolicyVersion,
    Role,
)
from freehold.records.ids import AccountId
from freehold.records.sessions import Session
from freehold.records.store import Store, Transaction
from freehold.services.operation import Principal

ACCOUNT = AccountId("111122223333")
READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"


def text(name: str) -> str:
    return json.dumps({"Statement": {"Sid": name, "Effect": "Allow", "Action": "s3:*", "Resource": "*"}})


def managed(tx: Transaction, name: str) -> str:
    """A policy whose second version is the default one; its ARN."""
    arn = f"arn:aws:iam::{ACCOUNT}:policy/{name}"
    tx.insert(ManagedPolicy(f"ANPA{name}", ACCOUNT, arn, name, name, "/", "", 2, 3, tx.now, tx.now))
    for version, document in ((1, "old"), (2, name), (3, "new")):
        tx.insert(PolicyVersion(f"ANPA{name}", version, ACCOUNT, text(document), tx.now))
    return arn


def principal(kind: Any, owner_id: str, session: Session | None = None) -> Principal:
    arn = f"arn:aws:iam::{ACCOUNT}:{kind}/a"
    return Principal(ACCOUNT, arn, owner_id, kind, "AKIA", owner_id, arn, session)


def sids(policies: Any) -> set[str] | None:
    if policies is None:
        return None
    return {rule.sid for policy in policies for rule in policy.rules}


def test_users(store: Store) -> None:
    with store.write() as tx:
        boundary = managed(tx, "boundary")
        tx.insert(
            User("AIDA1", ACCOUNT, "a", "a", "/", tx.now, boundary), User("AIDA2", ACCOUNT, "b", "b", "/", tx.now)
        )
        tx.insert(Group("AGPA1", ACCOUNT, "g", "g", "/", tx.now), Group("AGPA2", ACCOUNT, "h", "h", "/", tx.now))
        tx.insert(Membership("AGPA1", "AIDA1", ACCOUNT), Membership("AGPA2", "AIDA2", ACCOUNT))
        for owner in ("AIDA1", "AIDA2", "AGPA1", "AGPA2"):
            tx.insert(InlinePolicy(owner, "own", ACCOUNT, text(f"own{owner}")))
            tx.insert(PolicyAttachment(owner, managed(tx, f"managed{owner}"), ACCOUNT, tx.now))
        gone = f"arn:aws:iam::{ACCOUNT}:policy/gone"
        tx.insert(
            PolicyAttachment("AIDA1", READ_ONLY, ACCOUNT, tx.now), PolicyAttachment("AIDA1", gone, ACCOUNT, tx.now)
        )
    with store.read() as tx:
        found = policies_of(tx, principal("user", "AIDA1"))
        assert sids(found.identity) - {"", "ReadOnlyAccess"} == {"ownAIDA1", "ownAGPA1", "managedAIDA1", "managedAGPA1"}
        assert len(found.identity) == 5
        assert found.boundary is not None
        assert sids([found.boundary]) == {"boundary"}
        assert found.session is None
        other = policies_of(tx, principal("user", "AIDA2"))
        assert sids(other.identity) == {"ownAIDA2", "ownAGPA2", "managedAIDA2", "managedAGPA2"}
        assert other.boundary is None


def test_roles_and_sessions(store: Store) -> None:
    now = dt.datetime.now(dt.UTC)
    with store.write() as tx:
        boundary, arn = f"arn:aws:iam::{ACCOUNT}:policy/gone", managed(tx, "session")
        tx.insert(Role("AROA1", ACCOUNT, "a", "a", "/", "", "{}", 3600, boundary, None, tx.now))
        tx.insert(InlinePolicy("AROA1", "own", ACCOUNT, text("own")))
    plain = Session(now, now)
    limited = Session(now, now, policies=(text("inline"),), policy_arns=(arn, f"{arn}-none"))
    with store.read() as tx:
        found = policies_of(tx, principal("role", "AROA1", plain))
        assert sids(found.identity) == {"own"}
        assert found.session is None
        # What limits and is not there any more allows nothing.
        assert found.boundary is not None
        assert found.boundary.about("s3:GetObject") == ((), ())
        assert sids(policies_of(tx, principal("role", "AROA1", limited)).session) == {"inline", "session"}
        assert sids(policies_of(tx, principal("federated", "AIDA1", plain)).session) == set()
        root = policies_of(tx, Principal(ACCOUNT, "arn", ACCOUNT, "root", "AKIA", ACCOUNT, "arn"))
        assert root.identity[0].about("s3:GetObject")[1]
