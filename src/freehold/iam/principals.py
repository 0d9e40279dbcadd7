"""Who asks, and whether a Principal element names them.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

_ROOT = re.compile(r"(?:arn:aws:iam::)?([0-9]{12})(?::root)?")


class Named(enum.IntEnum):
    """How closely a Principal element names who asks, which decides what else has to allow it."""

    NOT = 0
    ACCOUNT = 1  # their account, which may then decide itself
    ENTITY = 2  # the role of a session, the user of a federated user
    DIRECTLY = 3


@dataclass(frozen=True, slots=True)
class Who:
    """Who asks.

    `arn` is the user, the session of a role or federated user, or the account's root; the name of a service; the ARN
    of an identity provider. `entity` is the ARN of a session's role or user, otherwise empty. `id` and `entity_id` are
    the unique ids of both (``AROA…:session`` and ``AROA…``), by which policies may name them too.
    """

    arn: str
    account_id: str = ""
    kind: Literal["AWS", "Service", "Federated", "Anonymous"] = "AWS"
    entity: str = ""
    root: bool = False
    id: str = ""
    entity_id: str = ""


ANONYMOUS = Who("*", kind="Anonymous")


class Principals:
    """A Principal element, ready to be asked."""

    __slots__ = ("_accounts", "_everyone", "_names")

    def __init__(self, written: Mapping[str, tuple[str, ...]]) -> None:
        self._names = {kind: set(names) for kind, names in written.items()}
        self._everyone = "*" in self._names.get("AWS", ())
        roots = [_ROOT.fullmatch(name) for name in self._names.get("AWS", ())]
        self._accounts = {root[1] for root in roots if root}

    def name(self, who: Who) -> Named:
        if self._everyone:
            return Named.DIRECTLY
        names = self._names.get(who.kind)
        if names is None:
            return Named.NOT
        if who.arn in names or who.id in names:
            return Named.DIRECTLY
        if who.kind != "AWS":
            return Named.DIRECTLY if "*" in names else Named.NOT
        if who.entity in names or who.entity_id in names:
            return Named.ENTITY
        if who.account_id in self._accounts:
            return Named.DIRECTLY if who.root else Named.ACCOUNT
        return Named.NOT

    def except_(self, who: Who) -> bool:
        """Whether a NotPrincipal element excepts who asks: it must list them, their role and their account.

        https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_notprincipal.html
        """
        if self._everyone:
            return True
        if who.kind != "AWS":
            return self.name(who) is Named.DIRECTLY
        names = self._names.get("AWS", set())
        session = who.arn in names or who.id in names
        entity = not who.entity or who.entity in names or who.entity_id in names
        return who.account_id in self._accounts and (who.root or (session and entity))
