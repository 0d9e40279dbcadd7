"""Limits on guessing: passwords and codes are not found by trying."""

from __future__ import annotations

import datetime as dt
import threading


class Guesses:
    """How many wrong answers were given for each secret of late. Ten in five minutes are too many: of a million codes
    of an MFA device three are right at any time. Each process of the front door counts for itself."""

    _MAX = 10
    _WINDOW = dt.timedelta(minutes=5)
    _REMEMBERED_MAX = 10_000

    def __init__(self) -> None:
        self._wrong: dict[str, list[dt.datetime]] = {}
        self._lock = threading.Lock()

    def too_many(self, secret: str, now: dt.datetime) -> bool:
        """`secret` is a name of it: the device's ARN, the user's id."""
        with self._lock:
            recent = [at for at in self._wrong.pop(secret, ()) if at > now - self._WINDOW]
            if recent:
                self._wrong[secret] = recent
            return len(recent) >= self._MAX

    def add(self, secret: str, now: dt.datetime) -> None:
        """Count a wrong answer."""
        with self._lock:
            if len(self._wrong) >= self._REMEMBERED_MAX:
                del self._wrong[next(iter(self._wrong))]
            self._wrong.setdefault(secret, []).append(now)
