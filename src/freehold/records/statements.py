"""Statements that are put together and rendered once, then given straight to the driver.

SQLAlchemy builds, hashes and renders a statement each time that it is executed, which costs many times what SQLite
takes to run it. What every request runs (records by the values of their columns) is kept here instead, by its shape.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles

from freehold.records.schema import REMEMBERED, TABLES, Record

Convert = Callable[[Any], Any]
Shape = tuple[tuple[str, int | None], ...]
"""Columns, each with how many are in the list of values that it may have; None = it is one value, 0 = it is NULL."""


def shape(equal: Mapping[str, Any]) -> Shape:
    """The shape of conditions: a column has the value, one of a list of values, or is NULL (None)."""
    return tuple((name, _size(value)) for name, value in equal.items())


def _size(value: Any) -> int | None:
    if isinstance(value, list):
        return places(len(value))
    return 0 if value is None else None


def condition(column: sa.ColumnElement[Any], value: Any) -> sa.ColumnElement[bool]:
    """What `shape` and the functions below make of a column and its value, as SQLAlchemy's own."""
    return column.in_(value) if isinstance(value, list) else column == value


def _where(kind: type[Record], of: Shape) -> list[sa.ColumnElement[bool]]:
    """The conditions, with parameters that are named as their columns."""
    columns = TABLES[kind].c
    return [
        columns[name] == sa.bindparam(name, type_=columns[name].type)
        if size is None
        else any_of(columns[name], name, size)
        if size
        else columns[name].is_(None)
        for name, size in of
    ]


def any_of(column: sa.ColumnElement[Any], name: str, size: int) -> sa.ColumnElement[bool]:
    """Whether a column has one of the values in the parameter `name`, a list; `size` is `places` of its length."""
    return column.in_([sa.bindparam(f"{name}__{place}", type_=column.type) for place in range(size)])


def places(length: int) -> int:
    """A power of two, so that there are few shapes; the last value stands in the places that are left."""
    return 1 << (length - 1).bit_length()


class RowText(sa.sql.functions.FunctionElement[str]):
    """Columns (100 at most) as the text of a JSON array. It is read in half of the time that they take one by one, and
    says whether they are what they were."""

    name = "row_text"
    type = sa.Text()
    inherit_cache = True


@compiles(RowText, "sqlite")
def _sqlite_row_text(element: RowText, compiler: Any, **kwargs: Any) -> str:
    return f"json_array({compiler.process(element.clauses, **kwargs)})"


@compiles(RowText, "postgresql")
def _postgresql_row_text(element: RowText, compiler: Any, **kwargs: Any) -> str:
    return f"CAST(json_build_array({compiler.process(element.clauses, **kwargs)}) AS TEXT)"


@functools.cache
def every(kind: type[Record]) -> sa.Select[Any]:
    return sa.select(TABLES[kind])


@functools.cache
def select(
    kind: type[Record], of: Shape, order_by: tuple[sa.ColumnElement[Any], ...] = (), *, limited: bool = False
) -> sa.Select[Any]:
    """Records that meet the conditions, in key order unless `order_by` says otherwise; `limited`: by ``limit``. Those
    of a remembered kind are a `RowText` each."""
    table = TABLES[kind]
    query = sa.select(RowText(*table.c)).select_from(table) if kind in REMEMBERED else every(kind)
    query = query.where(*_where(kind, of)).order_by(*(order_by or table.primary_key.columns))
    return query.limit(sa.bindparam("limit", type_=sa.Integer())) if limited else query


@functools.cache
def count(kind: type[Record], of: Shape) -> sa.Select[Any]:
    return sa.select(sa.func.count()).select_from(TABLES[kind]).where(*_where(kind, of))


@functools.cache
def insert(kind: type[Record], columns: tuple[str, ...]) -> sa.Insert:
    types = TABLES[kind].c
    return (
        sa.insert(TABLES[kind]).values({name: sa.bindparam(name, type_=types[name].type) for name in columns}).inline()
    )


@functools.cache
def extend(kind: type[Record], columns: tuple[str, ...], rows: int) -> sa.Insert:
    """Insert so many rows, of parameters that are lists."""
    types = TABLES[kind].c
    values = [
        {name: sa.bindparam(f"{name}__{place}", type_=types[name].type) for name in columns} for place in range(rows)
    ]
    return sa.insert(TABLES[kind]).values(values).inline()


