r"""EC2's filters as SQL conditions.

A describe operation has a table from filter name to a condition builder::

    _FILTERS = {"vpc-id": text(vpcs.c.id), "is-default": flag(vpcs.c.is_default), "state": constant("available")}

and gives it to `conditions` with the request's ``Filters``. The values of a filter are alternatives, all filters must
hold; ``*`` stands for any characters, ``?`` for one, a backslash before them for themselves; all is case-sensitive
(https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html). A filter that the table does not have is
refused, never ignored.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

from freehold.records.tags import tags
from freehold.services.ec2.errors import FilterLimitExceeded, InvalidParameterValue
from freehold.services.operation import Call

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef

Condition = Callable[[Call, Sequence[str]], sa.ColumnElement[bool]]
"""Builds the SQL condition that a row meets one of the filter's values."""

MAX_VALUES = 200
"""In one request, over all its filters."""


def conditions(
    call: Call,
    filters: Sequence[FilterTypeDef],
    supported: Mapping[str, Condition],
    tagged: sa.ColumnElement[str] | None = None,
) -> list[sa.ColumnElement[bool]]:
    """The conditions that rows must meet. `tagged` is the column with the resource's id, where it can have tags.

    Raises InvalidParameterValue for a filter that is not supported or has no values, FilterLimitExceeded.
    """
    result = []
    for name, values in _checked(filters):
        # No text in the database has a NUL, and PostgreSQL refuses one in a parameter: such a value matches nothing.
        usable = [value for value in values if "\0" not in value]
        if tagged is not None and name.startswith("tag:") and len(name) > len("tag:"):
            result.append(_tags_that(call, tagged, tags.c.key == name.removeprefix("tag:"), tags.c.value, usable))
        elif tagged is not None and name == "tag-key":
            result.append(_tags_that(call, tagged, sa.true(), tags.c.key, usable))
        elif name in supported:
            result.append(supported[name](call, usable))
        else:
            raise InvalidParameterValue(f"The filter '{name}' is invalid")
    return result


def satisfied(filters: Sequence[FilterTypeDef], attributes: Mapping[str, Sequence[str]]) -> bool:
    """`conditions` for a thing that is not in the database, by its attributes: filter name → the values it has."""
    result = True
    for name, patterns in _checked(filters):
        if name not in attributes:
            raise InvalidParameterValue(f"The filter '{name}' is invalid")
        result &= any(wildcard_matches(pattern, value) for pattern in patterns for value in attributes[name])
    return result


def text(column: sa.ColumnElement[Any]) -> Condition:
    """A filter on a text column (or expression)."""
    return lambda _call, values: matching(column, values)


def flag(column: sa.ColumnElement[bool]) -> Condition:
    """A filter on a boolean column: ``true`` or ``false``."""

    def condition(_call: Call, values: Sequence[str]) -> sa.ColumnElement[bool]:
        if wrong := [value for value in values if value not in ("true", "false")]:
            raise InvalidParameterValue(f"Invalid value '{wrong[0]}' for a boolean filter. Valid values: true, false")
        return column.in_({value == "true" for value in values})

    return condition


def number(column: sa.ColumnElement[int]) -> Condition:
    """A filter on an integer column; a value that is no integer matches nothing."""
    return lambda _call, values: column.in_([int(value) for value in values if re.fullmatch(r"-?[0-9]{1,18}", value)])


def moment(column: sa.ColumnElement[dt.datetime]) -> Condition:
    """A filter on a time, written as the API returns it: ``2026-11-25T12:30:15.000Z``, whole seconds; wildcards are
    allowed (``2026-11-25T*``)."""
    as_text = _IsoTime(column)
    return lambda _call, values: matching(as_text, values)


def constant(value: str) -> Condition:
    """A filter on something that is the same for every row."""
    return lambda _call, values: (
        sa.true() if any(wildcard_matches(pattern, value) for pattern in values) else sa.false()
    )


def absent(_call: Call, _values: Sequence[str]) -> sa.ColumnElement[bool]:
    """A filter on something that EC2 has and no resource here does: it matches none."""
    return sa.false()


def any_row(source: sa.FromClause, *link: sa.ColumnElement[bool], that: Condition) -> Condition:
    """A filter on rows of another table: at least one that is linked to this row meets `that`."""
    return lambda call, values: sa.exists().select_from(source).where(*link, that(call, values))


def matching(column: sa.ColumnElement[Any], values: Sequence[str]) -> sa.ColumnElement[bool]:
    """Whether the text matches one of the values, which may have wildcards."""
    literals = [literal for literal in map(_as_literal, values) if literal is not None]
    patterns = [value for value in values if _as_literal(value) is None]
    return sa.or_(column.in_(literals), *(_Matches(column, sa.literal(p, _Pattern())) for p in patterns))


