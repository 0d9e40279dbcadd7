"""What the controllers do in the name of an account, on its way into the audit trail."""

from __future__ import annotations

import threading

from freehold.records import audit
from freehold.records.store import Store


class Acts:
    """Records of acts that were done while only reading. Any thread may use it."""

    def __init__(self) -> None:
        self._recording = threading.Lock()
        self._bodies: list[str] = []

    def add(self, body: str) -> None:
        self._bodies.append(body)

    def record(self, store: Store) -> None:
        """Write what was done since; before anyone has anything of it."""
        with self._recording:
            bodies = list(self._bodies)
            if bodies:
                with store.write() as tx:
                    audit.record(tx, *bodies)
                del self._bodies[: len(bodies)]
