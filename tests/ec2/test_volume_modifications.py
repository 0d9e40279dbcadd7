"""ModifyVolume, what is known of modifications, and the status and attributes of volumes."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from freehold.control.specs import guest_specs
from freehold.records.compute import VolumeModification
from freehold.records.usage import UsageEntry
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import host_reports, record, stop
from tests.ec2.test_volume_attachments import attach, create, described, instance_id, made

__all__ = ["instance_id"]


def rest(caller: Caller, volume_id: str) -> None:
    """Let six hours pass since the last modification."""
    with caller.store.write() as tx:
        last = tx.get(VolumeModification, volume_id)
        assert last is not None
        tx.update(last, started_at=tx.now - dt.timedelta(hours=6))


def modification(caller: Caller, volume_id: str) -> Any:
    (found,) = caller.describe_volumes_modifications(VolumeIds=[volume_id])["VolumesModifications"]
    return found


def test_a_disk_in_use_is_modified_when_its_host_says_so(ready: Caller, instance_id: str) -> None:
    volume_id = made(ready)
    attach(ready, volume_id, instance_id)
    with refused("InvalidVolumeModification.NotFound"):
        modification(ready, volume_id)
    answer = ready.modify_volume(VolumeId=volume_id, Size=10, Throughput=250)["VolumeModification"]
    assert (answer["ModificationState"], answer["Progress"]) == ("modifying", 0)
    assert (answer["OriginalSize"], answer["TargetSize"], answer["TargetThroughput"]) == (8, 10, 250)
    with refused("IncorrectModificationState"):
        ready.modify_volume(VolumeId=volume_id, Size=11)
    with ready.store.read() as tx:
        (spec,) = guest_specs(tx, ready.config, [record(ready.store, instance_id)])
    (volume,) = [volume for volume in spec.volumes if volume.volume_id == volume_id]
    assert (volume.size_gib, volume.limits.bytes_per_second) == (10, 250 << 20)
    host_reports(ready.store, instance_id, "running", volumes=(volume_id,))
    assert modification(ready, volume_id)["ModificationState"] == "modifying"
    host_reports(ready.store, instance_id, "running", volumes=(volume_id,), disks_fit=True)
    assert (modification(ready, volume_id)["ModificationState"], modification(ready, volume_id)["Progress"]) == (
        "completed",
        100,
    )
    assert described(ready, volume_id)["Size"] == 10
    with refused("VolumeModificationRateExceeded"):
        ready.modify_volume(VolumeId=volume_id, Size=11)
    rest(ready, volume_id)
    ready.modify_volume(VolumeId=volume_id, Size=11)


def test_another_type_has_its_own_performance_and_price(ready: Caller) -> None:
    volume_id = made(ready, Size=200)
    assert ready.modify_volume(VolumeId=volume_id, VolumeType="gp2")["VolumeModification"]["TargetIops"] == 600
    rest(ready, volume_id)
    with refused("MissingParameter"):
        ready.modify_volume(VolumeId=volume_id, VolumeType="io2")
    ready.modify_volume(VolumeId=volume_id, VolumeType="io2", Iops=5000)
    rest(ready, volume_id)
    ready.modify_volume(VolumeId=volume_id, Size=201)
    volume = described(ready, volume_id)
    assert (volume["VolumeType"], volume["Iops"], volume["Size"], "Throughput" in volume) == ("io2", 5000, 201, False)
    with ready.store.read() as tx:
        held = tx.select(UsageEntry, resource_id=volume_id, closed_at=None)
    assert {entry.item: entry.quantity for entry in held} == {"volume:io2": 201, "volume-iops:io2": 5000}
    found = ready.describe_volumes_modifications(Filters=[{"Name": "target-size", "Values": ["201"]}])
    assert [each["VolumeId"] for each in found["VolumesModifications"]] == [volume_id]


def test_a_modification_ends_when_its_guest_does(ready: Caller, instance_id: str) -> None:
    volume_id = made(ready)
    attach(ready, volume_id, instance_id)
    ready.modify_volume(VolumeId=volume_id, Size=9)
    stop(ready, instance_id)
    assert modification(ready, volume_id)["ModificationState"] == "completed"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({}, "InvalidParameterCombination"),
        ({"Size": 7}, "InvalidParameterValue"),
        ({"Iops": 4001}, "InvalidParameterValue"),
        ({"VolumeType": "gp2", "Throughput": 125}, "InvalidParameterCombination"),
        ({"VolumeType": "gp9"}, "UnknownVolumeType"),
        ({"MultiAttachEnabled": True}, "InvalidParameterCombination"),
    ],
)
def test_what_can_not_be_modified(ready: Caller, request_: dict[str, Any], code: str) -> None:
    volume_id = made(ready)
    with refused(code):
        ready.modify_volume(VolumeId=volume_id, **request_)


def test_a_volume_that_is_not_there_yet_is_not_modified(ready: Caller) -> None:
    with refused("IncorrectState"):
        ready.modify_volume(VolumeId=create(ready)["VolumeId"], Size=9)


def test_status_and_attributes(ready: Caller, instance_id: str) -> None:
    volume_id = made(ready)
    attach(ready, volume_id, instance_id)
    (status,) = ready.describe_volume_status(VolumeIds=[volume_id])["VolumeStatuses"]
    assert status["VolumeStatus"]["Status"] == "ok"
    assert [each["InstanceId"] for each in status["AttachmentStatuses"]] == [instance_id]
    host_reports(ready.store, instance_id, "failed", disks_fail=True)
    failing = [{"Name": "volume-status.status", "Values": ["impaired"]}]
    found = ready.describe_volume_status(Filters=failing)["VolumeStatuses"]
    assert volume_id in [each["VolumeId"] for each in found]
    assert {each["VolumeStatus"]["Status"] for each in found} == {"impaired"}

    assert ready.enable_volume_io(VolumeId=volume_id) == {}
    ready.modify_volume_attribute(VolumeId=volume_id, AutoEnableIO={"Value": True})
    attribute = ready.describe_volume_attribute(VolumeId=volume_id, Attribute="autoEnableIO")
    assert attribute["AutoEnableIO"] == {"Value": True}
    with refused("InvalidParameterCombination"):
        ready.modify_volume_attribute(VolumeId=volume_id)
