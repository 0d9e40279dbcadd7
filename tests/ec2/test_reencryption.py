"""Volumes over encrypted snapshots under another KMS key: of one's own choice, or because the snapshot is another
account's. Nothing is copied; the volume needs the old KMS key no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from freehold.control.keys import delete_key
from freehold.control.reports import apply_report
from freehold.control.volume_keys import give_up, keys_on_host, volume_keys
from freehold.host.wire import Report, VolumeKey
from freehold.questions import KEYS_BELOW_MAX
from freehold.records.compute import Volume
from freehold.records.encryption import WrappedKey
from freehold.records.ids import VolumeId
from freehold.records.keys import Key
from tests.ec2.calls import SEALER, Caller, refused
from tests.ec2.launching import launch_one, run_one
from tests.ec2.snapshotting import snapshot_of
from tests.ec2.test_ebs_encryption import mapping, new_key, root_volume
from tests.ec2.test_images import image_of
from tests.ec2.test_snapshot_sharing import share
from tests.ec2.test_volumes import state, volume_of


def over(caller: Caller, snapshot_id: str, **request: Any) -> str:
    made = caller.create_volume(AvailabilityZone="us-east-1a", SnapshotId=snapshot_id, **request)
    assert made["Encrypted"]
    return str(made["VolumeId"])


def key_arn(caller: Caller, volume_id: str) -> str:
    return str(caller.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]["KmsKeyId"])


def sent(caller: Caller, volume_or_snapshot: str) -> VolumeKey | None:
    """What its host gets."""
    with caller.store.read() as tx:
        return next(iter(keys_on_host(tx, SEALER, "host-1", [volume_or_snapshot])), None)


def own(caller: Caller, **request: Any) -> str:
    """A snapshot under a customer managed key, which is its own."""
    instance_id = run_one(caller, **mapping(Encrypted=True, KmsKeyId=new_key(caller)))
    return snapshot_of(caller, volume_of(caller, instance_id), **request)


def kms_key_of(caller: Caller, snapshot_id: str) -> str:
    return str(caller.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]["KmsKeyId"])


def disable(caller: Caller, arn: str) -> None:
    caller.disable_key(KeyId=arn)


def destroy(caller: Caller, arn: str) -> None:
    caller.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)
    with caller.store.write() as tx:
        key = tx.get(Key, arn.rpartition("/")[2])
        assert key is not None
        delete_key(tx, key)


def test_under_another_key_it_has_one_of_its_own_over_the_snapshots(ready: Caller) -> None:
    snapshot_id, other = own(ready), new_key(ready)
    below = sent(ready, snapshot_id)
    assert below is not None
    same = over(ready, snapshot_id)
    assert key_arn(ready, same) == kms_key_of(ready, snapshot_id)
    assert sent(ready, same) == VolumeKey(same, below.key)

    volume_id = over(ready, snapshot_id, Encrypted=True, KmsKeyId=other)
    assert key_arn(ready, volume_id) == other
    found = sent(ready, volume_id)
    assert found is not None
    assert found.below == (below.key,)
    assert found.key not in found.below
    again = over(ready, snapshot_id, KmsKeyId=other)
    assert sent(ready, again) not in (None, found)


def test_what_is_made_from_it_has_all_keys(ready: Caller) -> None:
    volume_id = over(ready, own(ready), KmsKeyId=new_key(ready))
    found = sent(ready, volume_id)
    assert found is not None
    with ready.store.write() as tx:
        apply_report(tx, "host-1", Report((), made_volumes=(volume_id,)))
    second = snapshot_of(ready, volume_id)
    kept = sent(ready, second)
    assert kept == VolumeKey(second, found.key, found.below)
    third = sent(ready, over(ready, second, KmsKeyId=new_key(ready)))
    assert third is not None
    assert set(third.below) == {found.key, *found.below}
    copied = ready.copy_snapshot(
        SourceRegion="us-east-1", SourceSnapshotId=second, Encrypted=True, KmsKeyId=key_arn(ready, volume_id)
    )["SnapshotId"]
    assert sent(ready, copied) == VolumeKey(copied, found.key, found.below)


@pytest.mark.parametrize("spoil", [disable, destroy])
def test_the_snapshot_and_its_key_may_go(ready: Caller, spoil: Callable[[Caller, str], None]) -> None:
    """A volume is under its own KMS key alone: what becomes of the snapshot's is nothing to it."""
    snapshot_id, other = own(ready), new_key(ready)
    volume_id = over(ready, snapshot_id, KmsKeyId=other)
    before = sent(ready, volume_id)
    assert before is not None
    spoil(ready, kms_key_of(ready, snapshot_id))
    assert sent(ready, snapshot_id) is None
    ready.delete_snapshot(SnapshotId=snapshot_id)
    assert sent(ready, volume_id) == before
    spoil(ready, other)
    assert sent(ready, volume_id) is None


