"""Root volumes that are replaced: what the host is told, how far it has come, and what becomes of the old one."""

from __future__ import annotations

from typing import Any

from freehold.control.specs import guest_specs
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import BIG_IMAGE, IMAGE, host_reports, launch_one, record, run_one, stop, terminate
from tests.ec2.snapshotting import snapshot_of
from tests.ec2.test_images import image_of
from tests.ec2.test_images_types import filters
from tests.ec2.test_volumes import volume_of


def begun(caller: Caller, instance_id: str, **request: Any) -> Any:
    return caller.create_replace_root_volume_task(InstanceId=instance_id, **request)["ReplaceRootVolumeTask"]


def task(caller: Caller, task_id: str) -> Any:
    (found,) = caller.describe_replace_root_volume_tasks(ReplaceRootVolumeTaskIds=[task_id])["ReplaceRootVolumeTasks"]
    return found


def boot_volume(caller: Caller, instance_id: str) -> Any:
    """The root volume that the host is to start the guest with."""
    with caller.store.read() as tx:
        (spec,) = guest_specs(tx, caller.config, [record(caller.store, instance_id)])
    (volume,) = [each for each in spec.volumes if each.boot]
    return volume


def volume(caller: Caller, volume_id: str) -> Any:
    (found,) = caller.describe_volumes(VolumeIds=[volume_id])["Volumes"]
    return found


def test_an_instance_gets_a_root_volume_as_at_its_launch(ready: Caller) -> None:
    instance_id = run_one(ready)
    old = volume_of(ready, instance_id)
    tags = [{"ResourceType": "replace-root-volume-task", "Tags": [{"Key": "why", "Value": "broken"}]}]
    made = begun(ready, instance_id, TagSpecifications=tags, ClientToken="once")
    assert begun(ready, instance_id, TagSpecifications=tags, ClientToken="once") == made
    assert (made["TaskState"], made["InstanceId"], made["DeleteReplacedRootVolume"]) == ("pending", instance_id, False)
    assert made["Tags"] == [{"Key": "why", "Value": "broken"}]
    new = boot_volume(ready, instance_id)
    assert (new.volume_id != old, new.image_id, new.snapshot_id, new.encrypted) == (True, IMAGE, None, True)
    assert record(ready.store, instance_id).reboots == 1
    with refused("IncorrectState"):
        begun(ready, instance_id)

    task_id = made["ReplaceRootVolumeTaskId"]
    host_reports(ready.store, instance_id, "running", volumes=(old,))
    assert task(ready, task_id)["TaskState"] == "in-progress"
    host_reports(ready.store, instance_id, "starting", volumes=())
    assert volume(ready, old)["State"] == "available"
    assert task(ready, task_id)["TaskState"] == "in-progress"
    host_reports(ready.store, instance_id, "running", volumes=(new.volume_id,))
    done = task(ready, task_id)
    assert (done["TaskState"], "CompleteTime" in done) == ("succeeded", True)
    assert volume(ready, new.volume_id)["Attachments"][0]["State"] == "attached"
    assert ready.describe_replace_root_volume_tasks(Filters=filters(instance_id=instance_id)) == {
        "ReplaceRootVolumeTasks": [done]
    }
    begun(ready, instance_id)


def test_the_old_volume_goes_if_it_is_to(ready: Caller) -> None:
    instance_id = run_one(ready)
    old = volume_of(ready, instance_id)
    begun(ready, instance_id, DeleteReplacedRootVolume=True)
    new = boot_volume(ready, instance_id)
    host_reports(ready.store, instance_id, "running", volumes=(new.volume_id,))
    assert volume(ready, old)["State"] == "deleting"


def test_from_a_snapshot_or_an_image(ready: Caller) -> None:
    instance_id = run_one(ready)
    snapshot_id = snapshot_of(ready, volume_of(ready, instance_id))
    made = begun(ready, instance_id, SnapshotId=snapshot_id)
    assert made["SnapshotId"] == snapshot_id
    new = boot_volume(ready, instance_id)
    assert (new.snapshot_id, new.image_id, new.encrypted) == (snapshot_id, None, True)
    host_reports(ready.store, instance_id, "running", volumes=(new.volume_id,))

    image_id = image_of(ready, instance_id)
    assert begun(ready, instance_id, ImageId=image_id)["ImageId"] == image_id
    host_reports(ready.store, instance_id, "running", volumes=(boot_volume(ready, instance_id).volume_id,))
    assert record(ready.store, instance_id).image_id == image_id
    begun(ready, instance_id, ImageId=BIG_IMAGE)
    grown = boot_volume(ready, instance_id)
    assert (grown.size_gib, grown.image_id, record(ready.store, instance_id).kernel_image_id) == (
        3,
        BIG_IMAGE,
        BIG_IMAGE,
    )


def test_what_is_not_replaced(ready: Caller, stranger: Caller) -> None:
    running, stopped = run_one(ready), run_one(ready)
    stop(ready, stopped)
    snapshot_id = snapshot_of(ready, volume_of(ready, running))
    for caller, instance_id, request, code in (
        (ready, stopped, {}, "IncorrectInstanceState"),
        (ready, launch_one(ready)["InstanceId"], {}, "IncorrectInstanceState"),
        (ready, "i-0123456789abcdef0", {}, "InvalidInstanceID.NotFound"),
        (ready, running, {"SnapshotId": snapshot_id, "ImageId": IMAGE}, "InvalidParameterCombination"),
        (ready, running, {"SnapshotId": "snap-00000000000000000"}, "InvalidSnapshot.NotFound"),
        (ready, running, {"ImageId": "ami-00000000000000000"}, "InvalidAMIID.NotFound"),
        (ready, running, {"VolumeInitializationRate": 100}, "UnsupportedOperation"),
        (stranger, running, {}, "InvalidInstanceID.NotFound"),
    ):
        with refused(code):
            begun(caller, instance_id, **request)
    assert ready.describe_replace_root_volume_tasks() == {"ReplaceRootVolumeTasks": []}


def test_of_an_instance_that_goes_meanwhile_it_has_failed(ready: Caller) -> None:
    instance_id = run_one(ready)
    made = begun(ready, instance_id)
    terminate(ready, instance_id)
    assert task(ready, made["ReplaceRootVolumeTaskId"])["TaskState"] == "failed-detached"
