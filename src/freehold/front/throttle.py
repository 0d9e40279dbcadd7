"""How many requests an account may send: token buckets, as AWS limits its callers.

https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Hashable
from typing import ClassVar

from freehold.config import Throttle
from freehold.front.errors import Answers, FamilyError

_SLOTS = 1 << 16
_DOUBLE_BYTES = 8


class Throttled(FamilyError):
    answers: ClassVar[Answers] = {
        "ec2": (503, "RequestLimitExceeded", "Request limit exceeded."),
        "query": (400, "Throttling", "Rate exceeded"),
        "json": (400, "ThrottlingException", "Rate exceeded"),
        "rest-json": (429, "ThrottlingException", "Rate exceeded"),
        "rest-xml": (503, "SlowDown", "Please reduce your request rate."),
    }


class Buckets:
    """Token buckets in memory that processes share when they are forked after it is made.

    A bucket is found by the hash of its key; of many keys two may share one. No one waits for a lock: of two who take
    from a bucket in the same microsecond one may go uncounted.
    """

    def __init__(self) -> None:
        # For each bucket: the tokens that are missing from it, and when that was (seconds of the monotonic clock).
        self._slots = memoryview(mmap.mmap(-1, _SLOTS * 2 * _DOUBLE_BYTES)).cast("d")

    def take(self, key: Hashable, per_second: float, burst: float) -> bool:
        """Take a token, if there is one, from a bucket that holds `burst` and gets `per_second` back."""
        slot, now = hash(key) % _SLOTS * 2, time.monotonic()
        missing = max(0.0, self._slots[slot] - (now - self._slots[slot + 1]) * per_second)
        taken = missing + 1 <= burst
        self._slots[slot], self._slots[slot + 1] = missing + taken, now
        return taken


class Limiter:
    """Holds accounts to the configured rates."""

    def __init__(self, limits: Throttle) -> None:
        self._limits = limits
        self._buckets = Buckets()

    def admit(self, account_id: str, service: str, *, read_only: bool) -> None:
        """Raises Throttled when the account has sent too many requests of this family: a service's reads or writes."""
        limits = self._limits
        rate, burst = limits.reads_per_second, limits.reads_burst
        if not read_only:
            rate, burst = limits.writes_per_second, limits.writes_burst
        if not self._buckets.take((account_id, service, read_only), rate, burst):
            raise Throttled()
