"""From a record type to its table: one definition serves the code and the database.

A record is a frozen msgspec struct; `table` derives its SQLAlchemy table from the annotations, so that a column can
not be forgotten in one of two lists. Migrations (records/migrations) are the history of these tables; a test
compares the two.

Column types: ``str`` → text, ``int`` → 64-bit integer, ``bool`` → boolean, ``bytes`` → blob, ``Decimal`` → text,
``datetime`` → microseconds since 1970 UTC (sorts and compares alike on SQLite and PostgreSQL); every other type →
JSON text, encoded and validated by msgspec.
"""

from __future__ import annotations

import datetime as dt
import types
import typing
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

metadata = sa.MetaData()

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


class Record(msgspec.Struct, frozen=True):
    """One row. Subclasses are declared with `table`."""


TABLES: dict[type[Record], sa.Table] = {}
REMEMBERED: set[type[Record]] = set()
"""Those that are read over and over by the thousand: of the same row the same object is made."""


def moment(microseconds: int) -> dt.datetime:
    return _EPOCH + microseconds * _MICROSECOND


class Instant(sa.types.TypeDecorator[dt.datetime]):
    """A moment in UTC, stored as microseconds since 1970."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: sa.Dialect) -> int | None:
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> dt.datetime | None:
        return None if value is None else moment(value)


class Json(sa.types.TypeDecorator[Any]):
    """A value of a msgspec-typed shape, stored as JSON text and validated when read."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, of: Any) -> None:
        super().__init__()
        self.of = of
        self._decoder = msgspec.json.Decoder(of)

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        return None if value is None else self._decoder.decode(value)


_PLAIN: dict[Any, Any] = {
    str: sa.Text,
    int: sa.BigInteger,
    bool: sa.Boolean,
    bytes: sa.LargeBinary,
    dt.datetime: Instant,
}


def _column_type(annotation: Any) -> tuple[Any, bool]:
    """The SQLAlchemy type for an annotation, and whether it may be NULL."""
    nullable = False
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        options = [o for o in typing.get_args(annotation) if o is not types.NoneType]
        nullable = len(options) < len(typing.get_args(annotation))
        annotation = options[0] if len(options) == 1 else annotation
    if isinstance(annotation, typing.NewType):
        annotation = annotation.__supertype__
    if typing.get_origin(annotation) is Literal:
        annotation = str
    plain = _PLAIN.get(annotation)
    return (plain() if plain else Json(annotation)), nullable


def _sparse_index(table_name: str, column: sa.Column[Any]) -> sa.Index:
    there = column.is_not(None)
    return sa.Index(f"{table_name}_by_{column.name}", column, sqlite_where=there, postgresql_where=there)


def table(
    name: str,
    record: type[Record],
    *,
    key: tuple[str, ...],
    indexes: tuple[tuple[str, ...], ...] = (),
    unique: tuple[tuple[str, ...], ...] = (),
    sparse: tuple[str, ...] = (),
    autoincrement: bool = False,
    remembered: bool = False,
) -> sa.Table:
    """Declare the table of `record`. `key` is its primary key; each tuple in `indexes` and `unique` is one index, and
    each column in `sparse` has one of the rows where it is not NULL; `remembered`: see REMEMBERED."""
    hints = typing.get_type_hints(record)
    columns = []
    for field in msgspec.structs.fields(record):
        column_type, nullable = _column_type(hints[field.name])
        is_key = field.name in key
        if is_key and autoincrement:
            # SQLite counts positions only in a column whose type is exactly INTEGER.
            column_type = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
        columns.append(
            sa.Column(
                field.name,
                column_type,
                primary_key=is_key,
                nullable=nullable and not (is_key and autoincrement),
                autoincrement=autoincrement and is_key,
            )
        )
    result = sa.Table(
        name,
        metadata,
        *columns,
        *(sa.Index(f"{name}_by_{'_'.join(fields)}", *fields) for fields in indexes),
        *(sa.Index(f"{name}_one_{'_'.join(fields)}", *fields, unique=True) for fields in unique),
        *(_sparse_index(name, column) for column in columns if column.name in sparse),
        sqlite_autoincrement=autoincrement,
        sqlite_with_rowid=autoincrement,  # else a table is its key's own index: one tree less to write
    )
    TABLES[record] = result
    if remembered:
        REMEMBERED.add(record)
    return result
