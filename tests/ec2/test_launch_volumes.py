"""The disks of a launch beside its root volume: of the image, of the request, of snapshots."""

from __future__ import annotations

from typing import Any

from freehold.control.specs import guest_specs
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import IMAGE, launch_one, record, run_one
from tests.ec2.snapshotting import host_took, snapshot_of
from tests.ec2.test_images import root, snapshots_of
from tests.ec2.test_images_types import filters
from tests.ec2.test_volumes import volume_of


def disks(caller: Caller, instance_id: str) -> dict[str, Any]:
    """The volumes of an instance as DescribeVolumes shows them, by device."""
    found = caller.describe_volumes(Filters=filters(attachment__instance_id=instance_id))["Volumes"]
    return {volume["Attachments"][0]["Device"]: volume for volume in found}


def mapped(device: str, **ebs: Any) -> dict[str, Any]:
    return {"DeviceName": device, "Ebs": ebs}


def test_a_launch_has_the_disks_that_are_asked_for(ready: Caller) -> None:
    snapshot_id = snapshot_of(ready, volume_of(ready, run_one(ready)))
    given = [
        root(VolumeSize=2),
        mapped("/dev/sdf", VolumeSize=8, VolumeType="gp3", Iops=4000, Throughput=200, DeleteOnTermination=False),
        mapped("/dev/sdg", SnapshotId=snapshot_id),
    ]
    instance_id = run_one(ready, BlockDeviceMappings=given)
    found = disks(ready, instance_id)
    assert sorted(found) == ["/dev/sdf", "/dev/sdg", "/dev/xvda"]
    empty, restored = found["/dev/sdf"], found["/dev/sdg"]
    assert (empty["Size"], empty["VolumeType"], empty["Iops"], empty["Throughput"]) == (8, "gp3", 4000, 200)
    assert (empty["Encrypted"], empty["Attachments"][0]["DeleteOnTermination"]) == (True, False)
    assert (restored["Size"], restored["SnapshotId"], restored["VolumeType"]) == (1, snapshot_id, "gp2")
    with ready.store.read() as tx:
        (spec,) = guest_specs(tx, ready.config, [record(ready.store, instance_id)])
    assert {(each.device, each.boot, each.snapshot_id) for each in spec.volumes} == {
        ("/dev/xvda", True, None),
        ("/dev/sdf", False, None),
        ("/dev/sdg", False, snapshot_id),
    }


def test_the_disks_of_an_image_come_along_unless_they_are_left_out(ready: Caller) -> None:
    origin = run_one(ready, BlockDeviceMappings=[mapped("/dev/sdf", VolumeSize=3)])
    image_id = ready.create_image(InstanceId=origin, Name="two disks", NoReboot=True)["ImageId"]
    first, second = snapshots_of(ready, image_id)
    with refused("InvalidAMIID.Unavailable"):
        launch_one(ready, ImageId=image_id)
    host_took(ready.store, first, second)
    found = disks(ready, run_one(ready, ImageId=image_id))
    assert {device: volume["SnapshotId"] for device, volume in found.items()} == {
        "/dev/xvda": first,
        "/dev/sdf": second,
    }
    left_out = run_one(ready, ImageId=image_id, BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "NoDevice": ""}])
    assert sorted(disks(ready, left_out)) == ["/dev/xvda"]
    larger = run_one(ready, ImageId=image_id, BlockDeviceMappings=[mapped("/dev/sdf", VolumeSize=9)])
    assert disks(ready, larger)["/dev/sdf"]["Size"] == 9


def test_disks_that_can_not_be(ready: Caller) -> None:
    snapshot_id = snapshot_of(ready, volume_of(ready, run_one(ready, BlockDeviceMappings=[root(VolumeSize=4)])))
    for given, code in (
        ([mapped("/dev/sdf")], "InvalidBlockDeviceMapping"),
        ([mapped("/dev/sdf", VolumeSize=1), mapped("/dev/sdf", VolumeSize=1)], "InvalidBlockDeviceMapping"),
        ([{"DeviceName": "/dev/xvda", "NoDevice": ""}], "InvalidBlockDeviceMapping"),
        ([mapped("../../disk", VolumeSize=1)], "InvalidParameterValue"),
        ([mapped("/dev/sdf", SnapshotId=snapshot_id, VolumeSize=3)], "InvalidBlockDeviceMapping"),
        ([mapped("/dev/sdf", SnapshotId="snap-00000000000000000")], "InvalidSnapshot.NotFound"),
        ([mapped("/dev/sdf", VolumeSize=1, VolumeType="gp3", Iops=10**6)], "InvalidParameterValue"),
        ([{"DeviceName": "/dev/sdf", "VirtualName": "ephemeral0"}], "UnsupportedOperation"),
    ):
        with refused(code):
            launch_one(ready, ImageId=IMAGE, BlockDeviceMappings=given)
