"""Replacing the root volume of an instance that runs: what is to replace it, and how far it has come."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from freehold.records.compute import Instance, Volume, VolumeAttachment
from freehold.records.ids import AccountId, ImageId, InstanceId, SnapshotId, VolumeId
from freehold.records.schema import Record, table
from freehold.records.store import Transaction
from freehold.records.volumes import begin_deleting

TaskState = Literal["pending", "in-progress", "succeeded", "failed-detached"]


class RootTask(Record, frozen=True):
    """The replacement of a root volume.

        pending ──► in-progress ──► succeeded           the guest shuts down; it runs with the new one
           └───────────┴──────────► failed-detached     the instance is gone

    `snapshot_id` and `image_id` are what the caller named. The instance has the new volume from the call on.
    """

    id: str
    account_id: AccountId
    region: str
    instance_id: InstanceId
    old_volume_id: VolumeId
    new_volume_id: VolumeId
    state: TaskState
    started_at: dt.datetime
    snapshot_id: SnapshotId | None
    image_id: ImageId | None
    delete_replaced: bool
    completed_at: dt.datetime | None = None


root_tasks = table(
    "root_tasks",
    RootTask,
    key=("id",),
    indexes=(("account_id", "region", "id"), ("instance_id", "state"), ("completed_at",)),
)


def open_task(tx: Transaction, instance_id: str) -> RootTask | None:
    """The replacement that an instance is in the middle of."""
    return tx.find(RootTask, instance_id=instance_id, state=["pending", "in-progress"])


def settle(tx: Transaction, instance: Instance) -> None:
    """Look how far the replacement of an instance's root volume has come, after its host has reported."""
    task = open_task(tx, instance.id)
    if task is None:
        return
    if instance.state in ("shutting-down", "terminated"):
        tx.update(task, state="failed-detached", completed_at=tx.now)
        return
    new = tx.get(VolumeAttachment, task.new_volume_id, instance.id)
    replaced = tx.get(VolumeAttachment, task.old_volume_id, instance.id) is None
    if replaced and new is not None and new.state == "attached":
        tx.update(task, state="succeeded", completed_at=tx.now)
        old = tx.get(Volume, task.old_volume_id)
        if task.delete_replaced and old is not None and old.state == "available":
            begin_deleting(tx, old)
    elif task.state == "pending":
        tx.update(task, state="in-progress")