def wildcard_matches(pattern: str, value: str) -> bool:
    """`matching` for a value that is not in the database."""
    # Greedy, with one point to return to: at most len(pattern) * len(value) steps, whatever the pattern.
    tokens = list(_tokens(pattern))
    at = position = mark = 0
    star = -1
    while position < len(value):
        if at < len(tokens) and tokens[at] == "many":
            star, mark = at, position
            at += 1
        elif at < len(tokens) and tokens[at] in ("one", "=" + value[position]):
            at, position = at + 1, position + 1
        elif star >= 0:
            mark += 1
            at, position = star + 1, mark
        else:
            return False
    return set(tokens[at:]) <= {"many"}


def _checked(filters: Sequence[FilterTypeDef]) -> list[tuple[str, Sequence[str]]]:
    """The filters as (name, values). Raises FilterLimitExceeded, InvalidParameterValue for a filter without values."""
    named = [(f.get("Name", ""), f.get("Values", ())) for f in filters]
    if sum(len(values) for _, values in named) > MAX_VALUES:
        raise FilterLimitExceeded(MAX_VALUES)
    for name, values in named:
        if not values:
            raise InvalidParameterValue(f"The filter '{name}' has no values.")
    return named


def _tokens(pattern: str) -> Iterator[str]:
    """``many`` (*), ``one`` (?) or ``=c`` for the character c itself. A backslash before anything else is itself."""
    position = 0
    while position < len(pattern):
        character = pattern[position]
        following = pattern[position + 1 : position + 2]
        if character == "\\" and following and following in "*?\\":
            yield "=" + following
            position += 1
        else:
            yield {"*": "many", "?": "one"}.get(character, "=" + character)
        position += 1


def _as_literal(pattern: str) -> str | None:
    """The text that a pattern without wildcards stands for; None if it has wildcards."""
    tokens = list(_tokens(pattern))
    return None if "many" in tokens or "one" in tokens else "".join(token[1:] for token in tokens)


def _tags_that(
    call: Call,
    resource_id: sa.ColumnElement[str],
    condition: sa.ColumnElement[bool],
    column: sa.ColumnElement[str],
    values: Sequence[str],
) -> sa.ColumnElement[bool]:
    # IN, not EXISTS: the planner may then begin with the few tags instead of probing once for every resource.
    return resource_id.in_(
        sa.select(tags.c.resource_id).where(
            tags.c.account_id == call.account_id, tags.c.region == call.region, condition, matching(column, values)
        )
    )


class _Pattern(sa.types.TypeDecorator[str]):
    """A pattern in the form that the database's own operator takes."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        if value is None:
            return None
        many, one, escaped = ("*", "?", "[{}]") if dialect.name == "sqlite" else ("%", "_", "\\{}")
        special = "*?[" if dialect.name == "sqlite" else "%_\\"
        return "".join(
            {"many": many, "one": one}.get(token) or (escaped.format(token[1:]) if token[1:] in special else token[1:])
            for token in _tokens(value)
        )


class _Matches(sa.sql.functions.FunctionElement[bool]):
    """Text and `_Pattern`: case-sensitive, which LIKE is not on SQLite and GLOB is."""

    type = sa.Boolean()
    inherit_cache = True


@compiles(_Matches)
def _matches_by_like(element: _Matches, compiler: Any, **options: Any) -> str:
    column, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    return rf"({column} LIKE {pattern} ESCAPE '\')"


@compiles(_Matches, "sqlite")
def _matches_by_glob(element: _Matches, compiler: Any, **options: Any) -> str:
    column, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({column} GLOB {pattern})"


class _IsoTime(sa.sql.functions.FunctionElement[str]):
    """A stored moment (microseconds since 1970) as ``2026-11-25T12:30:15.000Z``."""

    type = sa.Text()
    inherit_cache = True


@compiles(_IsoTime)
def _iso_time(element: _IsoTime, compiler: Any, **options: Any) -> str:
    column = compiler.process(next(iter(element.clauses)), **options)
    return f"""to_char(to_timestamp({column} / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS".000Z"')"""


@compiles(_IsoTime, "sqlite")
def _iso_time_sqlite(element: _IsoTime, compiler: Any, **options: Any) -> str:
    column = compiler.process(next(iter(element.clauses)), **options)
    return f"strftime('%Y-%m-%dT%H:%M:%S.000Z', {column} / 1000000, 'unixepoch')"
