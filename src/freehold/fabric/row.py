"""A row of the OVN northbound database (ovn-nb(5)), as a plain value with a name of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID, uuid5

_NAMESPACE = UUID("9a1f8d2c-6f0e-5d39-8f53-0d7b0a1c4e21")


class Ref(NamedTuple):
    """Names a row: its table, and a key that is unique in that table. The row's UUID follows from the name, so that
    rows may refer to each other, be inserted twice and be found again without any memory of what was made."""

    table: str
    key: str

    @property
    def uuid(self) -> UUID:
        return uuid5(_NAMESPACE, f"{self.table}/{self.key}")


Value = str | int | bool | Ref | frozenset[str] | frozenset[Ref] | Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """`columns` are those that Freehold decides; all others keep their defaults or belong to OVN.

    `parent` is the row that holds this one: most tables keep only rows that another one refers to.
    """

    ref: Ref
    columns: Mapping[str, Value]
    parent: Ref | None = None
