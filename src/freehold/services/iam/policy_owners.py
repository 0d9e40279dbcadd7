"""Users, groups and roles as those who have policies: what the operations of all three share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from freehold.records.accounts import User
from freehold.records.identities import Group, Role
from freehold.services.iam.resources import load_group, load_own_role, load_role, load_user
from freehold.services.operation import Call

Owner = User | Group | Role

Word = Literal["user", "group", "role"]

WORDS: Mapping[type[Owner], Word] = {User: "user", Group: "group", Role: "role"}
MEMBERS: Mapping[type[Owner], str] = {User: "UserName", Group: "GroupName", Role: "RoleName"}
"""The member of a request, and of an answer, that names one."""


def load(call: Call, request: Mapping[str, Any], kind: type[Owner], *, to_change: bool = False) -> Owner:
    """The user, group or role that the request names. Raises NoSuchEntity and, `to_change`, UnmodifiableEntity for a
    service's own role."""
    name = request[MEMBERS[kind]]
    if kind is User:
        return load_user(call, name)
    if kind is Group:
        return load_group(call, name)
    return load_own_role(call, name) if to_change else load_role(call, name)


def word(owner: Owner) -> Word:
    """``user``, ``group`` or ``role``."""
    return WORDS[type(owner)]
