"""The serial console of a guest as the API shows it: the end of what it has written."""

from __future__ import annotations

import os
import time
from pathlib import Path

from freehold.host.layout import GuestPaths
from freehold.host.wire import CONSOLE_BYTES_MAX

_LOG_BYTES_MAX = 1024 * 1024
_REPORT_SECONDS = 1.0  # between two reports of a console that is still being written to, five times as long


class Console:
    """Follows the log that QEMU appends to. Output is news once it pauses, so that a boot is one report, not many."""

    def __init__(self, paths: GuestPaths) -> None:
        self._paths = paths
        self._seen: tuple[int, int] | None = None
        self._reported: tuple[int, int] | None = None
        self._reported_at = 0.0

    def has_news(self) -> bool:
        """Whether there is output to report. To be asked again and again; keeps the log from growing for ever."""
        before, self._seen = self._seen, self._mark()
        if self._seen is None or self._seen == self._reported:
            return False
        if self._seen[1] > _LOG_BYTES_MAX:
            self._cut()
        waited = time.monotonic() - self._reported_at
        return waited > (_REPORT_SECONDS if self._seen == before else 5 * _REPORT_SECONDS)

    def take(self) -> bytes:
        """The end of the output, which counts as reported."""
        self._reported, self._reported_at = self._mark(), time.monotonic()
        return self.end()

    def end(self) -> bytes:
        """The end of the output, as it is now."""
        return (_end_of(self._paths.console_before) + _end_of(self._paths.console_log))[-CONSOLE_BYTES_MAX:]

    def forget_reported(self) -> None:
        """Nobody knows what was reported: report it again."""
        self._reported, self._reported_at = None, 0.0

    def _mark(self) -> tuple[int, int] | None:
        try:
            status = self._paths.console_log.stat()
        except FileNotFoundError:
            return None
        return (status.st_ino, status.st_size) if status.st_size else None

    def _cut(self) -> None:
        """Empty the log but for its end. What QEMU, which appends, writes between the two steps is lost."""
        temporary = self._paths.console_before.with_suffix(".tmp")
        temporary.write_bytes(_end_of(self._paths.console_log))
        temporary.rename(self._paths.console_before)
        os.truncate(self._paths.console_log, 0)


def _end_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - CONSOLE_BYTES_MAX))
            return file.read(CONSOLE_BYTES_MAX)
    except FileNotFoundError:
        return b""
