"""Snapshots that are written by blocks (EBS's direct APIs), up to where a host is needed: tests/e2e has the rest."""

from __future__ import annotations

import datetime as dt

from freehold.control.housekeeping import keep_house
from freehold.control.specs import snapshots_to_delete, snapshots_to_take
from freehold.records.snapshots import Snapshot
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import run_one
from tests.ec2.snapshotting import snapshot_of
from tests.ec2.test_volumes import volume_of


def test_one_that_is_never_completed_is_given_up(ready: Caller) -> None:
    asked = {"VolumeSize": 3, "Timeout": 10, "ClientToken": "nightly", "Description": "from the backup"}
    started = ready.start_snapshot(**asked)
    assert (started["Status"], started["BlockSize"], started["SseType"]) == ("pending", 524288, "sse-kms")
    assert ready.start_snapshot(**asked)["SnapshotId"] == started["SnapshotId"]
    with refused("ConflictException"):
        ready.start_snapshot(**asked | {"VolumeSize": 4})
    with ready.store.read() as tx:
        assert snapshots_to_take(tx, "host-1") == []
    keep_house(ready.store, ready.config)
    with ready.store.write() as tx:
        snapshot = tx.get(Snapshot, started["SnapshotId"])
        assert snapshot is not None
        assert snapshot.writing
        tx.update(snapshot, written_at=tx.now - dt.timedelta(minutes=11))
    keep_house(ready.store, ready.config)
    (shown,) = ready.describe_snapshots()["Snapshots"]
    assert (shown["State"], shown["VolumeSize"]) == ("error", 3)
    with ready.store.read() as tx:
        assert snapshots_to_delete(tx, "host-1") == (started["SnapshotId"],)


def test_a_parent_says_how_it_is_encrypted(ready: Caller) -> None:
    parent = snapshot_of(ready, volume_of(ready, run_one(ready)))
    started = ready.start_snapshot(VolumeSize=2, ParentSnapshotId=parent)
    assert started["ParentSnapshotId"] == parent
    assert started["KmsKeyArn"] == ready.describe_snapshots(SnapshotIds=[parent])["Snapshots"][0]["KmsKeyId"]
    with refused("ValidationException"):
        ready.start_snapshot(VolumeSize=2, ParentSnapshotId=parent, Encrypted=True)
    with refused("ResourceNotFoundException"):
        ready.start_snapshot(VolumeSize=2, ParentSnapshotId="snap-0123456789abcdef0")
