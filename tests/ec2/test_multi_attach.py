"""Multi-Attach: volumes that several instances have at once, what is refused of them, and when they go."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.control.reports import apply_report
from freehold.control.specs import guest_specs, volumes_to_delete
from freehold.host.wire import Report
from freehold.records.usage import UsageEntry
from freehold.volume_types import MULTI_ATTACHMENTS_MAX
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import host_reports, record, run_one, stop, terminate
from tests.ec2.test_volume_attachments import ZONE, attach, create, described, made, states
from tests.ec2.test_volume_modifications import modification, rest

IO2: dict[str, Any] = {"VolumeType": "io2", "Iops": 1000}


@pytest.fixture
def pair(ready: Caller) -> tuple[str, str]:
    return running(ready), running(ready)


def running(caller: Caller) -> str:
    return run_one(caller, Placement={"AvailabilityZone": ZONE})


def shared(caller: Caller, *instance_ids: str, **settings: Any) -> str:
    """A volume that these instances have."""
    volume_id = made(caller, **IO2 | settings, MultiAttachEnabled=True)
    for each in instance_ids:
        attach(caller, volume_id, each)
        host_reports(caller.store, each, "running", volumes=(volume_id,), disks_fit=True)
    return volume_id


def test_a_volume_is_attached_to_several_instances(ready: Caller, pair: tuple[str, str]) -> None:
    one, other = pair
    volume_id = shared(ready)
    assert attach(ready, volume_id, one)["State"] == "attaching"
    with refused("VolumeInUse"):
        attach(ready, volume_id, one, "/dev/sdg")
    attach(ready, volume_id, other, "/dev/sdg")
    assert states(ready, volume_id) == ("in-use", ["attaching", "attaching"])
    host_reports(ready.store, other, "running", volumes=(volume_id,))
    assert states(ready, volume_id) == ("in-use", ["attaching", "attached"])
    with ready.store.read() as tx:
        specs = guest_specs(tx, ready.config, [record(ready.store, each) for each in pair])
    assert [[v.volume_id for v in spec.volumes if v.shared] for spec in specs] == [[volume_id], [volume_id]]
    found = ready.describe_volumes(Filters=[{"Name": "multi-attach-enabled", "Values": ["true"]}])["Volumes"]
    assert [(each["VolumeId"], each["MultiAttachEnabled"]) for each in found] == [(volume_id, True)]

    with refused("MissingParameter"):
        ready.detach_volume(VolumeId=volume_id)
    with refused("VolumeInUse"):
        ready.delete_volume(VolumeId=volume_id)
    ready.detach_volume(VolumeId=volume_id, InstanceId=one)
    host_reports(ready.store, one, "running", volumes=())
    assert states(ready, volume_id) == ("in-use", ["attached"])
    with refused("MissingParameter"):
        ready.detach_volume(VolumeId=volume_id)
    ready.detach_volume(VolumeId=volume_id, InstanceId=other)
    host_reports(ready.store, other, "running", volumes=())
    assert states(ready, volume_id) == ("available", [])


def test_no_more_than_sixteen_have_it(ready: Caller) -> None:
    volume_id = shared(ready)
    for _ in range(MULTI_ATTACHMENTS_MAX):
        attach(ready, volume_id, running(ready))
    with refused("AttachmentLimitExceeded"):
        attach(ready, volume_id, running(ready))


def test_it_is_no_root_volume(ready: Caller, pair: tuple[str, str]) -> None:
    stop(ready, pair[0])
    (mapping,) = [each for each in record_mappings(ready, pair[0]) if each["DeviceName"] == "/dev/xvda"]
    ready.detach_volume(VolumeId=mapping["Ebs"]["VolumeId"])
    with refused("UnsupportedOperation"):
        attach(ready, shared(ready), pair[0], "/dev/xvda")


def record_mappings(caller: Caller, instance_id: str) -> Any:
    found = caller.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    return found["BlockDeviceMappings"]


@pytest.mark.parametrize("volume_type", ["gp2", "gp3", "st1", "standard"])
def test_other_types_do_not_have_it(ready: Caller, volume_type: str) -> None:
    with refused("InvalidParameterCombination"):
        create(ready, VolumeType=volume_type, Size=125, MultiAttachEnabled=True)


def test_it_is_modified_when_all_see_that(ready: Caller, pair: tuple[str, str]) -> None:
    one, other = pair
    volume_id = shared(ready, one, other)
    ready.modify_volume(VolumeId=volume_id, Size=9)
    host_reports(ready.store, one, "running", volumes=(volume_id,), disks_fit=True)
    assert modification(ready, volume_id)["ModificationState"] == "modifying"
    host_reports(ready.store, other, "running", volumes=(volume_id,), disks_fit=True)
    assert modification(ready, volume_id)["ModificationState"] == "completed"

    rest(ready, volume_id)
    ready.modify_volume(VolumeId=volume_id, Size=10)
    host_reports(ready.store, one, "running", volumes=(volume_id,), disks_fit=True)
    ready.detach_volume(VolumeId=volume_id, InstanceId=other)
    host_reports(ready.store, other, "running", volumes=())
    assert modification(ready, volume_id)["ModificationState"] == "completed"


def test_it_is_enabled_while_nobody_has_it_and_disabled_while_one_has(ready: Caller, pair: tuple[str, str]) -> None:
    one, other = pair
    volume_id = made(ready, **IO2)
    attach(ready, volume_id, one)
    with refused("UnsupportedOperation"):
        ready.modify_volume(VolumeId=volume_id, MultiAttachEnabled=True)
    ready.detach_volume(VolumeId=volume_id)
    host_reports(ready.store, one, "running", volumes=())
    changed = ready.modify_volume(VolumeId=volume_id, MultiAttachEnabled=True)["VolumeModification"]
    assert (changed["OriginalMultiAttachEnabled"], changed["TargetMultiAttachEnabled"]) == (False, True)
    assert described(ready, volume_id)["MultiAttachEnabled"]
    wanted = [{"Name": "targetMultiAttachEnabled", "Values": ["true"]}]
    (found,) = ready.describe_volumes_modifications(Filters=wanted)["VolumesModifications"]
    assert found["VolumeId"] == volume_id

    rest(ready, volume_id)
    for each in pair:
        attach(ready, volume_id, each)
    for request, code in (
        ({"MultiAttachEnabled": False}, "UnsupportedOperation"),
        ({"VolumeType": "gp3"}, "InvalidParameterCombination"),
        ({"VolumeType": "io1", "Iops": 100}, "UnsupportedOperation"),
    ):
        with refused(code):
            ready.modify_volume(VolumeId=volume_id, **request)
    ready.detach_volume(VolumeId=volume_id, InstanceId=other)
    host_reports(ready.store, other, "running", volumes=())
    ready.modify_volume(VolumeId=volume_id, MultiAttachEnabled=False)
    assert not described(ready, volume_id)["MultiAttachEnabled"]


def test_of_io1_it_is_set_for_ever_and_nothing_is_modified(ready: Caller) -> None:
    plain = made(ready, VolumeType="io1", Iops=100)
    with refused("UnsupportedOperation"):
        ready.modify_volume(VolumeId=plain, MultiAttachEnabled=True)
    volume_id = made(ready, VolumeType="io1", Iops=100, MultiAttachEnabled=True)
    for request in ({"MultiAttachEnabled": False}, {"Size": 9}, {"Iops": 200}, {"VolumeType": "io2", "Iops": 100}):
        with refused("UnsupportedOperation"):
            ready.modify_volume(VolumeId=volume_id, **request)


def test_the_last_instance_says_whether_it_goes(ready: Caller, pair: tuple[str, str]) -> None:
    one, other = pair
    volume_id, kept = shared(ready, *pair), shared(ready)
    for each in pair:
        attach(ready, kept, each, "/dev/sdg")
    goes = [{"DeviceName": "/dev/sdf", "Ebs": {"DeleteOnTermination": True}}]
    first_only = [{"DeviceName": "/dev/sdg", "Ebs": {"DeleteOnTermination": True}}]
    for each in pair:
        ready.modify_instance_attribute(InstanceId=each, BlockDeviceMappings=goes)
    ready.modify_instance_attribute(InstanceId=one, BlockDeviceMappings=first_only)
    with ready.store.read() as tx:
        (spec,) = guest_specs(tx, ready.config, [record(ready.store, one)])
    assert not {volume_id, kept} & set(spec.delete_volumes)
    terminate(ready, one)
    assert states(ready, volume_id)[0] == states(ready, kept)[0] == "in-use"
    terminate(ready, other)
    assert states(ready, kept) == ("available", [])
    assert states(ready, volume_id) == ("deleting", [])
    with ready.store.read() as tx:
        assert volumes_to_delete(tx, "host-1") == (volume_id,)
        assert tx.count(UsageEntry, resource_id=volume_id, closed_at=None) == 0
    with ready.store.write() as tx:
        apply_report(tx, "host-1", Report((), deleted_volumes=(volume_id,)))
    with refused("InvalidVolume.NotFound"):
        described(ready, volume_id)
