"""Retention rules, and the snapshots and images that they keep."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from freehold.control.housekeeping import keep_house
from freehold.records.compute import Image
from freehold.records.snapshots import Snapshot
from freehold.records.usage import UsageEntry
from freehold.services.ec2.image_removal import deregister_image
from freehold.services.operation import Principal
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import launch_one, run_one
from tests.ec2.snapshotting import snapshot_of
from tests.ec2.test_images import image, image_of, snapshots_of
from tests.ec2.test_volumes import volume_of

WEEK = {"RetentionPeriodValue": 7, "RetentionPeriodUnit": "DAYS"}
RULE = {"ResourceType": "EBS_SNAPSHOT", "RetentionPeriod": WEEK}


@pytest.fixture
def snapshot(ready: Caller) -> str:
    return snapshot_of(ready, volume_of(ready, run_one(ready)))


def in_bin(caller: Caller) -> list[str]:
    return [each["SnapshotId"] for each in caller.list_snapshots_in_recycle_bin()["Snapshots"]]


def test_a_deleted_snapshot_is_restored(ready: Caller, stranger: Caller, snapshot: str) -> None:
    rule = ready.create_rule(**RULE)
    assert (rule["Status"], rule["LockState"]) == ("available", "unlocked")
    ready.delete_snapshot(SnapshotId=snapshot)
    assert ready.describe_snapshots()["Snapshots"] == []
    with refused("InvalidSnapshot.NotFound"):
        ready.create_volume(SnapshotId=snapshot, AvailabilityZone="us-east-1a")
    (kept,) = ready.list_snapshots_in_recycle_bin()["Snapshots"]
    assert kept["RecycleBinExitTime"] - kept["RecycleBinEnterTime"] == dt.timedelta(days=7)
    assert in_bin(stranger) == []
    with refused("InvalidSnapshot.NotFound"):
        stranger.restore_snapshot_from_recycle_bin(SnapshotId=snapshot)
    assert ready.restore_snapshot_from_recycle_bin(SnapshotId=snapshot)["State"] == "completed"
    assert in_bin(ready) == []
    assert [each["SnapshotId"] for each in ready.describe_snapshots()["Snapshots"]] == [snapshot]


def test_what_is_in_the_bin_is_paid_for_until_its_time_is_over(ready: Caller, snapshot: str) -> None:
    ready.create_rule(**RULE)
    ready.delete_snapshot(SnapshotId=snapshot)
    keep_house(ready.store, ready.config)
    assert in_bin(ready) == [snapshot]
    with ready.store.write() as tx:
        found = tx.get(Snapshot, snapshot)
        entry = tx.find(UsageEntry, resource_id=snapshot)
        assert found is not None
        assert entry is not None
        assert entry.closed_at is None
        tx.update(found, recycled_until=tx.now)
    keep_house(ready.store, ready.config)
    assert in_bin(ready) == []


def test_rules_say_by_tags_what_is_kept(ready: Caller, snapshot: str) -> None:
    tagged = [{"ResourceTagKey": "keep", "ResourceTagValue": "yes"}]
    ready.create_rule(**RULE, ResourceTags=tagged)
    other = snapshot_of(ready, volume_of(ready, run_one(ready)))
    ready.create_tags(Resources=[snapshot], Tags=[{"Key": "keep", "Value": "yes"}])
    ready.create_tags(Resources=[other], Tags=[{"Key": "keep", "Value": "no"}])
    for each in (snapshot, other):
        ready.delete_snapshot(SnapshotId=each)
    assert in_bin(ready) == [snapshot]
    with refused("ValidationException"):
        ready.create_rule(**RULE, ResourceTags=tagged, ExcludeResourceTags=tagged)
    with refused("UnsupportedOperation"):
        ready.create_rule(**RULE | {"ResourceType": "EBS_VOLUME"})


def test_what_is_in_the_bin_has_tags_that_may_be_changed(ready: Caller, stranger: Caller, snapshot: str) -> None:
    """https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin-working-with-snaps.html#snap-perms"""
    ready.create_rule(**RULE)
    ready.create_rule(**RULE | {"ResourceType": "EC2_IMAGE"})
    image_id = image_of(ready, run_one(ready))
    ready.modify_image_attribute(ImageId=image_id, LaunchPermission={"Add": [{"UserId": stranger.account}]})
    both = {"Resources": [snapshot, image_id]}
    ready.create_tags(**both, Tags=[{"Key": "old", "Value": "1"}])
    ready.delete_snapshot(SnapshotId=snapshot)
    ready.deregister_image(ImageId=image_id)
    ready.create_tags(**both, Tags=[{"Key": "why", "Value": "by mistake"}])
    ready.delete_tags(**both, Tags=[{"Key": "old"}])
    for each, code in ((snapshot, "InvalidSnapshot.NotFound"), (image_id, "InvalidAMIID.NotFound")):
        with refused(code):
            stranger.create_tags(Resources=[each], Tags=[{"Key": "mine", "Value": "1"}])
    held = ready.describe_tags(Filters=[{"Name": "key", "Values": ["why", "old", "mine"]}])["Tags"]
    assert sorted((tag["ResourceId"], tag["Key"]) for tag in held) == sorted([(snapshot, "why"), (image_id, "why")])
    ready.restore_snapshot_from_recycle_bin(SnapshotId=snapshot)
    (restored,) = ready.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
    assert restored["Tags"] == [{"Key": "why", "Value": "by mistake"}]


