"""The audit trail: one record for every call and for every act of the cloud itself.

A record is CloudTrail's, encoded once: its text is what is stored, chained by hash (records/seals), looked up and
delivered, so that nothing can differ between them. Writing one is one insert into a table without an index; everything
that costs more is done behind the writers, by the controllers (control/sealing).

Calls that change something are recorded in their own transaction; reads and refusals go through `AuditQueue`, which
commits them in batches at most a second later.
https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
"""

from __future__ import annotations

import datetime as dt
import functools
import threading
import uuid
from collections import deque
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
import structlog
from msgspec import UNSET, UnsetType

from freehold.records.schema import Record, table
from freehold.records.store import Store, Transaction

log = structlog.get_logger()

PROVIDER = "000000000000"
"""The account of the cloud's owner, whose trail has the calls that name no account; `new_account_id` never gives it."""

FIELD_BYTES_MAX = 100 << 10  # "the maximum size of this field is 100 KB" (requestParameters, responseElements)
_NAMES = {
    "source_ip_address": "sourceIPAddress",
    "request_id": "requestID",
    "event_id": "eventID",
    "shared_event_id": "sharedEventID",
}


def _name(field: str) -> str:
    first, *rest = field.split("_")
    return _NAMES.get(field) or first + "".join(map(str.title, rest))


class Event(msgspec.Struct, frozen=True, kw_only=True, rename=_name):
    """A CloudTrail record; `user_identity` and the parameters are what its JSON has. Unset fields are left out."""

    event_version: str = "1.11"
    user_identity: Any
    event_time: str
    event_source: str
    event_name: str
    aws_region: str
    source_ip_address: str
    user_agent: str | UnsetType = UNSET
    error_code: str | UnsetType = UNSET
    error_message: str | UnsetType = UNSET
    request_parameters: Any
    response_elements: Any
    omitted: bool | UnsetType = UNSET
    request_id: str
    event_id: str
    read_only: bool
    resources: Any = UNSET
    event_type: Literal["AwsApiCall", "AwsServiceEvent"] = "AwsApiCall"
    service_event_details: Any = UNSET
    management_event: bool = True
    recipient_account_id: str
    shared_event_id: str | UnsetType = UNSET
    event_category: Literal["Management", "Data"] = "Management"
    tls_details: Any = UNSET

    def text(self) -> str:
        """The record as it is stored. Parameters that are too large are left out, and `omitted` says so."""
        text = _encoder.encode(self)
        if len(text) > FIELD_BYTES_MAX:
            kept = [
                value if len(_encoder.encode(value)) <= FIELD_BYTES_MAX else None
                for value in (self.request_parameters, self.response_elements)
            ]
            shortened = msgspec.structs.replace(
                self, request_parameters=kept[0], response_elements=kept[1], omitted=True
            )
            text = _encoder.encode(shortened)
        return text.decode()


_encoder = msgspec.json.Encoder()


class AuditEvent(Record, frozen=True):
    """One record. `position` is its place in the chain: it grows with every commit (see `settled`)."""

    position: int
    body: str


audit_events = table("audit_events", AuditEvent, key=("position",), autoincrement=True)

_ORDER_LOCK = 0x61756474  # any fixed number: PostgreSQL's advisory lock between writers and `settled`
_SHARED = sa.select(sa.func.pg_advisory_xact_lock_shared(_ORDER_LOCK))
_ALONE = sa.select(sa.func.pg_advisory_xact_lock(_ORDER_LOCK))
_NEWEST = sa.select(sa.func.max(audit_events.c.position))


def record(tx: Transaction, *bodies: str) -> None:
    """Write records in the transaction of the change they tell of. `settled` waits for it: to be its last act."""
    if tx.connection.dialect.name == "postgresql":
        tx.rows(_SHARED)
    if len(bodies) == 1:
        tx.append(AuditEvent, body=bodies[0])
    else:
        tx.extend(AuditEvent, body=bodies)


