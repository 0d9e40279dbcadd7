"""The database and its transactions.

A `Store` opens read and write transactions on SQLite (a file) or PostgreSQL (a URL); a `Transaction` reads and
writes typed records, and carries what must commit with them: feed events, audit records and usage entries.

SQLite: one writer at a time, taken with BEGIN IMMEDIATE so that no reader ever has to become a writer (which fails
with SQLITE_BUSY whatever the timeout); any number of readers beside it (WAL).
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from freehold.records.schema import TABLES, Record
from freehold.records.wake import Bell

R = TypeVar("R", bound=Record)


class Transaction:
    """One unit of work on one connection. Everything done through it commits together or not at all.

    `now` is the transaction's one moment, so that a row, its audit record and its usage entry bear the same time.
    """

    def __init__(self, connection: sa.Connection, *, writable: bool) -> None:
        self.connection = connection
        self.writable = writable
        self.now = dt.datetime.now(dt.UTC)
        self.woken: set[str] = set()

    def get(self, kind: type[R], *key: str | int) -> R | None:
        """The record with this primary key, or None."""
        row = self.connection.execute(_by_key(kind), {f"key{i}": part for i, part in enumerate(key)}).first()
        return None if row is None else kind(*row)

    def find(self, kind: type[R], *where: sa.ColumnElement[bool]) -> R | None:
        """The first record that meets all conditions, or None."""
        found = self.select(kind, *where, limit=1)
        return found[0] if found else None

    def select(
        self,
        kind: type[R],
        *where: sa.ColumnElement[bool],
        order_by: Sequence[sa.ColumnElement[Any]] = (),
        limit: int | None = None,
    ) -> list[R]:
        """Records that meet all conditions, in key order unless `order_by` says otherwise."""
        table = TABLES[kind]
        query = sa.select(table).where(*where).order_by(*(order_by or table.primary_key.columns)).limit(limit)
        return [kind(*row) for row in self.connection.execute(query)]

    def count(self, kind: type[Record], *where: sa.ColumnElement[bool]) -> int:
        query = sa.select(sa.func.count()).select_from(TABLES[kind]).where(*where)
        return self.connection.execute(query).scalar_one()

    def insert(self, *records: Record) -> None:
        """Insert records; those of one type go in one statement."""
        by_kind: dict[type[Record], list[dict[str, Any]]] = {}
        for record in records:
            by_kind.setdefault(type(record), []).append(msgspec.structs.asdict(record))
        for kind, rows in by_kind.items():
            self.connection.execute(sa.insert(TABLES[kind]), rows)

    def update(self, record: R, **changes: Any) -> R:
        """Write `changes` to the record's row; returns the record with them applied."""
        self.connection.execute(sa.update(TABLES[type(record)]).where(*self._is(record)).values(changes))
        return msgspec.structs.replace(record, **changes)

    def put(self, record: Record) -> None:
        """Insert the record, or overwrite the row that has its key."""
        table = TABLES[type(record)]
        if self.connection.dialect.name == "sqlite":
            from sqlalchemy.dialects.sqlite import insert
        else:
            from sqlalchemy.dialects.postgresql import insert  # type: ignore[assignment]
        values = msgspec.structs.asdict(record)
        keys = [c.name for c in table.primary_key.columns]
        statement = insert(table).values(values)
        rest = {k: statement.excluded[k] for k in values if k not in keys}
        self.connection.execute(
            statement.on_conflict_do_update(index_elements=keys, set_=rest)
            if rest
            else statement.on_conflict_do_nothing(index_elements=keys)
        )

    def delete(self, record: Record) -> None:
        self.connection.execute(sa.delete(TABLES[type(record)]).where(*self._is(record)))

    def delete_where(self, kind: type[Record], *where: sa.ColumnElement[bool]) -> int:
        """Delete every record that meets all conditions; returns how many there were."""
        return self.connection.execute(sa.delete(TABLES[kind]).where(*where)).rowcount

    @staticmethod
    def _is(record: Record) -> list[sa.ColumnElement[bool]]:
        return [c == getattr(record, c.name) for c in TABLES[type(record)].primary_key.columns]


@functools.cache
def _by_key(kind: type[Record]) -> sa.Select[Any]:
    """The record with the key ``key0``, ``key1`` …: put together once, since that costs more than to run it."""
    table = TABLES[kind]
    columns = table.primary_key.columns
    return sa.select(table).where(*(c == sa.bindparam(f"key{i}", type_=c.type) for i, c in enumerate(columns)))


class Store:
    """The state database. `url` is ``sqlite:///path`` or ``postgresql+psycopg://…``; `bell` wakes its followers."""

    def __init__(self, url: str, bell: Bell, *, durable: bool = True) -> None:
        self.url = url
        self.bell = bell
        if url.startswith("sqlite"):
            self._writer = sa.create_engine(url, pool_size=1, max_overflow=0, pool_timeout=30)
            self._reader = sa.create_engine(url, pool_size=16, max_overflow=16)
            _prepare_sqlite(self._writer, "BEGIN IMMEDIATE", f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            _prepare_sqlite(self._reader, "BEGIN", "PRAGMA query_only=1")
        else:
            self._writer = self._reader = sa.create_engine(url, pool_size=16, max_overflow=16, pool_pre_ping=True)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A write transaction: commits when the block ends, rolls back when it raises, then wakes the followers."""
        with self._writer.begin() as connection:
            tx = Transaction(connection, writable=True)
            yield tx
        if tx.woken:
            self.bell.ring()

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A read transaction: one consistent view."""
        with self._reader.connect() as connection:
            yield Transaction(connection, writable=False)

    def close(self) -> None:
        self._writer.dispose()
        self._reader.dispose()
        self.bell.close()


def _prepare_sqlite(engine: sa.Engine, begin: str, *pragmas: str) -> None:
    @sa.event.listens_for(engine, "connect")
    def connect(dbapi_connection: Any, _record: Any) -> None:
        # sqlite3's own transaction handling would begin late and deferred; we say when.
        dbapi_connection.isolation_level = None
        for pragma in (
            "PRAGMA journal_mode=WAL",
            "PRAGMA busy_timeout=30000",
            "PRAGMA foreign_keys=1",
            *pragmas,
        ):
            dbapi_connection.execute(pragma)

    @sa.event.listens_for(engine, "begin")
    def begin_transaction(connection: sa.Connection) -> None:
        # Straight to the driver: as a statement of SQLAlchemy's it costs as much as a small query.
        connection.connection.dbapi_connection.execute(begin)  # type: ignore[union-attr]
