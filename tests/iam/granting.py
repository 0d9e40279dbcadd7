"""Policies for the users and roles of a test, put where IAM keeps them."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from freehold.records.accounts import User
from freehold.records.identities import (
    Group,
    InlinePolicy,
    ManagedPolicy,
    Membership,
    PolicyAttachment,
    PolicyVersion,
)
from freehold.records.ids import new_iam_id
from tests.cloudapi import ApiServer, Keys


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: Any, resource: Any = "*", **condition: Any) -> dict[str, Any]:
    """A statement; conditions as ``StringEquals={"aws:username": "alice"}``."""
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return statement | ({"Condition": condition} if condition else {})


def deny(action: Any, resource: Any = "*", **condition: Any) -> dict[str, Any]:
    return allow(action, resource, **condition) | {"Effect": "Deny"}


class Grants:
    """Gives the users of a served account their policies."""

    def __init__(self, api: ApiServer, authority: Path | None = None) -> None:
        self.api = api
        self.authority = authority  # the certificate that HTTPS is verified by

    def user(self, name: str, *statements: dict[str, Any]) -> Keys:
        """A user with an inline policy of these statements."""
        keys = self.api.create_user(name)
        if statements:
            self.inline(self.user_id(name), *statements)
        return keys

    def user_id(self, name: str) -> str:
        with self.api.store.read() as tx:
            user = tx.find(User, account_id=self.api.account_id, folded=name.lower())
            assert user is not None
            return user.id

    def inline(self, owner_id: str, *statements: dict[str, Any], name: str = "own") -> None:
        with self.api.store.write() as tx:
            tx.put(InlinePolicy(owner_id, name, self.api.account_id, document(*statements)))

    def managed(self, name: str, *statements: dict[str, Any]) -> str:
        """A customer managed policy; its ARN."""
        arn = f"arn:aws:iam::{self.api.account_id}:policy/{name}"
        policy_id = new_iam_id("ANPA")
        with self.api.store.write() as tx:
            named = (name, name.lower(), "/", "")
            tx.insert(ManagedPolicy(policy_id, self.api.account_id, arn, *named, 2, 2, tx.now, tx.now))
            tx.insert(PolicyVersion(policy_id, 1, self.api.account_id, document(allow("*")), tx.now))
            tx.insert(PolicyVersion(policy_id, 2, self.api.account_id, document(*statements), tx.now))
        return arn

    def attach(self, owner_id: str, arn: str) -> None:
        with self.api.store.write() as tx:
            tx.insert(PolicyAttachment(owner_id, arn, self.api.account_id, tx.now))

    def group(self, name: str, user_id: str) -> str:
        """A group with a member; its id."""
        group_id = new_iam_id("AGPA")
        with self.api.store.write() as tx:
            tx.insert(Group(group_id, self.api.account_id, name, name.lower(), "/", tx.now))
            tx.insert(Membership(group_id, user_id, self.api.account_id))
        return group_id

    def limit(self, user_id: str, boundary_arn: str) -> None:
        with self.api.store.write() as tx:
            user = tx.get(User, user_id)
            assert user is not None
            tx.update(user, boundary_arn=boundary_arn)


@contextmanager
def denied(*said: str, code: str = "UnauthorizedOperation") -> Any:
    """A call that is refused, with these words in the message."""
    with pytest.raises(ClientError) as caught:
        yield caught
    error = caught.value.response["Error"]
    assert error["Code"] == code, error
    for words in said:
        assert words in error["Message"]
