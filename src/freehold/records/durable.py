"""Waiting for the disk together: one write to it serves every transaction that was committed before it began.

SQLite itself would wait within each commit (``synchronous=FULL``), with all other writers behind it. Here a commit
leaves its frames in the write-ahead log, lets the next writer in and then waits for the log to be on the disk, before
anyone is told. The log is one file that only grows between checkpoints, so what was committed earlier is never lost
where what came later is kept. docs/decisions/0005-sqlite-waits-for-the-disk.md
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

_MIB = 1024 * 1024


class Log:
    """The write-ahead log of a SQLite database."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + "-wal")
        self._file: int | None = None
        self._committed = self._settled = 0  # transactions
        self._counting, self._writing = threading.Lock(), threading.Lock()

    def settle(self) -> None:
        """Return when everything that was committed before the call is on the disk. Raises OSError when the disk
        fails."""
        with self._counting:
            self._committed += 1
            mine = self._committed
        with self._writing:
            if self._settled >= mine:
                return
            including = self._committed
            os.fdatasync(self._opened())
            self._settled = including

    def lengthen(self, length: int) -> None:
        """Make the file `length` bytes long; while the caller holds the database's write lock. A write to a place that
        the file has already costs the disk half of one that makes it longer. SQLite takes zeros for the log's end
        (https://www.sqlite.org/fileformat2.html#walformat). Raises OSError when the disk is full."""
        file = self._opened()
        for place in range(os.fstat(file).st_size, length, _MIB):
            os.pwrite(file, bytes(_MIB), place)

    def _opened(self) -> int:
        if self._file is None:
            # SQLite makes the log anew when all have closed the database: not while a writer's connection is kept.
            self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        return self._file

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
