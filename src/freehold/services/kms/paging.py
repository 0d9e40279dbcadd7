"""Pages of KMS's lists: Limit and Marker, Truncated and NextMarker.

A marker is the key of a page's last row, so that rows that come or go meanwhile shift nothing. It is no secret: it can
only name a place among rows that the caller may see.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from freehold.records.schema import TABLES, Record
from freehold.services.kms.errors import InvalidMarker, Validation
from freehold.services.operation import Call

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """Rows, and the answer's members that say whether there are more (``**page.more``)."""

    rows: Sequence[R]
    more: Mapping[str, Any]


def page(
    call: Call, record: type[R], request: Mapping[str, Any], column: str, *, default: int, most: int, **equal: Any
) -> Page[R]:
    """The rows that `request` asks for, in the order of `column`; `default` and `most` are the limits of a page.

    `equal` must be the columns of an index before `column`. Raises InvalidMarkerException, ValidationException.
    """
    limit = checked_limit(request, default=default, most=most)
    order = TABLES[record].c[column]
    where: list[sa.ColumnElement[bool]] = []
    if marker := request.get("Marker"):
        where.append(order > read_marker(marker))
    rows = call.tx.select(record, *where, order_by=(order,), limit=limit + 1, **equal)
    return Page(rows[:limit], marker_after([getattr(row, column) for row in rows], limit))


def page_of(rows: Sequence[R], request: Mapping[str, Any], column: str, *, default: int, most: int) -> Page[R]:
    """The same of rows that are few and at hand, sorted by `column`."""
    limit = checked_limit(request, default=default, most=most)
    if marker := request.get("Marker"):
        after = read_marker(marker)
        rows = [row for row in rows if getattr(row, column) > after]
    return Page(rows[:limit], marker_after([getattr(row, column) for row in rows], limit))


def checked_limit(request: Mapping[str, Any], *, default: int, most: int) -> int:
    limit: int = request.get("Limit", default)
    if limit > most:
        raise Validation(
            f"1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: Member must have "
            f"value less than or equal to {most}"
        )
    return limit


def marker_after(keys: Sequence[str], limit: int) -> Mapping[str, Any]:
    """What an answer says of what follows its first `limit` rows; `keys` are those of all that were found."""
    if len(keys) <= limit:
        return {"Truncated": False}
    return {"Truncated": True, "NextMarker": base64.urlsafe_b64encode(keys[limit - 1].encode()).decode()}


def read_marker(marker: str) -> str:
    try:
        text = base64.b64decode(marker.encode(), altchars=b"-_", validate=True).decode()
    except (UnicodeError, binascii.Error):
        raise InvalidMarker() from None
    if not text or "\0" in text:
        raise InvalidMarker()
    return text
