"""Pages of a list operation, by Marker and MaxItems.

https://docs.aws.amazon.com/IAM/latest/UserGuide/iam-quotas.html: 100 items a page unless MaxItems says otherwise. As in
EC2, a marker holds the key of the last row of a page, and a hash of what was asked for (services/page_tokens).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import msgspec
import sqlalchemy as sa

from freehold.records.schema import TABLES, Record
from freehold.services import page_tokens
from freehold.services.iam.errors import ValidationError
from freehold.services.operation import Call

R = TypeVar("R", bound=Record)
T = TypeVar("T")


class _Named(Protocol):
    @property
    def folded(self) -> str: ...


F = TypeVar("F", bound=_Named)
Rows: TypeAlias = Callable[[str, int], Sequence[F]]

PAGE = 100
MARKER_CHARACTERS_MAX = 320
"""What the service model lets a marker be: so a key has at most 220 bytes."""

_keys = msgspec.json.Decoder(list[str])


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Items, and the answer's IsTruncated and Marker (``**page.end``)."""

    rows: list[T]
    end: Mapping[str, Any]


def page(
    call: Call,
    record: type[R],
    request: Mapping[str, Any],
    *where: sa.ColumnElement[bool],
    key: Sequence[str] = ("folded",),
    **equal: Any,
) -> Page[R]:
    """The page of rows that `request` asks for by MaxItems and Marker, in the order of the text columns `key`.

    `equal` should be the columns of an index before `key` (account): a page is then a range of the index. Raises
    ValidationError for a marker that is not from this operation with the same parameters.
    """
    columns = [TABLES[record].c[name] for name in key]
    limit = request.get("MaxItems", PAGE)
    after = _after(call, request, len(key))
    beyond = (
        [] if after is None else [sa.tuple_(*columns) > sa.tuple_(*after) if len(key) > 1 else columns[0] > after[0]]
    )
    rows = call.tx.select(record, *where, *beyond, order_by=columns, limit=limit + 1, **equal)
    return _page(call, request, rows, lambda row: [getattr(row, name) for name in key])


def page_of(call: Call, request: Mapping[str, Any], items: Iterable[T], key: Callable[[T], str]) -> Page[T]:
    """The same of items that are few enough to be all in memory (tags), put in the order of `key`."""
    after = _after(call, request, 1)
    rows = sorted((item for item in items if after is None or key(item) > after[0]), key=key)
    return _page(call, request, rows, lambda item: [key(item)])


def page_of_all(call: Call, request: Mapping[str, Any], lists: Mapping[str, Rows[F]]) -> Page[F]:
    """The same of several lists of named records, one after the other; there is at least one. Each gives its records
    after a name, in the order of `folded`: ``rows(after, limit)``."""
    names = list(lists)
    at, after = _after(call, request, 2) or [names[0], ""]
    if at not in names:
        raise ValidationError("Invalid Marker.")
    limit = request.get("MaxItems", PAGE)
    found: list[tuple[str, F]] = []
    for name in names[names.index(at) :]:
        found += [(name, row) for row in lists[name](after if name == at else "", limit + 1 - len(found))]
        if len(found) > limit:
            break
    listed = _page(call, request, found, lambda item: [item[0], item[1].folded])
    return Page([record for _, record in listed.rows], listed.end)


def under(column: sa.ColumnElement[str], request: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    """The condition that PathPrefix sets on a column of paths: none for ``/``, under which all paths are."""
    prefix = request.get("PathPrefix", "/")
    return [] if prefix == "/" else [sa.func.substr(column, 1, len(prefix)) == prefix]


def _page(call: Call, request: Mapping[str, Any], rows: list[T], key: Callable[[T], list[str]]) -> Page[T]:
    limit = request.get("MaxItems", PAGE)
    if len(rows) <= limit:
        return Page(rows, {"IsTruncated": False})
    marker = page_tokens.write(key(rows[limit - 1]), _asked(call, request))
    return Page(rows[:limit], {"IsTruncated": True, "Marker": marker})


def _after(call: Call, request: Mapping[str, Any], length: int) -> list[str] | None:
    """The key that the marker of `request` holds, if there is one."""
    marker = request.get("Marker")
    if marker is None:
        return None
    try:
        key = page_tokens.read(marker, _asked(call, request), _keys)
    except page_tokens.UnusableToken as error:
        raise ValidationError("Invalid Marker.") from error
    if len(key) != length or any("\0" in part for part in key):
        raise ValidationError("Invalid Marker.")
    return key


def _asked(call: Call, request: Mapping[str, Any]) -> bytes:
    return page_tokens.asked(request, call.operation, call.account_id, without=("MaxItems", "Marker"))
