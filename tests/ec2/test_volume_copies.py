"""CopyVolumes."""

from __future__ import annotations

from typing import Any

from freehold.control.reports import apply_report
from freehold.control.specs import snapshots_to_delete, snapshots_to_take, volumes_to_make
from freehold.host.wire import Report
from freehold.records import feed
from freehold.records.compute import IdempotencyToken
from freehold.records.snapshots import Snapshot
from freehold.records.usage import UsageEntry
from tests.ec2.calls import CATALOG, Caller, refused
from tests.ec2.launching import run_one
from tests.ec2.snapshotting import host_took
from tests.ec2.test_volumes import state, volume_of


def copy(caller: Caller, source: str, **request: Any) -> dict[str, Any]:
    (volume,) = caller.copy_volumes(SourceVolumeId=source, **request)["Volumes"]
    return dict(volume)


def below(caller: Caller) -> str:
    """The id of the snapshot that a copy is to lie on."""
    with caller.store.read() as tx:
        (snapshot,) = snapshots_to_take(tx, "host-1")
    return snapshot.id


def to_make(caller: Caller) -> list[str]:
    with caller.store.read() as tx:
        return [volume.id for volume in volumes_to_make(tx, "host-1")]


def host_made(caller: Caller, volume_id: str) -> None:
    with caller.store.write() as tx:
        apply_report(tx, "host-1", Report((), made_volumes=(volume_id,)))


def test_a_copy_is_made_when_its_data_is_fixed_and_nothing_else_is_left(ready: Caller) -> None:
    source = volume_of(ready, run_one(ready))
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "Name", "Value": "copy"}]}]
    made = copy(ready, source, VolumeType="gp3", Size=2, TagSpecifications=tags)
    assert (made["State"], made["SourceVolumeId"], made["SnapshotId"]) == ("creating", source, "")
    assert (made["VolumeType"], made["Size"], made["Iops"], made["Encrypted"]) == ("gp3", 2, 3000, True)
    assert made["Tags"] == [{"Key": "Name", "Value": "copy"}]
    assert made["AvailabilityZone"] == "us-east-1a"
    snapshot_id = below(ready)
    assert to_make(ready) == []
    host_took(ready.store, snapshot_id)
    assert to_make(ready) == [made["VolumeId"]]
    host_made(ready, made["VolumeId"])

    assert state(ready, made["VolumeId"]) == "available"
    (shown,) = ready.describe_volumes(VolumeIds=[made["VolumeId"]])["Volumes"]
    assert (shown["SourceVolumeId"], shown["SnapshotId"]) == (source, "")
    found = ready.describe_volumes(Filters=[{"Name": "snapshot-id", "Values": [snapshot_id]}])
    assert found["Volumes"] == []
    with ready.store.read() as tx:
        assert snapshots_to_delete(tx, "host-1") == (snapshot_id,)
        assert tx.count(Snapshot) == tx.count(UsageEntry, resource_id=snapshot_id) == 0


def test_nobody_sees_what_a_copy_lies_on(ready: Caller) -> None:
    source = volume_of(ready, run_one(ready))
    copy(ready, source)
    snapshot_id = below(ready)
    host_took(ready.store, snapshot_id)
    assert ready.describe_snapshots()["Snapshots"] == []
    with refused("InvalidSnapshot.NotFound"):
        ready.describe_snapshots(SnapshotIds=[snapshot_id])
    with refused("InvalidSnapshot.NotFound"):
        ready.delete_snapshot(SnapshotId=snapshot_id)
    with refused("InvalidSnapshot.NotFound"):
        ready.create_volume(AvailabilityZone="us-east-1a", SnapshotId=snapshot_id)
    with refused("InvalidSnapshot.NotFound"):
        ready.restore_snapshot_from_recycle_bin(SnapshotId=snapshot_id)
    assert ready.list_snapshots_in_recycle_bin()["Snapshots"] == []


def test_a_copy_that_is_deleted_before_it_is_made_leaves_nothing(ready: Caller) -> None:
    made = copy(ready, volume_of(ready, run_one(ready)))
    snapshot_id = below(ready)
    ready.delete_volume(VolumeId=made["VolumeId"])
    assert state(ready, made["VolumeId"]) == "deleting"
    host_took_too_late = Report((), made_volumes=(made["VolumeId"],))
    with ready.store.write() as tx:
        apply_report(tx, "host-1", host_took_too_late)
        assert snapshots_to_delete(tx, "host-1") == (snapshot_id,)
    assert state(ready, made["VolumeId"]) == "deleting"


def test_a_copy_whose_data_the_host_can_not_fix_goes(ready: Caller) -> None:
    source = volume_of(ready, run_one(ready))
    made = copy(ready, source)
    with ready.store.read() as tx:
        before = feed.position(tx)
    host_took(ready.store, below(ready), message="no room")
    with ready.store.read() as tx:
        assert ("volume", source) in feed.since(tx, before, ("volume",))[1]  # it may be waiting to be deleted
    assert state(ready, made["VolumeId"]) == "deleting"
    assert to_make(ready) == []


def test_a_host_that_is_too_late_makes_no_copy_and_the_request_may_be_sent_again(ready: Caller) -> None:
    source = volume_of(ready, run_one(ready))
    with ready.store.write() as tx:
        call = ready.call(tx, "CopyVolumes")
        (operation,) = [each for each in CATALOG.operations.values() if each.name == "CopyVolumes"]
        (made,) = operation.function(call, {"SourceVolumeId": source, "ClientToken": "once"})["Volumes"]
        (awaited,) = call.answered_after
    with ready.store.write() as tx:
        error = awaited.unanswered(tx)
        assert error is not None
        assert error.code == "ServiceUnavailable"
        assert tx.count(IdempotencyToken, token="once") == 0
    assert state(ready, made["VolumeId"]) == "deleting"
    again = copy(ready, source, ClientToken="once")
    assert again["VolumeId"] != made["VolumeId"]
    assert copy(ready, source, ClientToken="once")["VolumeId"] == again["VolumeId"]
    with refused("IdempotentParameterMismatch"):
        copy(ready, source, ClientToken="once", Size=9)


def test_what_is_asked_for_is_looked_at(ready: Caller, stranger: Caller) -> None:
    source = volume_of(ready, run_one(ready))
    grown = ready.create_volume(AvailabilityZone="us-east-1a", Size=4)["VolumeId"]
    with refused("IncorrectState"):
        copy(ready, grown)
    host_made(ready, grown)
    with refused("InvalidParameterValue"):
        copy(ready, grown, Size=3)
    assert copy(ready, grown)["Size"] == 4
    assert copy(ready, grown)["VolumeType"] == "gp2"
    with refused("InvalidParameterCombination"):
        copy(ready, source, VolumeType="gp2", Iops=100)
    with refused("MissingParameter"):
        copy(ready, grown, VolumeType="io2")
    with refused("InvalidVolume.NotFound"):
        copy(stranger, source)
    with refused("InvalidVolume.NotFound"):
        copy(ready, "vol-0123456789abcdef0")