@pytest.mark.parametrize("which", ["snapshot's", "volume's"])
def test_where_a_key_can_not_be_used_the_volume_fails_after_the_call(ready: Caller, which: str) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html (KmsKeyId)"""
    snapshot_id, other = own(ready), new_key(ready)
    disable(ready, kms_key_of(ready, snapshot_id) if which == "snapshot's" else other)
    volume_id = over(ready, snapshot_id, KmsKeyId=other)
    with ready.store.read() as tx:
        keys, hopeless = volume_keys(tx, SEALER, (), tx.select(Volume, id=volume_id))
    assert (keys, [each.volume_id for each in hopeless]) == ((), [volume_id])
    with ready.store.write() as tx:
        give_up(tx, SEALER, (), [VolumeId(volume_id)])
    assert state(ready, volume_id) == "deleting"


def test_a_shared_one_is_under_the_callers_default_key(ready: Caller, stranger: Caller) -> None:
    snapshot_id = own(ready)
    share(ready, snapshot_id, UserId=stranger.account)
    below = sent(ready, snapshot_id)
    assert below is not None
    volume_id = over(stranger, snapshot_id)
    assert key_arn(stranger, volume_id) == stranger.describe_key(KeyId="alias/aws/ebs")["KeyMetadata"]["Arn"]
    chosen = over(stranger, snapshot_id, KmsKeyId=(theirs := new_key(stranger)))
    assert key_arn(stranger, chosen) == theirs

    ready.reset_snapshot_attribute(SnapshotId=snapshot_id, Attribute="createVolumePermission")
    with refused("InvalidSnapshot.NotFound"):
        over(stranger, snapshot_id)
    disable(ready, kms_key_of(ready, snapshot_id))
    ready.delete_snapshot(SnapshotId=snapshot_id)
    for each in (volume_id, chosen):
        found = sent(ready, each)
        assert found is not None
        assert found.below == (below.key,)


def test_a_launch_from_a_shared_image_and_with_a_shared_snapshot(ready: Caller, stranger: Caller) -> None:
    origin = run_one(ready, **mapping(Encrypted=True, KmsKeyId=new_key(ready)))
    image_id, snapshot_id = image_of(ready, origin), snapshot_of(ready, volume_of(ready, origin))
    ready.modify_image_attribute(ImageId=image_id, LaunchPermission={"Add": [{"UserId": stranger.account}]})
    share(ready, snapshot_id, UserId=stranger.account)
    below = sent(ready, snapshot_id)
    assert below is not None
    theirs = new_key(stranger)
    data = {"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": snapshot_id, "KmsKeyId": theirs}}
    instance_id = launch_one(stranger, ImageId=image_id, BlockDeviceMappings=[data])["InstanceId"]
    found = stranger.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [instance_id]}])["Volumes"]
    managed = stranger.describe_key(KeyId="alias/aws/ebs")["KeyMetadata"]["Arn"]
    assert {each["Attachments"][0]["Device"]: each["KmsKeyId"] for each in found} == {
        "/dev/sdf": theirs,
        "/dev/xvda": managed,
    }
    for each in found:
        key = sent(stranger, each["VolumeId"])
        assert key is not None
        assert key.below == (below.key,)


def test_a_root_volume_is_replaced_by_one_of_a_shared_image(ready: Caller, stranger: Caller) -> None:
    image_id = image_of(ready, run_one(ready, **mapping(Encrypted=True, KmsKeyId=new_key(ready))))
    ready.modify_image_attribute(ImageId=image_id, LaunchPermission={"Add": [{"UserId": stranger.account}]})
    instance_id = run_one(stranger)
    stranger.create_replace_root_volume_task(InstanceId=instance_id, ImageId=image_id)
    (new,) = stranger.describe_volumes(
        Filters=[
            {"Name": "attachment.instance-id", "Values": [instance_id]},
            {"Name": "attachment.status", "Values": ["attaching"]},
        ]
    )["Volumes"]
    assert new["KmsKeyId"] == stranger.describe_key(KeyId="alias/aws/ebs")["KeyMetadata"]["Arn"]
    key = sent(stranger, new["VolumeId"])
    assert key is not None
    assert len(key.below) == 1


def test_layers_have_only_so_many_keys(ready: Caller) -> None:
    snapshot_id = own(ready)
    with ready.store.write() as tx:
        (kept,) = tx.select(WrappedKey, volume_id=snapshot_id)
        for number in range(KEYS_BELOW_MAX):
            made_for = VolumeId(f"vol-{number:017x}")
            tx.insert(WrappedKey(snapshot_id, kept.account_id, kept.ciphertext, made_for, below=True))
    over(ready, snapshot_id)
    with refused("UnsupportedOperation"):
        over(ready, snapshot_id, KmsKeyId=new_key(ready))


def test_the_key_of_a_root_volume_is_anothers(ready: Caller) -> None:
    """An image of one's own launched under another key."""
    image_id = image_of(ready, run_one(ready))
    arn = new_key(ready)
    launched = launch_one(ready, ImageId=image_id, **mapping(Encrypted=True, KmsKeyId=arn))["InstanceId"]
    volume = root_volume(ready, launched)
    assert volume["KmsKeyId"] == arn
    key = sent(ready, volume["VolumeId"])
    assert key is not None
    assert len(key.below) == 1
