"""The database and its transactions.

A `Store` opens read and write transactions on SQLite (a file) or PostgreSQL (a URL); a `Transaction` reads and
writes typed records, and carries what must commit with them: feed events, audit records and usage entries.

SQLite: one writer at a time, taken with BEGIN IMMEDIATE so that no reader ever has to become a writer (which fails
with SQLITE_BUSY whatever the timeout); any number of readers beside it (WAL).
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from freehold.records import statements
from freehold.records.connections import LOG_BYTES, Connections, Kept, Pooled, Queue, driver_of
from freehold.records.durable import Log
from freehold.records.schema import REMEMBERED, TABLES, Record
from freehold.records.statements import Rendered
from freehold.records.wake import Bell

R = TypeVar("R", bound=Record)

_ROWS_MAX = 64  # of a statement


class Transaction:
    """One unit of work on one connection. Everything done through it commits together or not at all.

    Records are found by the values of their columns (``find(Vpc, account_id=…, is_default=True)``): a list stands for
    any of its values, None for NULL. Such statements are kept, and cost a tenth of one with other conditions.

    `now` is the transaction's one moment, so that a row, its audit record and its usage entry bear the same time.
    `acts` are audit records of what a call has the cloud do besides; the front door writes them with the call's own.
    """

    def __init__(self, connection: sa.Connection, *, writable: bool) -> None:
        self.connection = connection
        self.writable = writable
        self.now = dt.datetime.now(dt.UTC)
        self.woken: set[str] = set()
        self.acts: list[str] = []
        self._driver = driver_of(connection)

    def get(self, kind: type[R], /, *key: str | int) -> R | None:
        """The record with this primary key, or None."""
        return self.find(kind, **dict(zip(_key(kind), key, strict=True)))

    def find(self, kind: type[R], /, *where: sa.ColumnElement[bool], **equal: Any) -> R | None:
        """The first record that meets all conditions, or None."""
        found = self.select(kind, *where, limit=1, **equal)
        return found[0] if found else None

    def select(
        self,
        kind: type[R],
        /,
        *where: sa.ColumnElement[bool],
        order_by: Sequence[sa.ColumnElement[Any]] = (),
        limit: int | None = None,
        **equal: Any,
    ) -> list[R]:
        """Records that meet all conditions, in key order unless `order_by` says otherwise."""
        if _nowhere(equal):
            return []
        if where:
            table = TABLES[kind]
            query = sa.select(table).where(*_conditions(kind, equal), *where).limit(limit)
            rows = self.connection.execute(query.order_by(*(order_by or table.primary_key.columns)))
            return [kind(*row) for row in rows]
        query = statements.select(kind, statements.shape(equal), tuple(order_by), limited=limit is not None)
        rendered = self._rendered(query)
        found = self._execute(rendered, equal | {"limit": limit}).fetchall()
        if kind in REMEMBERED:
            return [_remembered(kind, self.connection.dialect, text) for (text,) in found]
        return [kind(*row) for row in rendered.rows(found)]

    def rows(self, query: sa.Select[Any], /, **values: Any) -> list[Sequence[Any]]:
        """The rows of a query that is kept (made once, not for each call), with the values of its parameters."""
        rendered = self._rendered(query)
        return rendered.rows(self._execute(rendered, values).fetchall())

    def count(self, kind: type[Record], /, *where: sa.ColumnElement[bool], **equal: Any) -> int:
        if _nowhere(equal):
            return 0
        if where:
            query = sa.select(sa.func.count()).select_from(TABLES[kind]).where(*_conditions(kind, equal), *where)
            return self.connection.execute(query).scalar_one()
        return int(self.rows(statements.count(kind, statements.shape(equal)), **equal)[0][0])

    def insert(self, *records: Record) -> None:
        """Insert records; those of one type go in one statement."""
        by_kind: dict[type[Record], list[Record]] = {}
        for record in records:
            by_kind.setdefault(type(record), []).append(record)
        for kind, alike in by_kind.items():
            rendered = self._rendered(statements.insert(kind, kind.__struct_fields__))
            self._execute(rendered, *map(msgspec.structs.asdict, alike))

    def append(self, kind: type[Record], /, **values: Any) -> None:
        """Insert a row whose key the database counts."""
        self._execute(self._rendered(statements.insert(kind, tuple(values))), values)

    def extend(self, kind: type[Record], /, **values: Sequence[Any]) -> None:
        """Insert rows whose key the database counts, by lists of their columns' values: many in a statement, which
        costs half of one for each."""
        number, first = len(next(iter(values.values()))), 0
        while first < number:
            rows = min(1 << (number - first).bit_length() - 1, _ROWS_MAX)  # powers of two: few statements to keep
            some = {name: of[first : first + rows] for name, of in values.items()}
            self._execute(self._rendered(statements.extend(kind, tuple(values), rows)), some)
            first += rows

    def update(self, record: R, /, **changes: Any) -> R:
        """Write `changes` to the record's row; returns the record with them applied."""
        key = _key_of(record)
        statement = statements.update(type(record), statements.shape(key), tuple(changes))
        self._execute(self._rendered(statement), key | {f"new__{name}": value for name, value in changes.items()})
        return msgspec.structs.replace(record, **changes)

    def put(self, record: Record) -> None:
        """Insert the record, or overwrite the row that has its key."""
        statement = statements.put(type(record), self.connection.dialect.name)
        self._execute(self._rendered(statement), msgspec.structs.asdict(record))

    def delete(self, record: Record) -> None:
        self.delete_where(type(record), **_key_of(record))

    def delete_where(self, kind: type[Record], /, *where: sa.ColumnElement[bool], **equal: Any) -> int:
        """Delete every record that meets all conditions; returns how many there were."""
        if _nowhere(equal):
            return 0
        if where:
            return self.connection.execute(sa.delete(TABLES[kind]).where(*_conditions(kind, equal), *where)).rowcount
        return int(self._execute(self._rendered(statements.delete(kind, statements.shape(equal))), equal).rowcount)

    def commit(self) -> None:
        self.connection.commit()  # what SQLAlchemy began; then what it does not know of
        driver = self.connection.dialect.loaded_dbapi
        try:
            self._driver.commit()
        except driver.Error as error:
            raise sa.exc.DBAPIError.instance("COMMIT", None, error, driver.Error) from error

    def _rendered(self, statement: sa.Executable) -> Rendered:
        return statements.rendered(statement, self.connection.dialect)

    def _execute(self, rendered: Rendered, *rows: Mapping[str, Any]) -> Any:
        """The driver's cursor; once for each of `rows`, the values of the parameters. Raises SQLAlchemy's errors."""
        cursor, driver = self._driver.cursor(), self.connection.dialect.loaded_dbapi
        try:
            if len(rows) == 1:
                cursor.execute(rendered.sql, rendered.parameters(rows[0]))
            else:
                parameters: Any = [rendered.parameters(row) for row in rows]
                cursor.executemany(rendered.sql, parameters)
        except driver.Error as error:
            raise sa.exc.DBAPIError.instance(rendered.sql, None, error, driver.Error) from error
        return cursor


