"""CloudTrail's trails, and how far their events have been delivered to their buckets (control/delivery)."""

from __future__ import annotations

import datetime as dt
from typing import Any

from freehold.records.ids import AccountId
from freehold.records.schema import Record, table


class Trail(Record, frozen=True):
    """A trail. `event_selectors` and `advanced_selectors` are as PutEventSelectors was given them: one of the two, or
    neither. `block` is the last of the chain's (records/seals) whose events were delivered, `digest_end` the end of
    the hour that the last digest was of."""

    arn: str
    account_id: AccountId
    name: str
    home_region: str
    bucket: str
    prefix: str
    multi_region: bool
    global_events: bool
    validation: bool
    created_at: dt.datetime
    event_selectors: list[dict[str, Any]] | None = None
    advanced_selectors: list[dict[str, Any]] | None = None
    logging: bool = False
    started_at: dt.datetime | None = None
    stopped_at: dt.datetime | None = None
    block: int = 0
    attempted_at: dt.datetime | None = None
    delivered_at: dt.datetime | None = None
    delivery_error: str | None = None
    digest_end: dt.datetime | None = None
    digest_at: dt.datetime | None = None
    digest_error: str | None = None


class LogFile(Record, frozen=True):
    """A file that was delivered, until a digest tells of it. `oldest` and `newest` are the times of its events as they
    are written in it."""

    trail_arn: str
    region: str
    key: str
    account_id: AccountId
    bucket: str
    sha256: str
    oldest: str
    newest: str


class Digest(Record, frozen=True):
    """The last digest of a trail in a region, which the next one names."""

    trail_arn: str
    region: str
    account_id: AccountId
    bucket: str
    key: str
    sha256: str
    signature: str
    ended_at: dt.datetime


class DigestKey(Record, frozen=True):
    """A key that signs digests. `id` is its fingerprint, `public_key` its DER (PKCS #1), `sealed_key` the private one's
    (PKCS #8), sealed."""

    id: str
    public_key: bytes
    sealed_key: bytes
    valid_from: dt.datetime
    valid_until: dt.datetime


class Bucket(Record, frozen=True):
    """A bucket of objects. Its name is unique in the cloud."""

    name: str
    account_id: AccountId
    region: str
    created_at: dt.datetime


DIGEST_KEY = "digest-key"  # the purpose that a DigestKey is sealed for, its owner being its id

trails = table("trails", Trail, key=("arn",), indexes=(("account_id", "arn"),))
log_files = table("trail_log_files", LogFile, key=("trail_arn", "region", "key"), indexes=(("account_id",),))
digests = table("trail_digests", Digest, key=("trail_arn", "region"), indexes=(("account_id",),))
digest_keys = table("digest_keys", DigestKey, key=("id",), indexes=(("valid_until",),))
buckets = table("buckets", Bucket, key=("name",), indexes=(("account_id", "name"),))
