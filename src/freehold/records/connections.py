"""Connections to the database, each held by one transaction at a time.

SQLAlchemy's own pool and its `begin` cost more than what most requests ask of SQLite, so connections to SQLite are kept
here, begun and ended by the driver. PostgreSQL's are SQLAlchemy's pool: a server may go and come back.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa

_WAIT_SECONDS = 30
_PAGES_OF_LOG = 4000
LOG_BYTES = _PAGES_OF_LOG * 4096 * 101 // 100  # each page has a header
_PRAGMAS = (
    f"PRAGMA busy_timeout={_WAIT_SECONDS * 1000}",
    "PRAGMA journal_mode=WAL",
    # Pages. The more of the log is copied into the database at once, the more often each copied page was written.
    f"PRAGMA wal_autocheckpoint={_PAGES_OF_LOG}",
    "PRAGMA foreign_keys=1",
)


class Connections(Protocol):
    def transaction(self) -> Any:
        """A context manager: a connection in a transaction. Whoever uses it commits; what is left is rolled back."""

    def close(self) -> None: ...


class Pooled:
    """Connections of SQLAlchemy's pool."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url, pool_size=16, max_overflow=16, pool_pre_ping=True)

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        with self._engine.connect() as connection:
            yield connection

    def close(self) -> None:
        self._engine.dispose()


class Queue:
    """Where the writers of a SQLite database wait for each other, in whatever process they are.

    SQLite's own waiting is to look again and again, a millisecond apart and more; this is a lock that wakes the next.
    SQLite still holds its own, so a writer that does not come through here does no harm.
    """

    def __init__(self, path: Path) -> None:
        self._mine = threading.Lock()  # a file's lock is one for all threads of a process
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def enter(self) -> None:
        if not self._mine.acquire(timeout=_WAIT_SECONDS):
            raise sa.exc.TimeoutError(f"Another transaction has held the database for {_WAIT_SECONDS} seconds.")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def leave(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._mine.release()

    def close(self) -> None:
        os.close(self._file)


class Kept:
    """Connections to a SQLite database, whose transactions `begin` begins. With a `queue` they come one by one."""

    def __init__(self, url: str, begin: str, *pragmas: str, queue: Queue | None = None) -> None:
        self._engine = sa.create_engine(url, poolclass=sa.NullPool)
        self._begin = begin
        self._pragmas = (*_PRAGMAS, *pragmas)
        self._idle: list[sa.Connection] = []  # append and pop are atomic
        self._queue = queue

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Raises sqlalchemy.exc.TimeoutError or OperationalError when another holds the database for too long."""
        if self._queue is not None:
            self._queue.enter()
        try:
            connection = self._take()
            driver = driver_of(connection)
            try:
                driver.execute(self._begin)
            except sqlite3.Error as error:
                self._idle.append(connection)
                raise sa.exc.DBAPIError.instance(self._begin, None, error, sqlite3.Error) from error
            try:
                yield connection
            finally:
                connection.rollback()  # what SQLAlchemy knows of; then what it does not
                driver.rollback()
                self._idle.append(connection)
        finally:
            if self._queue is not None:
                self._queue.leave()

    def _take(self) -> sa.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return self._open()

    def _open(self) -> sa.Connection:
        connection = self._engine.connect()
        driver = driver_of(connection)
        driver.isolation_level = None  # sqlite3's own transactions would begin late and deferred; we say when
        for pragma in self._pragmas:
            driver.execute(pragma)
        return connection

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()
        self._engine.dispose()
        if self._queue is not None:
            self._queue.close()


def driver_of(connection: sa.Connection) -> Any:
    """The driver's own connection."""
    return connection.connection.dbapi_connection
