"""CreateVolume, AttachVolume, DetachVolume: what is refused, and how states follow what the host reports."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from freehold.control.reports import apply_report
from freehold.control.specs import guest_specs, volumes_to_make
from freehold.host.wire import Report
from freehold.records.compute import Host, Instance, Volume
from freehold.records.ids import HostId
from freehold.records.usage import UsageEntry
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import add_host, host_reports, launch_one, record, run_one, shown, stop, terminate

ZONE = "us-east-1a"


def create(caller: Caller, **request: Any) -> Any:
    return caller.create_volume(**{"AvailabilityZone": ZONE, "Size": 8, "VolumeType": "gp3"} | request)


def made(caller: Caller, **request: Any) -> str:
    """The id of a volume that its host has made."""
    volume_id: str = create(caller, **request)["VolumeId"]
    with caller.store.write() as tx:
        apply_report(tx, "host-1", Report((), made_volumes=(volume_id,)))
    return volume_id


def described(caller: Caller, volume_id: str) -> Any:
    (volume,) = caller.describe_volumes(VolumeIds=[volume_id])["Volumes"]
    return volume


def states(caller: Caller, volume_id: str) -> tuple[str, list[str]]:
    volume = described(caller, volume_id)
    return volume["State"], [attachment["State"] for attachment in volume["Attachments"]]


def root_of(caller: Caller, instance_id: str) -> str:
    (mapping,) = shown(caller, instance_id)["BlockDeviceMappings"]
    volume_id: str = mapping["Ebs"]["VolumeId"]
    return volume_id


@pytest.fixture
def instance_id(ready: Caller) -> str:
    return run_one(ready, Placement={"AvailabilityZone": ZONE})


def attach(caller: Caller, volume_id: str, instance_id: str, device: str = "/dev/sdf") -> Any:
    return caller.attach_volume(VolumeId=volume_id, InstanceId=instance_id, Device=device)


def test_a_volume_is_made_attached_detached_and_deleted(ready: Caller, instance_id: str) -> None:
    root = root_of(ready, instance_id)
    answer = create(ready, TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "Name", "Value": "data"}]}])
    volume_id = answer["VolumeId"]
    assert (answer["State"], answer["Iops"], answer["Throughput"]) == ("creating", 3000, 125)
    assert answer["Tags"] == [{"Key": "Name", "Value": "data"}]
    with refused("IncorrectState"):
        attach(ready, volume_id, instance_id)
    with ready.store.write() as tx:
        assert [volume.id for volume in volumes_to_make(tx, "host-1")] == [volume_id]
        apply_report(tx, "host-2", Report((), made_volumes=(volume_id,)))
    assert states(ready, volume_id) == ("creating", [])
    with ready.store.write() as tx:
        apply_report(tx, "host-1", Report((), made_volumes=(volume_id,)))
    assert states(ready, volume_id) == ("available", [])

    assert attach(ready, volume_id, instance_id)["State"] == "attaching"
    host_reports(ready.store, instance_id, "running", volumes=(root,))
    assert states(ready, volume_id) == ("in-use", ["attaching"])
    host_reports(ready.store, instance_id, "running", volumes=(root, volume_id))
    assert states(ready, volume_id) == ("in-use", ["attached"])
    assert [each["DeviceName"] for each in shown(ready, instance_id)["BlockDeviceMappings"]] == [
        "/dev/xvda",
        "/dev/sdf",
    ]

    assert ready.detach_volume(VolumeId=volume_id)["State"] == "detaching"
    with ready.store.read() as tx:
        (spec,) = guest_specs(tx, ready.config, [record(ready.store, instance_id)])
    assert (spec.detach, spec.torn_out, [each.volume_id for each in spec.volumes]) == ((volume_id,), (), [root])
    host_reports(ready.store, instance_id, "running", volumes=(root, volume_id))
    assert states(ready, volume_id) == ("in-use", ["detaching"])
    ready.detach_volume(VolumeId=volume_id, InstanceId=instance_id, Force=True)
    with ready.store.read() as tx:
        (spec,) = guest_specs(tx, ready.config, [record(ready.store, instance_id)])
    assert spec.torn_out == (volume_id,)
    host_reports(ready.store, instance_id, "running", volumes=(root,))
    assert states(ready, volume_id) == ("available", [])
    assert ready.delete_volume(VolumeId=volume_id) == {}


def test_a_stopped_instance_gains_and_loses_volumes_at_once(ready: Caller, instance_id: str) -> None:
    root, volume_id = root_of(ready, instance_id), made(ready)
    stop(ready, instance_id)
    assert attach(ready, volume_id, instance_id)["State"] == "attached"
    ready.detach_volume(VolumeId=volume_id, Device="/dev/sdf")
    assert states(ready, volume_id) == ("available", [])
    ready.detach_volume(VolumeId=root)
    with refused("InvalidParameterValue"):
        ready.start_instances(InstanceIds=[instance_id])
    attach(ready, root, instance_id, "/dev/xvda")
    ready.start_instances(InstanceIds=[instance_id])


def test_volumes_that_were_attached_outlive_their_instance_unless_they_are_to_go(
    ready: Caller, instance_id: str
) -> None:
    kept, gone = made(ready), made(ready)
    for volume_id, device in ((kept, "/dev/sdf"), (gone, "/dev/sdg")):
        attach(ready, volume_id, instance_id, device)
    host_reports(ready.store, instance_id, "running", volumes=(root_of_first(ready, instance_id), kept, gone))
    mapping = {"DeviceName": "/dev/sdg", "Ebs": {"DeleteOnTermination": True}}
    ready.modify_instance_attribute(InstanceId=instance_id, BlockDeviceMappings=[mapping])
    terminate(ready, instance_id)
    assert [volume["VolumeId"] for volume in ready.describe_volumes()["Volumes"]] == [kept]
    assert states(ready, kept) == ("available", [])


def root_of_first(caller: Caller, instance_id: str) -> str:
    root: str = shown(caller, instance_id)["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    return root


def test_what_can_not_be_attached(ready: Caller, instance_id: str) -> None:
    volume_id, other = made(ready), made(ready)
    for device in ("", "sdf1x", "/dev/../sdf", "/dev/sdi1", "/dev/nvme1n1"):
        with refused("InvalidParameterValue"):
            attach(ready, volume_id, instance_id, device)
    attach(ready, volume_id, instance_id)
    with refused("VolumeInUse"):
        attach(ready, volume_id, instance_id, "/dev/sdg")
    with refused("InvalidParameterValue"):
        attach(ready, other, instance_id)
    with refused("InvalidVolume.ZoneMismatch"):
        attach(ready, made(ready, AvailabilityZone="us-east-1b"), instance_id, "/dev/sdg")
    with refused("IncorrectState"):
        attach(ready, other, launch_one(ready, Placement={"AvailabilityZone": ZONE})["InstanceId"])
    with ready.store.write() as tx:
        tx.insert(replace(tx.get(Host, "host-1"), id=HostId("host-2")))
        tx.update(tx.get(Volume, other), host_id=HostId("host-2"))
    with refused("UnsupportedOperation"):
        attach(ready, other, instance_id, "/dev/sdg")


def test_an_instance_has_so_many_devices_and_no_more(ready: Caller, instance_id: str) -> None:
    letters = "bcdefghijklmnopqrstuvwxyz"
    names = [f"/dev/sd{letter}" for letter in letters] + ["/dev/xvdba", "/dev/xvdbb"]
    for name in names[:26]:
        attach(ready, made(ready), instance_id, name)
    with refused("AttachmentLimitExceeded"):
        attach(ready, made(ready), instance_id, names[26])


def test_what_can_not_be_detached(ready: Caller, instance_id: str) -> None:
    volume_id, other = made(ready), run_one(ready)
    with refused("IncorrectState"):
        ready.detach_volume(VolumeId=volume_id)
    with refused("OperationNotPermitted"):
        ready.detach_volume(VolumeId=root_of(ready, instance_id), Force=True)
    attach(ready, volume_id, instance_id)
    for wrong in ({"InstanceId": other}, {"Device": "/dev/sdg"}):
        with refused("InvalidAttachment.NotFound"):
            ready.detach_volume(VolumeId=volume_id, **wrong)
    with refused("VolumeInUse"):
        ready.delete_volume(VolumeId=volume_id)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"VolumeType": "gp4"}, "UnknownVolumeType"),
        ({"Size": 0}, "InvalidParameterValue"),
        ({"Size": 65537}, "InvalidParameterValue"),
        ({"Iops": 2999}, "InvalidParameterValue"),
        ({"Iops": 4001}, "InvalidParameterValue"),  # 500 for each GiB
        ({"Throughput": 751}, "InvalidParameterValue"),  # a quarter of the IOPS
        ({"Throughput": 124}, "InvalidParameterValue"),
        ({"VolumeType": "gp2", "Iops": 3000}, "InvalidParameterCombination"),
        ({"VolumeType": "io2", "Iops": 3000, "Throughput": 125}, "InvalidParameterCombination"),
        ({"VolumeType": "io1"}, "MissingParameter"),
        ({"VolumeType": "io1", "Iops": 401}, "InvalidParameterValue"),
        ({"VolumeType": "st1", "Size": 124}, "InvalidParameterValue"),
        ({"VolumeType": "standard", "Size": 1025}, "InvalidParameterValue"),
        ({"AvailabilityZone": "us-east-1z"}, "InvalidZone.NotFound"),
        ({"AvailabilityZoneId": "use1-az1"}, "InvalidParameterCombination"),
        ({"KmsKeyId": "alias/mine", "Encrypted": False}, "InvalidParameterDependency"),
        ({"OutpostArn": "arn:aws:outposts:us-east-1:1:outpost/op-1"}, "UnsupportedOperation"),
    ],
)
def test_what_can_not_be_made(ready: Caller, request_: dict[str, Any], code: str) -> None:
    ready.disable_ebs_encryption_by_default()
    with refused(code):
        create(ready, **request_)


def test_where_no_host_is_there_is_no_volume(caller: Caller) -> None:
    with refused("InsufficientVolumeCapacity"):
        create(caller)
    add_host(caller.store, zone="us-east-1b")
    with refused("InsufficientVolumeCapacity"):
        create(caller)
    assert create(caller, AvailabilityZone="us-east-1b")["State"] == "creating"


def test_a_request_that_is_sent_twice_makes_one_volume(ready: Caller) -> None:
    one, other = (create(ready, ClientToken="once") for _ in range(2))
    assert one["VolumeId"] == other["VolumeId"]
    with refused("IdempotentParameterMismatch"):
        create(ready, ClientToken="once", Size=9)


def test_what_is_asked_for_beyond_the_type_is_metered(ready: Caller) -> None:
    wanted = {
        made(ready, Iops=4000, Throughput=200): {"volume:gp3": 8, "volume-iops:gp3": 1000, "volume-throughput:gp3": 75},
        made(ready, VolumeType="io2", Iops=500): {"volume:io2": 8, "volume-iops:io2": 500},
        made(ready, VolumeType="standard"): {"volume:standard": 8},
    }
    with ready.store.read() as tx:
        for volume_id, items in wanted.items():
            found = tx.select(UsageEntry, resource_id=volume_id, closed_at=None)
            assert {entry.item: entry.quantity for entry in found} == items
    for volume_id in wanted:
        ready.delete_volume(VolumeId=volume_id)
    with ready.store.read() as tx:
        assert tx.count(UsageEntry, closed_at=None) == 0


def test_volumes_are_found_by_their_attachments(ready: Caller, instance_id: str) -> None:
    root, volume_id = root_of(ready, instance_id), made(ready)
    attach(ready, volume_id, instance_id)

    def found(name: str, value: str) -> set[str]:
        answer = ready.describe_volumes(Filters=[{"Name": name, "Values": [value]}])
        return {volume["VolumeId"] for volume in answer["Volumes"]}

    assert found("attachment.instance-id", instance_id) == {root, volume_id}
    assert found("attachment.status", "attaching") == {volume_id}
    assert found("attachment.device", "/dev/sdf") == {volume_id}
    assert found("attachment.delete-on-termination", "true") == {root}
    assert found("volume-type", "gp3") == {root, volume_id}
    with ready.store.read() as tx:
        assert tx.count(Instance) == 1
