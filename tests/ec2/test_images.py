"""Images of accounts: made of instances and of snapshots, launched, shared, deprecated, disabled, deregistered."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from freehold.control.accounts import close_account
from freehold.control.specs import guest_specs
from freehold.records.accounts import Account
from freehold.records.compute import Image
from freehold.records.images import ImageMapping, ImagePermission
from freehold.records.snapshots import Snapshot
from freehold.records.usage import UsageEntry
from tests.ec2.calls import Caller, refused
from tests.ec2.conftest import opened
from tests.ec2.launching import IMAGE, launch_one, record, run_one, shown, stop
from tests.ec2.snapshotting import host_took, snapshot_of
from tests.ec2.test_images_types import filters, image_ids
from tests.ec2.test_volumes import volume_of


def image(caller: Caller, image_id: str) -> Any:
    (found,) = caller.describe_images(ImageIds=[image_id])["Images"]
    return found


def snapshots_of(caller: Caller, image_id: str) -> list[str]:
    return [m["Ebs"]["SnapshotId"] for m in image(caller, image_id)["BlockDeviceMappings"] if "SnapshotId" in m["Ebs"]]


def image_of(caller: Caller, instance_id: str, name: str = "an image", **request: Any) -> str:
    """The id of an image of an instance, whose snapshots are taken."""
    image_id: str = caller.create_image(InstanceId=instance_id, Name=name, NoReboot=True, **request)["ImageId"]
    host_took(caller.store, *snapshots_of(caller, image_id))
    return image_id


def change(caller: Caller, image_id: str, **fields: Any) -> None:
    """Make time pass for an image."""
    with caller.store.write() as tx:
        found = tx.get(Image, image_id)
        assert found is not None
        tx.update(found, **fields)


def spec(caller: Caller, instance_id: str) -> Any:
    with caller.store.read() as tx:
        (found,) = guest_specs(tx, caller.config, [record(caller.store, instance_id)])
    return found


def test_an_image_is_pending_until_its_snapshots_are_taken(ready: Caller) -> None:
    instance_id = run_one(ready)
    tags = [{"ResourceType": kind, "Tags": [{"Key": "of", "Value": kind}]} for kind in ("image", "snapshot")]
    made = ready.create_image(
        InstanceId=instance_id, Name="web 1", Description="before", NoReboot=True, TagSpecifications=tags
    )
    pending = image(ready, made["ImageId"])
    assert (pending["State"], pending["Name"], pending["Description"]) == ("pending", "web 1", "before")
    assert (pending["OwnerId"], pending["Public"], pending["SourceInstanceId"]) == (ready.account, False, instance_id)
    assert pending["Tags"] == [{"Key": "of", "Value": "image"}]
    (mapping,) = pending["BlockDeviceMappings"]
    assert (mapping["DeviceName"], mapping["Ebs"]["VolumeSize"], mapping["Ebs"]["Encrypted"]) == ("/dev/xvda", 1, True)
    (snapshot,) = ready.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert mapping["Ebs"]["SnapshotId"] == snapshot["SnapshotId"]
    assert snapshot["Description"] == f"Created by CreateImage({instance_id}) for {made['ImageId']}"
    assert snapshot["Tags"] == [{"Key": "of", "Value": "snapshot"}]
    assert record(ready.store, instance_id).reboots == 0
    with refused("InvalidAMIID.Unavailable"):
        launch_one(ready, ImageId=made["ImageId"])
    host_took(ready.store, snapshot["SnapshotId"])
    assert image(ready, made["ImageId"])["State"] == "available"
    for found in ({"Owners": ["self"]}, {"Filters": filters(source_instance_id=instance_id)}):
        assert image_ids(ready, **found) == [made["ImageId"]]
    with refused("InvalidAMIName.Duplicate"):
        ready.create_image(InstanceId=instance_id, Name="web 1", NoReboot=True)


def test_an_image_whose_snapshot_is_not_taken_has_failed(ready: Caller) -> None:
    image_id = ready.create_image(InstanceId=run_one(ready), Name="web", NoReboot=True)["ImageId"]
    host_took(ready.store, *snapshots_of(ready, image_id), message="no room")
    failed = image(ready, image_id)
    assert (failed["State"], failed["StateReason"]["Code"]) == ("failed", "Client.SnapshotError")
    assert ready.deregister_image(ImageId=image_id)["Return"]


def test_a_running_instance_reboots_for_its_image(ready: Caller) -> None:
    """Its host is to take the snapshot when it has shut down, and to boot it only then."""
    instance_id = run_one(ready)
    image_id = ready.create_image(InstanceId=instance_id, Name="web")["ImageId"]
    (snapshot_id,) = snapshots_of(ready, image_id)
    wanted = spec(ready, instance_id)
    assert (wanted.reboots, wanted.snapshots_at_rest) == (1, (snapshot_id,))
    with ready.store.read() as tx:
        snapshot = tx.get(Snapshot, snapshot_id)
    assert snapshot is not None
    assert snapshot.at_rest
    host_took(ready.store, snapshot_id)
    assert spec(ready, instance_id).snapshots_at_rest == ()
    assert image(ready, image_id)["State"] == "available"


def test_a_stopped_instance_is_imaged_as_it_lies(ready: Caller) -> None:
    instance_id = run_one(ready)
    stop(ready, instance_id)
    image_id = ready.create_image(InstanceId=instance_id, Name="web")["ImageId"]
    assert record(ready.store, instance_id).reboots == 0
    assert spec(ready, instance_id).snapshots_at_rest == ()
    host_took(ready.store, *snapshots_of(ready, image_id))
    assert image(ready, image_id)["State"] == "available"


def test_a_server_of_an_image_has_its_disk_and_boots_as_its_origin_does(ready: Caller) -> None:
    """The root volume lies on the image's snapshot and has its key; the kernel is that of the cloud's image."""
    origin = run_one(ready)
    image_id = image_of(ready, origin)
    (snapshot_id,) = snapshots_of(ready, image_id)
    instance_id = run_one(ready, ImageId=image_id, BlockDeviceMappings=[root(VolumeSize=3)])
    (volume,) = ready.describe_volumes(Filters=filters(attachment__instance_id=instance_id))["Volumes"]
    assert (volume["SnapshotId"], volume["Size"], volume["Encrypted"]) == (snapshot_id, 3, True)
    wanted = spec(ready, instance_id)
    assert (wanted.kernel_image_id, wanted.metadata.image_id) == (IMAGE, image_id)
    (disk,) = wanted.volumes
    assert (disk.snapshot_id, disk.image_id, disk.encrypted) == (snapshot_id, None, True)
    again = image_of(ready, instance_id, "another")
    assert ready.deregister_image(ImageId=image_id, DeleteAssociatedSnapshots=True)["DeleteSnapshotResults"] == [
        {"SnapshotId": snapshot_id, "ReturnCode": "success"}
    ]
    assert spec(ready, instance_id).kernel_image_id == IMAGE
    assert spec(ready, run_one(ready, ImageId=again)).kernel_image_id == IMAGE
    with ready.store.read() as tx:
        closed = tx.find(UsageEntry, resource_id=snapshot_id)
    assert closed is not None
    assert closed.closed_at is not None
    with refused("InvalidAMIID.NotFound"):
        launch_one(ready, ImageId=image_id)


def root(**ebs: Any) -> dict[str, Any]:
    return {"DeviceName": "/dev/xvda", "Ebs": ebs}


def test_what_an_image_of_an_instance_can_not_be(ready: Caller) -> None:
    instance_id = run_one(ready)
    for request, code in (
        ({"Name": "a;b"}, "InvalidAMIName.Malformed"),
        ({"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "NoDevice": ""}]}, "InvalidBlockDeviceMapping"),
        ({"BlockDeviceMappings": [root(), root()]}, "InvalidBlockDeviceMapping"),
        ({"BlockDeviceMappings": [{"DeviceName": "../x", "Ebs": {}}]}, "InvalidBlockDeviceMapping"),
        ({"BlockDeviceMappings": [{"DeviceName": "/dev/sdb", "Ebs": {}}]}, "InvalidBlockDeviceMapping"),
        ({"BlockDeviceMappings": [{"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"}]}, "UnsupportedOperation"),
        ({"InstanceId": "i-0123456789abcdef0"}, "InvalidInstanceID.NotFound"),
        ({"Description": "x" * 256}, "InvalidParameterValue"),
    ):
        with refused(code):
            ready.create_image(**{"InstanceId": instance_id, "Name": "an image", "NoReboot": True, **request})
    pending = launch_one(ready)["InstanceId"]
    with refused("IncorrectInstanceState"):
        ready.create_image(InstanceId=pending, Name="an image")


def test_an_image_is_registered_from_a_snapshot(ready: Caller, stranger: Caller) -> None:
    snapshot_id = snapshot_of(ready, volume_of(ready, run_one(ready)))
    mapping = {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot_id, "VolumeSize": 2, "VolumeType": "gp3"}}
    data = {"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 4, "DeleteOnTermination": False}}
    given = {"Name": "restored", "RootDeviceName": "/dev/sda1", "Architecture": "x86_64", "VirtualizationType": "hvm"}
    image_id = ready.register_image(**given, BlockDeviceMappings=[mapping, data], ImdsSupport="v2.0")["ImageId"]
    made = image(ready, image_id)
    assert (made["State"], made["RootDeviceName"], made["ImdsSupport"]) == ("available", "/dev/sda1", "v2.0")
    assert [(m["DeviceName"], m["Ebs"]["VolumeSize"]) for m in made["BlockDeviceMappings"]] == [
        ("/dev/sda1", 2),
        ("/dev/sdb", 4),
    ]
    assert image_ids(ready, Filters=filters(block_device_mapping__snapshot_id=snapshot_id)) == [image_id]
    assert image_ids(stranger, Owners=[ready.account]) == []
    uefi = ready.register_image(**given | {"Name": "uefi"}, BootMode="uefi", BlockDeviceMappings=[mapping])
    assert image(ready, uefi["ImageId"])["BootMode"] == "uefi"
    with refused("InvalidSnapshot.InUse"):
        ready.delete_snapshot(SnapshotId=snapshot_id)


def test_what_can_not_be_registered(ready: Caller, stranger: Caller) -> None:
    volume_id = volume_of(ready, run_one(ready))
    snapshot_id = snapshot_of(ready, volume_id)
    pending = ready.create_snapshot(VolumeId=volume_id)["SnapshotId"]

    def mapped(**ebs: Any) -> list[dict[str, Any]]:
        return [{"DeviceName": "/dev/sda1", "Ebs": ebs}]

    for caller, request, code in (
        (ready, {"BlockDeviceMappings": []}, "MissingParameter"),
        (ready, {"RootDeviceName": "/dev/sdb"}, "InvalidBlockDeviceMapping"),
        (ready, {"BlockDeviceMappings": mapped(SnapshotId=snapshot_id, VolumeSize=20000)}, "InvalidBlockDeviceMapping"),
        (ready, {"BlockDeviceMappings": mapped(SnapshotId=pending)}, "IncorrectState"),
        (ready, {"BlockDeviceMappings": mapped(SnapshotId="snap-00000000000000000")}, "InvalidSnapshot.NotFound"),
        (ready, {"Architecture": "arm64"}, "UnsupportedOperation"),
        (ready, {"BootMode": "paravirtual"}, "InvalidParameterValue"),
        (ready, {"ImageLocation": "bucket/image.manifest.xml"}, "UnsupportedOperation"),
        (stranger, {}, "InvalidSnapshot.NotFound"),
    ):
        with refused(code):
            given = {"Name": "an image", "BlockDeviceMappings": mapped(SnapshotId=snapshot_id), **request}
            caller.register_image(**given)
    assert image_ids(ready, Owners=["self"]) == []


@pytest.fixture
def plain(ready: Caller) -> str:
    """An image whose snapshots are not encrypted."""
    ready.disable_ebs_encryption_by_default()
    return image_of(ready, run_one(ready))


def test_another_account_launches_what_it_may(ready: Caller, stranger: Caller, plain: str) -> None:
    with refused("InvalidAMIID.NotFound"):
        launch_one(stranger, ImageId=plain)
    add = {"LaunchPermission": {"Add": [{"UserId": stranger.account}]}}
    ready.modify_image_attribute(ImageId=plain, **add)
    assert ready.describe_image_attribute(ImageId=plain, Attribute="launchPermission")["LaunchPermissions"] == [
        {"UserId": stranger.account}
    ]
    assert image_ids(stranger, ExecutableUsers=["self"]) == [plain]
    assert image_ids(stranger, Owners=["self"]) == []
    instance_id = launch_one(stranger, ImageId=plain)["InstanceId"]
    (disk,) = spec(stranger, instance_id).volumes
    assert (disk.snapshot_id, disk.encrypted) == (snapshots_of(ready, plain)[0], True)
    for refusal in (
        lambda: stranger.modify_image_attribute(ImageId=plain, **add),
        lambda: stranger.deregister_image(ImageId=plain),
        lambda: stranger.describe_image_attribute(ImageId=plain, Attribute="launchPermission"),
        lambda: stranger.disable_image(ImageId=plain),
    ):
        with refused("AuthFailure"):
            refusal()
    ready.modify_image_attribute(
        ImageId=plain, Attribute="launchPermission", OperationType="remove", UserIds=[stranger.account]
    )
    with refused("InvalidAMIID.NotFound"):
        launch_one(stranger, ImageId=plain)
    assert shown(stranger, instance_id)["ImageId"] == plain


def test_an_image_is_public_where_the_account_allows_it(ready: Caller, stranger: Caller, plain: str) -> None:
    everybody = {"LaunchPermission": {"Add": [{"Group": "all"}]}}
    assert ready.get_image_block_public_access_state()["ImageBlockPublicAccessState"] == "block-new-sharing"
    with refused("OperationNotPermitted"):
        ready.modify_image_attribute(ImageId=plain, **everybody)
    assert ready.disable_image_block_public_access() == {"ImageBlockPublicAccessState": "unblocked"}
    ready.modify_image_attribute(ImageId=plain, **everybody)
    assert plain in image_ids(stranger, ExecutableUsers=["all"])
    ready.enable_image_block_public_access(ImageBlockPublicAccessState="block-new-sharing")
    assert image(stranger, plain)["Public"]
    ready.reset_image_attribute(ImageId=plain, Attribute="launchPermission")
    assert not image(ready, plain)["Public"]
    assert image_ids(stranger, Owners=[ready.account]) == []


def test_an_image_with_encrypted_snapshots_is_never_public(ready: Caller) -> None:
    image_id = image_of(ready, run_one(ready))
    ready.disable_image_block_public_access()
    with refused("InvalidParameterValue"):
        ready.modify_image_attribute(ImageId=image_id, LaunchPermission={"Add": [{"Group": "all"}]})


def test_attributes(ready: Caller, plain: str) -> None:
    ready.modify_image_attribute(ImageId=plain, Description={"Value": "newer"})
    assert ready.describe_image_attribute(ImageId=plain, Attribute="description")["Description"]["Value"] == "newer"
    for attribute, member in (("bootMode", "BootMode"), ("imdsSupport", "ImdsSupport"), ("kernel", "KernelId")):
        assert member in ready.describe_image_attribute(ImageId=plain, Attribute=attribute)
    mappings = ready.describe_image_attribute(ImageId=plain, Attribute="blockDeviceMapping")["BlockDeviceMappings"]
    assert mappings == image(ready, plain)["BlockDeviceMappings"]
    for request, code in (
        ({}, "MissingParameter"),
        ({"Attribute": "description", "ImdsSupport": {"Value": "v2.0"}}, "InvalidParameterCombination"),
        ({"Attribute": "bootMode", "Value": "uefi"}, "UnsupportedOperation"),
        ({"LaunchPermission": {"Add": [{"UserId": "nobody"}]}}, "InvalidAMIAttributeItemValue"),
        ({"LaunchPermission": {"Add": [{"Group": "friends"}]}}, "InvalidAMIAttributeItemValue"),
        ({"Attribute": "launchPermission", "UserIds": ["111122223333"]}, "InvalidParameterCombination"),
        ({"ImdsSupport": {"Value": "v1.0"}}, "InvalidParameterValue"),
    ):
        with refused(code):
            ready.modify_image_attribute(ImageId=plain, **request)


def test_a_deprecated_image_is_found_by_its_owner_alone(ready: Caller, stranger: Caller, plain: str) -> None:
    ready.modify_image_attribute(ImageId=plain, LaunchPermission={"Add": [{"UserId": stranger.account}]})
    now = dt.datetime.now(dt.UTC)
    with refused("InvalidParameterValue"):
        ready.enable_image_deprecation(ImageId=plain, DeprecateAt=now - dt.timedelta(days=1))
    with refused("InvalidParameterValue"):
        ready.enable_image_deprecation(ImageId=plain, DeprecateAt=now + dt.timedelta(days=366 * 11))
    ready.enable_image_deprecation(ImageId=plain, DeprecateAt=now + dt.timedelta(days=30))
    assert "DeprecationTime" in image(ready, plain)
    assert plain in image_ids(stranger)
    change(ready, plain, deprecated_at=now)
    assert plain in image_ids(ready)
    assert plain not in image_ids(stranger)
    assert plain in image_ids(stranger, IncludeDeprecated=True)
    assert image_ids(stranger, ImageIds=[plain]) == [plain]
    ready.disable_image_deprecation(ImageId=plain)
    assert plain in image_ids(stranger)


def test_a_disabled_image_is_nobodys_to_launch(ready: Caller, stranger: Caller, plain: str) -> None:
    ready.modify_image_attribute(ImageId=plain, LaunchPermission={"Add": [{"UserId": stranger.account}]})
    ready.disable_image(ImageId=plain)
    assert plain not in image_ids(ready)
    assert plain in image_ids(ready, IncludeDisabled=True)
    assert image(ready, plain)["State"] == "disabled"
    with refused("InvalidAMIID.Unavailable"):
        launch_one(ready, ImageId=plain)
    ready.enable_image(ImageId=plain)
    launch_one(ready, ImageId=plain)
    with refused("InvalidAMIID.NotFound"):
        launch_one(stranger, ImageId=plain)


def test_a_protected_image_stays(ready: Caller, plain: str) -> None:
    assert ready.enable_image_deregistration_protection(ImageId=plain, WithCooldown=True) == {
        "Return": "enabled-with-cooldown"
    }
    for _ in range(2):
        with refused("OperationNotPermitted"):
            ready.deregister_image(ImageId=plain)
        assert ready.disable_image_deregistration_protection(ImageId=plain) == {"Return": "disabled"}
    change(ready, plain, protected_until=dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1))
    assert ready.deregister_image(ImageId=plain)["Return"]


def test_a_snapshot_of_two_images_stays_with_the_other(ready: Caller) -> None:
    snapshot_id = snapshot_of(ready, volume_of(ready, run_one(ready)))
    mapping = [{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot_id}}]
    one, two = (ready.register_image(Name=f"image {n}", BlockDeviceMappings=mapping)["ImageId"] for n in (1, 2))
    answers = [
        ready.deregister_image(ImageId=each, DeleteAssociatedSnapshots=True)["DeleteSnapshotResults"][0]["ReturnCode"]
        for each in (one, two)
    ]
    assert answers == ["skipped", "success"]


def test_an_image_is_copied_to_another_region(ready: Caller, plain: str) -> None:
    """Its disks are copies there, encrypted as that region wants it; it is pending until they are made."""
    there = opened(ready.store, ready.account, "eu-west-1")
    ready.create_tags(Resources=[plain], Tags=[{"Key": "Name", "Value": "web"}])
    asked = {"Name": "copy", "SourceImageId": plain, "SourceRegion": "us-east-1", "ClientToken": "once"}
    image_id = there.copy_image(**asked, CopyImageTags=True)["ImageId"]
    assert there.copy_image(**asked, CopyImageTags=True)["ImageId"] == image_id
    copied = image(there, image_id)
    assert (copied["State"], copied["SourceImageId"], copied["SourceImageRegion"]) == ("pending", plain, "us-east-1")
    assert copied["Tags"] == [{"Key": "Name", "Value": "web"}]
    (mapping,) = copied["BlockDeviceMappings"]
    assert mapping["Ebs"]["Encrypted"]
    assert mapping["Ebs"]["SnapshotId"] not in snapshots_of(ready, plain)
    host_took(ready.store, mapping["Ebs"]["SnapshotId"])
    assert image(there, image_id)["State"] == "available"
    assert image_ids(ready, Owners=["self"]) == [plain]
    assert spec(there, launch_one(there, ImageId=image_id)["InstanceId"]).kernel_image_id == IMAGE
    ready.deregister_image(ImageId=plain, DeleteAssociatedSnapshots=True)
    assert image(there, image_id)["State"] == "available"


def test_what_is_not_copied(ready: Caller, stranger: Caller, plain: str) -> None:
    for caller, request, code in (
        (ready, {"SourceImageId": "ami-00000000000000000"}, "InvalidAMIID.NotFound"),
        (ready, {"SourceRegion": "eu-west-1"}, "InvalidAMIID.NotFound"),
        (ready, {"SourceImageId": IMAGE}, "UnsupportedOperation"),
        (ready, {"Name": "an image"}, "InvalidAMIName.Duplicate"),
        (ready, {"DestinationOutpostArn": "arn:aws:outposts:us-east-1::outpost/op-1"}, "UnsupportedOperation"),
        (stranger, {}, "InvalidAMIID.NotFound"),
    ):
        with refused(code):
            caller.copy_image(**{"Name": "copy", "SourceImageId": plain, "SourceRegion": "us-east-1", **request})
    ready.modify_image_attribute(ImageId=plain, LaunchPermission={"Add": [{"UserId": stranger.account}]})
    with refused("InvalidRequest"):
        stranger.copy_image(Name="copy", SourceImageId=plain, SourceRegion="us-east-1")
    (snapshot_id,) = snapshots_of(ready, plain)
    ready.modify_snapshot_attribute(
        SnapshotId=snapshot_id, CreateVolumePermission={"Add": [{"UserId": stranger.account}]}
    )
    image_id = stranger.copy_image(Name="copy", SourceImageId=plain, SourceRegion="us-east-1")["ImageId"]
    assert image(stranger, image_id)["OwnerId"] == stranger.account


def test_it_is_known_when_an_image_was_last_launched(ready: Caller, plain: str) -> None:
    assert "LastLaunchedTime" not in image(ready, plain)
    launch_one(ready, ImageId=plain)
    assert image(ready, plain)["LastLaunchedTime"].startswith(f"{dt.datetime.now(dt.UTC):%Y-%m-}")
    attribute = ready.describe_image_attribute(ImageId=plain, Attribute="lastLaunchedTime")
    assert attribute["LastLaunchedTime"]["Value"] == image(ready, plain)["LastLaunchedTime"]


def test_the_images_of_an_account_go_with_it(ready: Caller, stranger: Caller, plain: str) -> None:
    ready.modify_image_attribute(ImageId=plain, LaunchPermission={"Add": [{"UserId": stranger.account}]})
    with ready.store.write() as tx:
        account = tx.get(Account, ready.account)
        assert account is not None
        close_account(tx, account)
        assert tx.count(Image, owner_id=ready.account) == tx.count(ImagePermission) == 0
        assert tx.count(ImageMapping, image_id=plain) == 0
    with refused("InvalidAMIID.NotFound"):
        stranger.describe_images(ImageIds=[plain])
