"""DeleteVolume: of a volume that outlived its instance."""

from __future__ import annotations

from freehold.control.reports import apply_report
from freehold.host.wire import Report
from freehold.records.usage import UsageEntry, usage
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import run_one, terminate

KEPT = [{"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}}]


def volume_of(caller: Caller, instance_id: str) -> str:
    answer = caller.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [instance_id]}])
    (volume,) = answer["Volumes"]
    return str(volume["VolumeId"])


def state(caller: Caller, volume_id: str) -> str:
    (volume,) = caller.describe_volumes(VolumeIds=[volume_id])["Volumes"]
    return str(volume["State"])


def test_a_volume_outlives_its_instance_and_is_deleted(ready: Caller) -> None:
    instance_id = run_one(ready, BlockDeviceMappings=KEPT)
    volume_id = volume_of(ready, instance_id)
    ready.create_tags(Resources=[volume_id], Tags=[{"Key": "Name", "Value": "data"}])
    terminate(ready, instance_id)
    assert state(ready, volume_id) == "available"

    for _ in range(2):
        assert ready.delete_volume(VolumeId=volume_id) == {}
        assert state(ready, volume_id) == "deleting"
    with ready.store.write() as tx:
        assert tx.count(UsageEntry, usage.c.closed_at.is_(None)) == 0
        apply_report(tx, "host-1", Report((), (), (volume_id,)))
    with refused("InvalidVolume.NotFound"):
        ready.delete_volume(VolumeId=volume_id)
    assert ready.describe_tags()["Tags"] == []


def test_a_volume_that_is_attached_stays(ready: Caller) -> None:
    instance_id = run_one(ready)
    volume_id = volume_of(ready, instance_id)
    with refused("VolumeInUse"):
        ready.delete_volume(VolumeId=volume_id)
    assert state(ready, volume_id) == "in-use"


def test_a_volume_of_someone_else_is_not_there(ready: Caller, stranger: Caller) -> None:
    volume_id = volume_of(ready, run_one(ready))
    with refused("InvalidVolume.NotFound"):
        stranger.delete_volume(VolumeId=volume_id)
    with refused("InvalidVolumeID.Malformed"):
        ready.delete_volume(VolumeId="disk-1")