@functools.cache
def put(kind: type[Record], dialect: str) -> sa.Insert:
    """Insert a record, or overwrite the row that has its key."""
    table = TABLES[kind]
    keys = table.primary_key.columns.keys()
    values = {column.name: sa.bindparam(column.name, type_=column.type) for column in table.columns}
    statement = (sqlite.insert if dialect == "sqlite" else postgresql.insert)(table).values(values).inline()
    rest = {name: statement.excluded[name] for name in values if name not in keys}
    if rest:
        return statement.on_conflict_do_update(index_elements=keys, set_=rest)
    return statement.on_conflict_do_nothing(index_elements=keys)


@functools.cache
def update(kind: type[Record], of: Shape, columns: tuple[str, ...]) -> sa.Update:
    """Set `columns` to the parameters ``new__COLUMN``."""
    table = TABLES[kind]
    changes = {name: sa.bindparam(f"new__{name}", type_=table.c[name].type) for name in columns}
    return sa.update(table).where(*_where(kind, of)).values(changes)


@functools.cache
def delete(kind: type[Record], of: Shape) -> sa.Delete:
    return sa.delete(TABLES[kind]).where(*_where(kind, of))


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """A statement in a database's own words. `take` gives the values of its parameters in the order of the driver,
    `converts` says how those at some places become the driver's; `names` are there when the driver wants a mapping;
    `results` how the driver's values become ours."""

    sql: str
    take: Callable[[Mapping[str, Any]], Sequence[Any]]
    converts: tuple[tuple[int, Convert], ...]
    names: tuple[str, ...] | None
    results: tuple[tuple[int, Convert], ...]

    def parameters(self, values: Mapping[str, Any]) -> Sequence[Any] | Mapping[str, Any]:
        """What the driver takes beside `sql`."""
        parameters = self.take(values)
        if self.converts:
            parameters = list(parameters)
            for place, convert in self.converts:
                parameters[place] = convert(parameters[place])
        return parameters if self.names is None else dict(zip(self.names, parameters, strict=True))

    def rows(self, found: list[Sequence[Any]]) -> list[Sequence[Any]]:
        """Rows as the driver gives them, with our types in them."""
        return [self.row(row) for row in found] if self.results else found

    def row(self, found: Sequence[Any]) -> Sequence[Any]:
        row = list(found)
        for place, convert in self.results:
            row[place] = convert(row[place])
        return tuple(row)


_rendered: dict[tuple[str, sa.Executable], Rendered] = {}


def rendered(statement: sa.Executable, dialect: sa.Dialect) -> Rendered:
    """A statement that is kept, in the words of a database: they are remembered for good."""
    found = _rendered.get((dialect.name, statement))
    if found is None:
        found = _rendered[dialect.name, statement] = _render(statement, dialect)
    return found


def _render(statement: Any, dialect: sa.Dialect) -> Rendered:
    compiled = statement.compile(dialect=dialect)
    names = tuple(compiled.positiontup or compiled.binds)
    converts = [compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names]
    selected = statement.selected_columns if isinstance(statement, sa.Select) else ()
    results = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in selected]
    return Rendered(
        sql=str(compiled),
        take=_taker(names, {name: bind.value for name, bind in compiled.binds.items() if not bind.required}),
        converts=tuple((place, convert) for place, convert in enumerate(converts) if convert is not None),
        names=None if compiled.positiontup else names,
        results=tuple((place, convert) for place, convert in enumerate(results) if convert is not None),
    )


def _taker(names: Sequence[str], given: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Sequence[Any]]:
    """How the values of the parameters `names` are taken out of those of a call: ``id__3`` is the fourth in the list
    `id`, or its last; those in `given` may be left out."""
    parts = _parts(names)
    if names and not given and all(column is None for _, column, *_ in parts):
        return itemgetter(*names) if len(names) > 1 else lambda values: (values[names[0]],)

    def take(values: Mapping[str, Any]) -> list[Any]:
        taken: list[Any] = []
        for name, column, begin, end in parts:
            if column is None:
                taken.append(values[name] if name in values else given[name])
            else:
                listed = values[column]
                taken += listed[begin:end]
                taken += [listed[-1]] * (end - max(begin, len(listed)))
        return taken

    return take


def _parts(names: Sequence[str]) -> list[tuple[str, str | None, int, int]]:
    """Parameters that follow each other, each with its name; or, of a list, its column and which places they are."""
    parts: list[tuple[str, str | None, int, int]] = []
    for name in names:
        column, _, place = name.rpartition("__")
        if not place.isdigit():
            parts.append((name, None, 0, 0))
        elif parts and parts[-1][1] == column and parts[-1][3] == int(place):
            parts[-1] = (*parts[-1][:3], int(place) + 1)
        else:
            parts.append((name, column, int(place), int(place) + 1))
    return parts
