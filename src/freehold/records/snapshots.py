"""Snapshots: what volumes held at an instant, on the host that has the volume's layers (host/volumes/layers.py)."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from freehold.records.encryption import WrappedKey
from freehold.records.feed import publish
from freehold.records.ids import AccountId, HostId, ImageId, SnapshotId, VolumeId
from freehold.records.schema import Record, table
from freehold.records.store import Transaction
from freehold.records.tags import delete_tags_of
from freehold.records.usage import close_usage, open_usage

COPIED = VolumeId("vol-ffffffff")
"""The volume of a snapshot that was not taken of one."""

SnapshotState = Literal["pending", "completed", "error"]


class Snapshot(Record, frozen=True):
    """What a volume held.

        pending ──► completed        its host has said what it takes
           └──────► error            its host can not take it; `state_message` says why

    `instant` is shared by those that are of one instant. `size_gib` is the volume's; `bytes_added` is what the snapshot
    holds and those before it do not, which is what is paid for; `bytes_full` is what all of it takes. `volume_id` is a
    volume that may be gone, or `COPIED` for what comes from elsewhere. `source_id` is what it is a copy of, `rewritten`
    if that is under another key. `at_rest`: it is taken when the guest has shut down and before it boots again.
    `kernel_image_id` is the image whose kernel starts what is on it, if one does. One that is `writing` comes from
    EBS's direct APIs: its blocks are put over those of `parent_id`, until it is completed or none has come for
    `timeout_minutes` since `written_at`. One that was `recycled_at` is in the recycle bin: it is seen there alone, and
    paid for, until it is restored or deleted. One that is taken for the volume `copy_id` to lie on is seen nowhere and
    not paid for.
    """

    id: SnapshotId
    account_id: AccountId
    region: str
    zone: str
    volume_id: VolumeId
    host_id: HostId
    instant: str
    size_gib: int
    description: str
    state: SnapshotState
    started_at: dt.datetime
    encrypted: bool
    kms_key_id: str | None
    state_message: str = ""
    completed_at: dt.datetime | None = None
    progress: int = 0
    bytes_added: int = 0
    bytes_full: int = 0
    source_id: SnapshotId | None = None
    rewritten: bool = False
    at_rest: bool = False
    kernel_image_id: ImageId | None = None
    parent_id: SnapshotId | None = None
    writing: bool = False
    timeout_minutes: int = 0
    written_at: dt.datetime | None = None
    recycled_at: dt.datetime | None = None
    recycled_until: dt.datetime | None = None
    copy_id: VolumeId | None = None


class WrittenBlock(Record, frozen=True):
    """A block that was put into a snapshot that is still being written, and the SHA-256 of its data in base 64."""

    snapshot_id: SnapshotId
    number: int
    account_id: AccountId
    checksum: str


class DoomedSnapshot(Record, frozen=True):
    """A snapshot that nobody has any more: its host is told to delete it until it says it has."""

    host_id: HostId
    snapshot_id: SnapshotId


class SnapshotPermission(Record, frozen=True):
    """Another account may make volumes and copies of a snapshot; `grantee` ``all``: every account may."""

    snapshot_id: SnapshotId
    grantee: str
    account_id: AccountId
    region: str


class SnapshotSettings(Record, frozen=True):
    """What an account has chosen in a region. One that has chosen nothing shares no snapshot with everyone."""

    account_id: AccountId
    region: str
    public_access: Literal["block-all-sharing", "block-new-sharing", "unblocked"] = "block-all-sharing"


class SnapshotLock(Record, frozen=True):
    """A snapshot that may not be deleted until `expires_at`, unless it is unlocked. One that is still pending has no
    times yet but `created_at`: they count from its completion, unless it was locked until a date."""

    snapshot_id: SnapshotId
    account_id: AccountId
    region: str
    mode: Literal["compliance", "governance"]
    created_at: dt.datetime
    duration_days: int
    cool_off_hours: int | None
    cool_off_until: dt.datetime | None
    starts_at: dt.datetime | None
    expires_at: dt.datetime | None


class FastRestore(Record, frozen=True):
    """A snapshot that an account wants restored fast in a zone: every one is, everywhere."""

    snapshot_id: SnapshotId
    zone: str
    account_id: AccountId
    region: str
    enabled_at: dt.datetime


snapshots = table(
    "snapshots",
    Snapshot,
    key=("id",),
    indexes=(
        ("account_id", "region", "id"),
        ("host_id", "state"),
        ("volume_id", "state"),
        ("state", "writing"),
        ("recycled_until",),
    ),
)
doomed_snapshots = table(
    "doomed_snapshots", DoomedSnapshot, key=("host_id", "snapshot_id"), indexes=(("snapshot_id",),)
)

written_blocks = table("written_blocks", WrittenBlock, key=("snapshot_id", "number"), indexes=(("account_id",),))
snapshot_permissions = table(
    "snapshot_permissions",
    SnapshotPermission,
    key=("snapshot_id", "grantee"),
    indexes=(("grantee", "region"), ("account_id",)),
)
snapshot_settings = table("snapshot_settings", SnapshotSettings, key=("account_id", "region"))
snapshot_locks = table(
    "snapshot_locks", SnapshotLock, key=("snapshot_id",), indexes=(("account_id", "region", "snapshot_id"),)
)
fast_restores = table(
    "fast_restores",
    FastRestore,
    key=("snapshot_id", "zone", "account_id"),
    indexes=(("account_id", "region", "snapshot_id", "zone"),),
)


def taken(tx: Transaction, snapshot: Snapshot, bytes_added: int, bytes_full: int) -> None:
    """Its host has it: it is there to be used, and paid for."""
    tx.update(
        snapshot,
        state="completed",
        progress=100,
        completed_at=tx.now,
        bytes_added=bytes_added,
        bytes_full=bytes_full,
    )
    if snapshot.copy_id is not None:
        publish(tx, "volume", snapshot.copy_id)
        return
    open_usage(tx, snapshot.account_id, snapshot.region, snapshot.id, "snapshot", bytes_added)
    lock = tx.get(SnapshotLock, snapshot.id)
    if lock is not None and lock.expires_at is None:
        tx.update(lock, starts_at=tx.now, expires_at=tx.now + dt.timedelta(days=lock.duration_days))


def holds(tx: Transaction, snapshot: Snapshot, bytes_added: int, bytes_full: int) -> None:
    """What was another one's, which is deleted, is this one's now, and is paid for."""
    if snapshot.copy_id is None and (bytes_added, bytes_full) != (snapshot.bytes_added, snapshot.bytes_full):
        tx.update(snapshot, bytes_added=bytes_added, bytes_full=bytes_full)
        close_usage(tx, snapshot.id)
        open_usage(tx, snapshot.account_id, snapshot.region, snapshot.id, "snapshot", bytes_added)


def failed(tx: Transaction, snapshot: Snapshot, message: str) -> None:
    """Its host can not take it: there is nothing to lock or to share either."""
    tx.delete_where(SnapshotLock, snapshot_id=snapshot.id)
    tx.update(snapshot, state="error", state_message=message)


def abandon(tx: Transaction, snapshot: Snapshot) -> None:
    """Give up one that is being written if no block has come for too long; its host deletes what it has."""
    patience = dt.timedelta(minutes=snapshot.timeout_minutes)
    if snapshot.written_at is not None and snapshot.written_at + patience < tx.now:
        failed(tx, tx.update(snapshot, writing=False), "The snapshot was not completed in time.")
        tx.delete_where(WrittenBlock, snapshot_id=snapshot.id)
        tx.put(DoomedSnapshot(snapshot.host_id, snapshot.id))
        publish(tx, "snapshot", snapshot.id)


def delete(tx: Transaction, snapshot: Snapshot) -> None:
    """Nobody has it and pays for it from here on, or can read it but by what was made from it; its host deletes it."""
    close_usage(tx, snapshot.id)
    delete_tags_of(tx, snapshot.id)
    tx.delete_where(WrappedKey, volume_id=snapshot.id)
    for kind in (SnapshotPermission, SnapshotLock, FastRestore, WrittenBlock):
        tx.delete_where(kind, snapshot_id=snapshot.id)
    tx.delete(snapshot)
    tx.put(DoomedSnapshot(snapshot.host_id, snapshot.id))
    publish(tx, "snapshot", snapshot.id)
