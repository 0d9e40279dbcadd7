"""Token buckets: how often something may be done, by all processes of the front door together."""

from __future__ import annotations

import mmap
import time
from collections.abc import Hashable

_SLOTS = 1 << 16
_DOUBLE_BYTES = 8


class Buckets:
    """Token buckets in memory that processes share when they are forked after it is made.

    A bucket is found by the hash of its key; of many keys two may share one. No one waits for a lock: of two who take
    from a bucket in the same microsecond one may go uncounted. Each bucket holds `burst` tokens and gets `per_second`
    back.
    """

    def __init__(self) -> None:
        # For each bucket: the tokens that are missing from it, and when that was (seconds of the monotonic clock).
        self._slots = memoryview(mmap.mmap(-1, _SLOTS * 2 * _DOUBLE_BYTES)).cast("d")

    def take(self, key: Hashable, per_second: float, burst: float) -> bool:
        """Take a token, if there is one."""
        slot, now = hash(key) % _SLOTS * 2, time.monotonic()
        missing = self._missing(slot, now, per_second)
        taken = missing + 1 <= burst
        self._slots[slot], self._slots[slot + 1] = missing + taken, now
        return taken

    def has(self, key: Hashable, per_second: float, burst: float) -> bool:
        """Whether there is a token to take."""
        return self._missing(hash(key) % _SLOTS * 2, time.monotonic(), per_second) + 1 <= burst

    def _missing(self, slot: int, now: float, per_second: float) -> float:
        return max(0.0, self._slots[slot] - (now - self._slots[slot + 1]) * per_second)
