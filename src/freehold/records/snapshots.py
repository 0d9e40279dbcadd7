"""Snapshots: what volumes held at an instant, on the host that has the volume's layers (host/volumes/layers.py)."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from freehold.records.encryption import WrappedKey
from freehold.records.feed import publish
from freehold.records.ids import AccountId, HostId, SnapshotId, VolumeId
from freehold.records.schema import Record, table
from freehold.records.store import Transaction
from freehold.records.tags import delete_tags_of
from freehold.records.usage import close_usage, open_usage

SnapshotState = Literal["pending", "completed", "error"]


class Snapshot(Record, frozen=True):
    """What a volume held.

        pending ──► completed        its host has said what it takes
           └──────► error            its host can not take it; `state_message` says why

    `instant` is shared by those that are of one instant. `size_gib` is the volume's; `bytes_added` is what the snapshot
    holds and those before it do not, which is what is paid for; `bytes_full` is what all of it takes. `volume_id` is a
    volume that may be gone, or ``vol-ffffffff`` for what comes from elsewhere.
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


class DoomedSnapshot(Record, frozen=True):
    """A snapshot that nobody has any more: its host is told to delete it until it says it has."""

    host_id: HostId
    snapshot_id: SnapshotId


snapshots = table(
    "snapshots",
    Snapshot,
    key=("id",),
    indexes=(("account_id", "region", "id"), ("host_id", "state"), ("volume_id", "state")),
)
doomed_snapshots = table(
    "doomed_snapshots", DoomedSnapshot, key=("host_id", "snapshot_id"), indexes=(("snapshot_id",),)
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
    open_usage(tx, snapshot.account_id, snapshot.region, snapshot.id, "snapshot", bytes_added)


def failed(tx: Transaction, snapshot: Snapshot, message: str) -> None:
    """Its host can not take it."""
    tx.update(snapshot, state="error", state_message=message)


def delete(tx: Transaction, snapshot: Snapshot) -> None:
    """Nobody has it and pays for it from here on, or can read it but by what was made from it; its host deletes it."""
    close_usage(tx, snapshot.id)
    delete_tags_of(tx, snapshot.id)
    tx.delete_where(WrappedKey, volume_id=snapshot.id)
    tx.delete(snapshot)
    tx.put(DoomedSnapshot(snapshot.host_id, snapshot.id))
    publish(tx, "snapshot", snapshot.id)
