"""Delivering events to the buckets of trails, as gzip files in CloudTrail's layout.

A trail remembers the last block of the chain (records/seals) that it has delivered. Files are named by what is in them,
so that a delivery that was cut and is done again writes the same ones.
https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-find-log-files.html
"""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from sqlalchemy.exc import SQLAlchemyError

from freehold.control import digests
from freehold.records import seals
from freehold.records.lookups import moment_of
from freehold.records.objects import Objects
from freehold.records.seals import AuditBlock, audit_blocks
from freehold.records.secrets import Sealer, SealError
from freehold.records.selectors import selects
from freehold.records.store import Store, Transaction
from freehold.records.trails import Bucket, LogFile, Trail, trails

log = structlog.get_logger()

_CHAIN_BEHIND = dt.timedelta(minutes=1)
_BLOCKS = 20  # at a time: ten thousand records

Records = dict[str, list[tuple[str, Mapping[str, Any]]]]
"""Texts of records, and what they say, by region."""


class Delivery:
    """Delivers what was chained since the last time, and the digests whose hour is over."""

    def __init__(self, store: Store, sealer: Sealer, objects: Objects) -> None:
        self._store = store
        self._objects = objects
        self._signer = digests.Signer(store, sealer)

    def deliver(self) -> None:
        """One round over all trails; what fails is told of in the trail's status and tried again in the next."""
        with self._store.read() as tx:
            found = tx.select(Trail, trails.c.started_at.is_not(None))
        for trail in found:
            if trail.logging or (
                trail.stopped_at and (not trail.attempted_at or trail.attempted_at < trail.stopped_at)
            ):
                self._deliver(trail)

    def _deliver(self, trail: Trail) -> None:
        try:
            with self._store.read() as tx:
                now, there = tx.now, tx.get(Bucket, trail.bucket) is not None
            if not there:
                self._tell(trail, delivery_error="NoSuchBucket", digest_error="NoSuchBucket")
                return
            while (more := self._deliver_some(trail)) is not None:
                trail = more
            self._tell(trail, delivery_error=None)
            end = digests.due(trail, now)
            if end is not None:
                digests.write_digests(self._store, self._objects, self._signer, trail, end)
        except (OSError, SQLAlchemyError, SealError):
            log.exception("trail not delivered, the next round tries again", trail=trail.arn)
            self._tell(trail, delivery_error="InternalError")

    def _tell(self, trail: Trail, **changes: str | None) -> None:
        with self._store.write() as tx:
            if (found := tx.get(Trail, trail.arn)) is not None:
                tx.update(found, attempted_at=tx.now, **changes)

    def _deliver_some(self, trail: Trail) -> Trail | None:
        """Deliver some blocks: the trail after it, None when there are no more."""
        with self._store.read() as tx:
            blocks = tx.select(AuditBlock, audit_blocks.c.number > trail.block, limit=_BLOCKS)
            records = _wanted(tx, trail, blocks)
        if not blocks:
            return None
        last = blocks[-1].number
        files = [self._write(trail, region, last, found) for region, found in records.items()]
        with self._store.write() as tx:
            now = tx.get(Trail, trail.arn)
            if now is None or now.block != trail.block:
                return None  # it was deleted, or another controller was here
            if trail.validation:
                for file in files:
                    tx.put(file)
            return tx.update(now, block=last, **({"delivered_at": tx.now} if files else {}))

    def _write(self, trail: Trail, region: str, block: int, records: list[tuple[str, Mapping[str, Any]]]) -> LogFile:
        times = [str(record["eventTime"]) for _, record in records]
        newest = dt.datetime.fromisoformat(max(times))
        unique = hashlib.sha256(f"{trail.arn} {region} {block}".encode()).hexdigest()[:16]
        account_id = trail.account_id
        key = (
            f"{trail.prefix + '/' if trail.prefix else ''}AWSLogs/{account_id}/CloudTrail/{region}/{newest:%Y/%m/%d}/"
            f"{account_id}_CloudTrail_{region}_{newest:%Y%m%dT%H%MZ}_{unique}.json.gz"
        )
        body = ('{"Records":[' + ",".join(text for text, _ in records) + "]}").encode()
        self._objects.put(trail.bucket, key, gzip.compress(body, mtime=0), {})
        sha256 = hashlib.sha256(body).hexdigest()
        return LogFile(trail.arn, region, key, account_id, trail.bucket, sha256, min(times), max(times))


def _not_finished(trail: Trail) -> bool:
    """Whether events from before a trail was stopped may still have to be delivered: the chain is a little behind."""
    return trail.stopped_at is not None and (
        trail.attempted_at is None or trail.attempted_at < trail.stopped_at + _CHAIN_BEHIND
    )


def _wanted(tx: Transaction, trail: Trail, blocks: list[AuditBlock]) -> Records:
    """The records of some blocks that a trail delivers."""
    assert trail.started_at is not None
    first = _milliseconds(trail.started_at)
    last = None if trail.logging or trail.stopped_at is None else _milliseconds(trail.stopped_at)
    wanted: Records = {}
    for block in blocks:
        for body in seals.bodies_of(tx, block):
            # Most are of other accounts: only those of this one are read.
            if trail.account_id not in body:
                continue
            record = msgspec.json.decode(body)
            at = moment_of(record["eventID"]) or 0
            in_time = first <= at and (last is None or at <= last)
            if in_time and record["recipientAccountId"] == trail.account_id and selects(trail, record):
                wanted.setdefault(record["awsRegion"], []).append((body, record))
    return wanted


def _milliseconds(at: dt.datetime) -> int:
    return int(at.timestamp() * 1000)