def test_a_deregistered_image_is_restored_with_its_snapshots(ready: Caller, stranger: Caller) -> None:
    """Its snapshots can be deleted meanwhile, and go to the bin themselves; they must be restored first."""
    ready.create_rule(**RULE)
    ready.create_rule(**RULE | {"ResourceType": "EC2_IMAGE"})
    image_id = image_of(ready, run_one(ready), "web", Description="of June")
    (snapshot_id,) = snapshots_of(ready, image_id)
    ready.modify_image_attribute(ImageId=image_id, LaunchPermission={"Add": [{"UserId": stranger.account}]})
    assert ready.deregister_image(ImageId=image_id, DeleteAssociatedSnapshots=True)["DeleteSnapshotResults"] == [
        {"SnapshotId": snapshot_id, "ReturnCode": "success"}
    ]
    for caller in (ready, stranger):
        with refused("InvalidAMIID.NotFound"):
            launch_one(caller, ImageId=image_id)
    with refused("InvalidAMIID.NotFound"):
        ready.deregister_image(ImageId=image_id)
    (kept,) = ready.list_images_in_recycle_bin(ImageIds=[image_id])["Images"]
    assert (kept["Name"], kept["Description"]) == ("web", "of June")
    assert kept["RecycleBinExitTime"] - kept["RecycleBinEnterTime"] == dt.timedelta(days=7)
    assert stranger.list_images_in_recycle_bin()["Images"] == []
    for caller, code in ((ready, "InvalidSnapshot.NotFound"), (stranger, "InvalidAMIID.NotFound")):
        with refused(code):
            caller.restore_image_from_recycle_bin(ImageId=image_id)
    ready.restore_snapshot_from_recycle_bin(SnapshotId=snapshot_id)
    other = image_of(ready, run_one(ready), "web")
    with refused("InvalidAMIName.Duplicate"):
        ready.restore_image_from_recycle_bin(ImageId=image_id)
    ready.deregister_image(ImageId=other)
    assert ready.restore_image_from_recycle_bin(ImageId=image_id) == {"Return": True}
    assert image(stranger, image_id)["State"] == "available"
    run_one(ready, ImageId=image_id)
    with refused("InvalidSnapshot.InUse"):
        ready.delete_snapshot(SnapshotId=snapshot_id)


def test_snapshots_go_with_their_image_only_where_they_may(ready: Caller) -> None:
    """The image is deregistered whatever becomes of them."""
    locked, other = image_of(ready, run_one(ready), "locked"), image_of(ready, run_one(ready), "other")
    ready.lock_snapshot(SnapshotId=snapshots_of(ready, locked)[0], LockMode="governance", LockDuration=1)
    kept = [*snapshots_of(ready, locked), *snapshots_of(ready, other)]
    answer = ready.deregister_image(ImageId=locked, DeleteAssociatedSnapshots=True)
    assert answer["DeleteSnapshotResults"] == [{"SnapshotId": kept[0], "ReturnCode": "client-error"}]
    arn = f"arn:aws:iam::{ready.account}:user/alice"
    alice = Principal(ready.account, arn, "AIDATEST", "user", "AKIATEST", "AIDATEST", arn)
    with ready.store.write() as tx:  # who may deregister images, and no more
        call = replace(ready.call(tx, "DeregisterImage"), principal=alice)
        answer = deregister_image(call, {"ImageId": other, "DeleteAssociatedSnapshots": True})
    assert answer["DeleteSnapshotResults"] == [{"SnapshotId": kept[1], "ReturnCode": "missing-permissions"}]
    assert ready.describe_images(Owners=["self"])["Images"] == []
    assert {each["SnapshotId"] for each in ready.describe_snapshots(OwnerIds=["self"])["Snapshots"]} == set(kept)


def test_an_image_leaves_the_bin_when_its_time_is_over(ready: Caller) -> None:
    ready.create_rule(**RULE | {"ResourceType": "EC2_IMAGE"})
    image_id = image_of(ready, run_one(ready))
    ready.deregister_image(ImageId=image_id)
    keep_house(ready.store, ready.config)
    assert len(ready.list_images_in_recycle_bin()["Images"]) == 1
    with ready.store.write() as tx:
        found = tx.get(Image, image_id)
        assert found is not None
        tx.update(found, recycled_until=tx.now)
    keep_house(ready.store, ready.config)
    assert ready.list_images_in_recycle_bin()["Images"] == []
    with refused("InvalidAMIID.NotFound"):
        ready.restore_image_from_recycle_bin(ImageId=image_id)


def test_a_locked_rule_stays_as_it_is(ready: Caller) -> None:
    identifier = ready.create_rule(**RULE, Description="all")["Identifier"]
    delay = {"UnlockDelay": {"UnlockDelayValue": 7, "UnlockDelayUnit": "DAYS"}}
    assert ready.lock_rule(Identifier=identifier, LockConfiguration=delay)["LockState"] == "locked"
    for refusal in (ready.delete_rule, ready.update_rule):
        with refused("ConflictException"):
            refusal(Identifier=identifier)
    unlocking = ready.unlock_rule(Identifier=identifier)
    assert unlocking["LockState"] == "pending_unlock"
    (listed,) = ready.list_rules(ResourceType="EBS_SNAPSHOT")["Rules"]
    assert (listed["Identifier"], listed["Description"]) == (identifier, "all")
    other = ready.create_rule(**RULE)
    changed = {"RetentionPeriodValue": 30, "RetentionPeriodUnit": "DAYS"}
    assert ready.update_rule(Identifier=other["Identifier"], RetentionPeriod=changed)["RetentionPeriod"] == changed
    ready.delete_rule(Identifier=other["Identifier"])
    with refused("ResourceNotFoundException"):
        ready.get_rule(Identifier=other["Identifier"])
