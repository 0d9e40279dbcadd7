"""Pages of a describe operation, by key (services/page_tokens)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import msgspec
import sqlalchemy as sa

from freehold.records.schema import TABLES, Record
from freehold.services import page_tokens
from freehold.services.ec2.errors import InvalidNextToken, InvalidParameterCombination, InvalidParameterValue
from freehold.services.ec2.filters import Condition, conditions
from freehold.services.ec2.resources import Kind
from freehold.services.operation import Call

R = TypeVar("R", bound=Record)

SMALLEST_PAGE, LARGEST_PAGE = 5, 1000
"""The largest also the page of a request without MaxResults, so that no answer grows without bound."""

_keys = msgspec.json.Decoder(list[str | Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]])


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """Rows, and the answer's ``NextToken`` member if there are more (``**page.token``)."""

    rows: list[R]
    token: Mapping[str, str]


def page(
    call: Call,
    record: type[R],
    request: Mapping[str, Any],
    *where: sa.ColumnElement[bool],
    key: Sequence[str] = ("id",),
    smallest: int = SMALLEST_PAGE,
    whole: bool = False,
    **equal: Any,
) -> Page[R]:
    """The page of rows that `request` asks for by MaxResults and NextToken, in the order of the columns `key`.

    `equal` must be the columns of an index before `key` (account, region): a page is then a range of the index.
    `whole`: the operation has no paging, all rows are wanted. Raises InvalidParameterValue for fewer than `smallest`
    rows, InvalidNextToken for a token that is not from this operation with the same parameters.
    """
    columns = [TABLES[record].c[name] for name in key]
    if whole:
        return Page(call.tx.select(record, *where, order_by=columns, **equal), {})
    limit = min(request.get("MaxResults", LARGEST_PAGE), LARGEST_PAGE)
    if limit < smallest:
        # AWS's words, though it takes the number itself too.
        raise InvalidParameterValue(
            f"Value ( {limit} ) for parameter maxResults is invalid. Expecting a value greater than {smallest}."
        )
    asked = page_tokens.asked(request, call.operation, call.region, without=("MaxResults", "NextToken", "DryRun"))
    after = _read_token(request["NextToken"], asked, columns) if request.get("NextToken") else None
    beyond = (
        [] if after is None else [sa.tuple_(*columns) > sa.tuple_(*after) if len(key) > 1 else columns[0] > after[0]]
    )
    rows = call.tx.select(record, *where, *beyond, order_by=columns, limit=limit + 1, **equal)
    if len(rows) <= limit:
        return Page(rows, {})
    last = [getattr(rows[limit - 1], name) for name in key]
    return Page(rows[:limit], {"NextToken": page_tokens.write(last, asked)})


def described(
    call: Call,
    kind: Kind[R],
    request: Mapping[str, Any],
    ids: str,
    supported: Mapping[str, Condition],
    *where: sa.ColumnElement[bool],
    smallest: int = SMALLEST_PAGE,
    whole: bool = False,
) -> Page[R]:
    """What a describe operation answers for its id list (the member `ids`), Filters, MaxResults and NextToken.

    Ids that do not exist raise the kind's NotFound; ids that do and do not meet the filters are left out.
    """
    filtered = conditions(call, request.get("Filters", ()), supported, kind.id)
    resource_ids = request.get(ids) or ()
    equal: dict[str, Any] = kind.owner(call)
    if resource_ids:
        kind.load_all(call, resource_ids)
        equal |= {kind.id_column: list(resource_ids)}
    return page(call, kind.record, request, *where, *filtered, key=_key(kind), smallest=smallest, whole=whole, **equal)


def not_with_ids(request: Mapping[str, Any], ids: str) -> None:
    """Refuse MaxResults together with a list of ids, for the operations that AWS forbids it."""
    if request.get(ids) and request.get("MaxResults"):
        raise InvalidParameterCombination(f"The parameter {ids} cannot be used with the parameter MaxResults")


def _key(kind: Kind[R]) -> tuple[str, ...]:
    return tuple(column.name for column in TABLES[kind.record].primary_key.columns)


def _read_token(token: str, asked: bytes, columns: Sequence[sa.Column[Any]]) -> list[str | int]:
    try:
        key = page_tokens.read(token, asked, _keys)
    except page_tokens.UnusableToken as error:
        raise InvalidNextToken from error
    if len(key) != len(columns):
        raise InvalidNextToken
    if any(not isinstance(part, column.type.python_type) for part, column in zip(key, columns, strict=True)):
        raise InvalidNextToken
    if any(isinstance(part, str) and "\0" in part for part in key):
        raise InvalidNextToken
    return key