def settled(tx: Transaction) -> int:
    """The position up to which no record will come any more; 0 when there is none yet.

    PostgreSQL hands out positions at insert, not at commit: whoever has inserted a record is waited for. That is the
    time of a commit, because nothing comes after the record.
    """
    if tx.connection.dialect.name == "postgresql":
        tx.rows(_ALONE)
    return tx.rows(_NEWEST)[0][0] or 0


def new_event_id(at: dt.datetime, request_id: str | None = None) -> str:
    """A UUID of version 7 (RFC 9562 §5.7): it begins with its time, so that it is found by it (records/lookups). A
    request's only record may take its chance from `request_id`: version 4 has its random bits in the same places."""
    time = f"{int(at.timestamp() * 1000):012x}"
    return f"{time[:8]}-{time[8:]}-7{(request_id or str(uuid.uuid4()))[15:]}"


def event_time(at: dt.datetime) -> str:
    """A moment as CloudTrail writes it: ``2026-11-25T12:30:15Z``."""
    return _second(int(at.timestamp()))


@functools.lru_cache(8)
def _second(seconds: int) -> str:
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def service_event(
    at: dt.datetime,
    account_id: str,
    region: str,
    service: str,
    name: str,
    *,
    parameters: dict[str, Any] | None = None,
    elements: dict[str, Any] | None = None,
    resources: Any = UNSET,
    details: Any = UNSET,
    invoked_by: str = "",
    read_only: bool = False,
) -> str:
    """The record of an act of the cloud itself: `service` (``ec2``) did it, or `invoked_by` called it.

    https://docs.aws.amazon.com/awscloudtrail/latest/userguide/non-api-aws-service-events.html
    """
    by = f"{invoked_by or service}.amazonaws.com"
    event_id = new_event_id(at)
    return Event(
        user_identity={"type": "AWSService", "invokedBy": by},
        event_time=event_time(at),
        event_source=f"{service}.amazonaws.com",
        event_name=name,
        aws_region=region,
        source_ip_address=by,
        user_agent=by,
        request_parameters=parameters,
        response_elements=elements,
        request_id=event_id,
        event_id=event_id,
        read_only=read_only,
        resources=resources,
        event_type="AwsApiCall" if invoked_by else "AwsServiceEvent",
        service_event_details=details,
        recipient_account_id=account_id,
    ).text()


class AuditQueue:
    """Batches the records of calls that have no write transaction of their own.

    Bounded: when the database cannot keep up, callers wait rather than lose records.
    """

    _BATCH = 1000
    _PAUSE_SECONDS = 0.5
    _RETRY_SECONDS = 1.0

    def __init__(self, store: Store, capacity: int = 10_000) -> None:
        self._store = store
        self._capacity = capacity
        self._pending: deque[str] = deque()
        self._some, self._closing = threading.Event(), threading.Event()
        self._room = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def put(self, *bodies: str) -> None:
        self._pending.extend(bodies)
        if not self._some.is_set():
            self._some.set()
        if len(self._pending) > self._capacity:
            with self._room:
                self._room.wait_for(lambda: len(self._pending) <= self._capacity)

    def close(self) -> None:
        """Write what is queued and stop."""
        self._closing.set()
        self._some.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._some.wait()
            self._closing.wait(self._PAUSE_SECONDS)
            self._some.clear()  # before looking: what is put from here on sets it again
            self._write_pending()
        self._write_pending()

    def _write_pending(self) -> None:
        """Write what there is now. What comes meanwhile is for the next round: transactions cost more than records."""
        left = len(self._pending)
        while left:
            batch = [self._pending.popleft() for _ in range(min(self._BATCH, left))]
            left -= len(batch)
            self._write(batch)
            with self._room:
                self._room.notify_all()

    def _write(self, batch: list[str]) -> None:
        while True:
            try:
                with self._store.write() as tx:
                    record(tx, *batch)
                return
            except Exception:
                # The records are kept and tried again: an audit record is never dropped.
                log.exception("audit records not written, trying again", count=len(batch))
                self._closing.wait(self._RETRY_SECONDS)