@functools.lru_cache(4096)
def _remembered(kind: type[R], dialect: sa.Dialect, text: str) -> R:
    return kind(*statements.rendered(statements.every(kind), dialect).row(msgspec.json.decode(text)))


@functools.cache
def _key(kind: type[Record]) -> tuple[str, ...]:
    return tuple(column.name for column in TABLES[kind].primary_key.columns)


def _nowhere(equal: Mapping[str, Any]) -> bool:
    """Whether no row can be meant: none of nothing, and none with a NUL in a text, which PostgreSQL does not take."""
    return any(value == [] or (type(value) is str and "\0" in value) for value in equal.values())


def _key_of(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in _key(type(record))}


def _conditions(kind: type[Record], equal: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    return [statements.condition(TABLES[kind].c[name], value) for name, value in equal.items()]


class Store:
    """The state database. `url` is ``sqlite:///path`` or ``postgresql+psycopg://…``; `bell` wakes its followers."""

    def __init__(self, url: str, bell: Bell, *, durable: bool = True) -> None:
        self.url = url
        self.bell = bell
        self._log: Log | None = None
        self._writers: Connections
        self._readers: Connections
        if url.startswith("sqlite"):
            file = Path(sa.make_url(url).database or "")
            if durable:
                self._log = Log(file)
            queue = Queue(file.with_name(file.name + "-queue"))
            self._writers = Kept(url, "BEGIN IMMEDIATE", "PRAGMA synchronous=NORMAL", queue=queue)
            self._readers = Kept(url, "BEGIN", "PRAGMA query_only=1")
        else:
            self._writers = self._readers = Pooled(url)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A write transaction: commits when the block ends, rolls back when it raises, then wakes the followers."""
        with self._writers.transaction() as connection:
            tx = Transaction(connection, writable=True)
            yield tx
            tx.commit()
        if self._log is not None:
            self._log.settle()
        if tx.woken:
            self.bell.ring()

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A read transaction: one consistent view."""
        with self._readers.transaction() as connection:
            yield Transaction(connection, writable=False)

    def prepare(self) -> None:
        """Make writing quicker, for a process that stays. Raises OSError when the disk is full."""
        if self._log is not None:
            with self._writers.transaction():
                self._log.lengthen(LOG_BYTES)

    def close(self) -> None:
        self._writers.close()
        self._readers.close()
        if self._log is not None:
            self._log.close()
        self.bell.close()
