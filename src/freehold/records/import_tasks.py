"""Imports of images: what is made of what, and how far it has come."""

from __future__ import annotations

import datetime as dt
from typing import Literal

import msgspec

from freehold.records.ids import AccountId, ImageId, SnapshotId
from freehold.records.schema import Record, table
from freehold.records.store import Transaction

TaskState = Literal["active", "completed", "deleted"]


class ImportedDisk(msgspec.Struct, frozen=True):
    """A disk of the image: `snapshot_id` is made for it."""

    device: str
    description: str
    snapshot_id: SnapshotId
    size_gib: int


class ImportTask(Record, frozen=True):
    """The import of an image from snapshots.

        active ──► completed        its snapshots are made, the image is there
           └─────► deleted          cancelled, or failed (`message`): neither image nor snapshots are left

    `platform`, `license_type`, `boot_mode` and `usage_operation` are as the caller named them.
    """

    id: str
    account_id: AccountId
    region: str
    state: TaskState
    message: str
    description: str
    image_id: ImageId
    disks: tuple[ImportedDisk, ...]
    encrypted: bool
    kms_key_id: str | None
    platform: str | None
    license_type: str | None
    boot_mode: str | None
    usage_operation: str | None
    created_at: dt.datetime
    ended_at: dt.datetime | None = None


import_tasks = table(
    "import_tasks",
    ImportTask,
    key=("id",),
    indexes=(("account_id", "region", "id"), ("image_id",), ("ended_at",)),
)


def end(tx: Transaction, task: ImportTask, state: TaskState, message: str = "") -> ImportTask:
    """It is completed, or will never be."""
    return tx.update(task, state=state, message=message, ended_at=tx.now)
