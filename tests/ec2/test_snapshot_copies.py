"""CopySnapshot and CreateSnapshots."""

from __future__ import annotations

from freehold.control.reports import apply_report
from freehold.control.specs import copy_specs, snapshot_specs, snapshots_to_take
from freehold.control.volume_keys import snapshot_keys
from freehold.host.wire import CopySpec, Report, SnapshotReport
from freehold.records.snapshots import Snapshot
from tests.ec2.calls import Caller, refused
from tests.ec2.conftest import opened
from tests.ec2.launching import run_one
from tests.ec2.snapshotting import host_took, snapshot_of
from tests.ec2.test_snapshot_sharing import share
from tests.ec2.test_volumes import volume_of


def ordered(caller: Caller) -> tuple[CopySpec, set[str]]:
    """The one copy that the host is told to make, and whose keys it gets."""
    with caller.store.read() as tx:
        pending = snapshots_to_take(tx, "host-1")
        assert snapshot_specs(pending) == ()
        (copy,) = copy_specs(pending)
        return copy, {key.volume_id for key in snapshot_keys(tx, caller.sealer, pending)}


def test_a_copy_under_the_same_key_moves_no_data(ready: Caller) -> None:
    source = snapshot_of(ready, volume_of(ready, run_one(ready)))
    tags = [{"ResourceType": "snapshot", "Tags": [{"Key": "Name", "Value": "copy"}]}]
    made = ready.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=source, TagSpecifications=tags)
    assert made["Tags"] == tags[0]["Tags"]
    copy, keys = ordered(ready)
    assert copy == CopySpec(made["SnapshotId"], source, rewritten=False, encrypted=True)
    assert keys == {source, made["SnapshotId"]}
    host_took(ready.store, made["SnapshotId"])
    (shown,) = ready.describe_snapshots(SnapshotIds=[made["SnapshotId"]])["Snapshots"]
    assert (shown["State"], shown["VolumeId"]) == ("completed", "vol-ffffffff")


def test_a_copy_in_another_region_is_written_anew(ready: Caller) -> None:
    source = snapshot_of(ready, volume_of(ready, run_one(ready)))
    there = opened(ready.store, ready.account, "eu-west-1")
    copy_id = there.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=source)["SnapshotId"]
    copy, keys = ordered(ready)
    assert copy == CopySpec(copy_id, source, rewritten=True, encrypted=True)
    assert keys == {source, copy_id}
    with ready.store.write() as tx:
        apply_report(tx, "host-1", Report((), snapshots=(SnapshotReport(copy_id, 0, 0, percent=40),)))
    (shown,) = there.describe_snapshots()["Snapshots"]
    assert (shown["State"], shown["Progress"]) == ("pending", "40%")
    assert shown["KmsKeyId"].startswith("arn:aws:kms:eu-west-1:")
    with refused("IncorrectState"):
        there.copy_snapshot(SourceRegion="eu-west-1", SourceSnapshotId=copy_id)
    with refused("InvalidSnapshot.NotFound"):
        there.copy_snapshot(SourceRegion="eu-west-1", SourceSnapshotId=source)


def test_what_is_shared_may_be_copied(ready: Caller, stranger: Caller) -> None:
    ready.disable_ebs_encryption_by_default()
    source = snapshot_of(ready, volume_of(ready, run_one(ready)))
    with refused("InvalidSnapshot.NotFound"):
        stranger.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=source)
    share(ready, source, UserId=stranger.account)
    copy_id = stranger.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=source)["SnapshotId"]
    copy, keys = ordered(ready)
    assert copy == CopySpec(copy_id, source, rewritten=True, encrypted=True)  # by default
    assert keys == {copy_id}


def test_snapshots_of_all_volumes_are_of_one_instant(ready: Caller) -> None:
    instance_id = run_one(ready)
    volume_id = volume_of(ready, instance_id)
    ready.create_tags(Resources=[volume_id], Tags=[{"Key": "Name", "Value": "root"}])
    (made,) = ready.create_snapshots(
        InstanceSpecification={"InstanceId": instance_id}, CopyTagsFromSource="volume", Description="all"
    )["Snapshots"]
    assert (made["VolumeId"], made["Tags"]) == (volume_id, [{"Key": "Name", "Value": "root"}])
    with ready.store.read() as tx:
        assert {each.instant for each in tx.select(Snapshot)} != {""}
    for refusal in ({"ExcludeBootVolume": True}, {"ExcludeDataVolumeIds": [volume_id]}):
        with refused("InvalidParameterCombination"):
            ready.create_snapshots(InstanceSpecification={"InstanceId": instance_id, **refusal})
    with refused("InvalidParameterValue"):
        ready.create_snapshots(
            InstanceSpecification={"InstanceId": instance_id, "ExcludeDataVolumeIds": ["vol-0123456789abcdef0"]}
        )
