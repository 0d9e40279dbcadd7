"""The audit trail: one record for every call, in the terms of CloudTrail's record format.

https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
Calls that change something are recorded in their own transaction; reads and refusals go through `AuditQueue`, which
commits them in batches at most a second later.
"""

from __future__ import annotations

import datetime as dt
import queue
import threading
from typing import Any

import structlog

from freehold.records.schema import Record, table
from freehold.records.store import Store, Transaction

log = structlog.get_logger()


class AuditEvent(Record, frozen=True):
    """One call. `request` and `response` are JSON shapes with secrets already masked."""

    event_id: str
    at: dt.datetime
    account_id: str
    principal_arn: str
    region: str
    event_source: str
    event_name: str
    read_only: bool
    source_ip: str
    user_agent: str
    request_id: str
    error_code: str | None
    error_message: str | None
    request: dict[str, Any]
    response: dict[str, Any] | None


audit_events = table("audit_events", AuditEvent, key=("event_id",), indexes=(("account_id", "at"), ("at",)))


def record(tx: Transaction, event: AuditEvent) -> None:
    """Write the event in the transaction of the change it tells of."""
    tx.insert(event)


class AuditQueue:
    """Batches audit records of calls that have no write transaction of their own.

    Bounded: when the database cannot keep up, callers wait rather than lose records.
    """

    _BATCH = 500
    _DELAY_SECONDS = 0.5

    def __init__(self, store: Store, capacity: int = 10_000) -> None:
        self._store = store
        self._queue: queue.Queue[AuditEvent | None] = queue.Queue(capacity)
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def put(self, event: AuditEvent) -> None:
        self._queue.put(event)

    def close(self) -> None:
        """Write what is queued and stop."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        closing = False
        while not closing:
            batch = [self._queue.get()]
            deadline = threading.Event()
            if batch[0] is not None:
                deadline.wait(self._DELAY_SECONDS)
            while len(batch) < self._BATCH and not self._queue.empty():
                batch.append(self._queue.get())
            closing = None in batch
            events = [event for event in batch if event is not None]
            while events:
                try:
                    with self._store.write() as tx:
                        tx.insert(*events)
                    break
                except Exception:
                    # The records are kept and tried again: an audit record is never dropped.
                    log.exception("audit records not written, trying again", count=len(events))
                    deadline.wait(1)
