"""Imports of images from snapshots, and what is refused because it is in a bucket or would go to one."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from freehold.control.housekeeping import keep_house
from freehold.records.import_tasks import ImportTask
from freehold.records.snapshots import DoomedSnapshot, Snapshot
from freehold.records.usage import UsageEntry
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import run_one
from tests.ec2.snapshotting import host_took, snapshot_of
from tests.ec2.test_images import image, snapshots_of, spec
from tests.ec2.test_images_types import filters, image_ids
from tests.ec2.test_volumes import volume_of

ABSENT, EXPORT = "import-ami-0123456789abcdef0", "export-ami-0123456789abcdef0"


@pytest.fixture
def snapshot(ready: Caller) -> str:
    return snapshot_of(ready, volume_of(ready, run_one(ready)))


def task(caller: Caller, task_id: str) -> Any:
    (found,) = caller.describe_import_image_tasks(ImportTaskIds=[task_id])["ImportImageTasks"]
    return found


def copies(caller: Caller, task_id: str) -> list[str]:
    with caller.store.read() as tx:
        found = tx.get(ImportTask, task_id)
    assert found is not None
    return [disk.snapshot_id for disk in found.disks]


def test_an_image_is_imported_from_snapshots(ready: Caller, snapshot: str) -> None:
    other = run_one(ready, BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 2}}])
    data = snapshot_of(ready, volume_of(ready, other))
    tags = [{"ResourceType": "import-image-task", "Tags": [{"Key": "of", "Value": "June"}]}]
    request = {
        "Description": "web",
        "DiskContainers": [{"SnapshotId": snapshot, "Description": "root"}, {"SnapshotId": data}],
        "ClientToken": "once",
        "TagSpecifications": tags,
        "Platform": "Linux",
        "LicenseType": "BYOL",
    }
    answer = ready.import_image(**request)
    task_id = answer["ImportTaskId"]
    assert ready.import_image(**request)["ImportTaskId"] == task_id
    assert (answer["Status"], answer["Progress"], answer["Tags"]) == ("active", "0", [{"Key": "of", "Value": "June"}])
    active = task(ready, task_id)
    assert "ImageId" not in active
    assert [(disk["DeviceName"], disk["DiskImageSize"]) for disk in active["SnapshotDetails"]] == [
        ("/dev/sda1", 1.0),
        ("/dev/sdb", 2.0),
    ]
    host_took(ready.store, *copies(ready, task_id))
    done = task(ready, task_id)
    assert (done["Status"], done["Description"], done["Encrypted"]) == ("completed", "web", True)
    assert [disk["SnapshotId"] for disk in done["SnapshotDetails"]] == copies(ready, task_id)
    made = image(ready, done["ImageId"])
    assert (made["State"], made["Name"], made["RootDeviceName"]) == ("available", task_id, "/dev/sda1")
    assert not {snapshot, data} & set(snapshots_of(ready, done["ImageId"]))
    ready.deregister_image(ImageId=done["ImageId"])
    assert task(ready, task_id)["Status"] == "completed"
    for state, found in (("completed", [task_id]), ("active", [])):
        shown = ready.describe_import_image_tasks(Filters=filters(task_state=state))["ImportImageTasks"]
        assert [each["ImportTaskId"] for each in shown] == found


def test_a_server_of_an_imported_image_boots_as_it_is_said_to(ready: Caller, snapshot: str) -> None:
    for given, kernel in (({}, True), ({"BootMode": "uefi"}, False)):
        task_id = ready.import_image(DiskContainers=[{"SnapshotId": snapshot}], **given)["ImportTaskId"]
        host_took(ready.store, *copies(ready, task_id))
        done = task(ready, task_id)
        assert done.get("BootMode") == given.get("BootMode")
        wanted = spec(ready, run_one(ready, ImageId=done["ImageId"]))
        assert (wanted.kernel_image_id is not None) == kernel


def test_nothing_is_left_of_an_import_that_is_cancelled_or_fails(ready: Caller, snapshot: str) -> None:
    cancelled, failed = (
        ready.import_image(DiskContainers=[{"SnapshotId": snapshot}])["ImportTaskId"] for _ in range(2)
    )
    made = copies(ready, cancelled) + copies(ready, failed)
    assert ready.cancel_import_task(ImportTaskId=cancelled, CancelReason="no") == {
        "ImportTaskId": cancelled,
        "PreviousState": "active",
        "State": "deleting",
    }
    host_took(ready.store, *copies(ready, failed), message="no room")
    for task_id in (cancelled, failed):
        assert task(ready, task_id)["Status"] == "deleted"
        assert task(ready, task_id)["StatusMessage"]
        with refused("IncorrectState"):
            ready.cancel_import_task(ImportTaskId=task_id)
    assert image_ids(ready, Owners=["self"]) == []
    assert [each["SnapshotId"] for each in ready.describe_snapshots(OwnerIds=["self"])["Snapshots"]] == [snapshot]
    with ready.store.read() as tx:
        assert tx.select(Snapshot, id=made) == []
        assert tx.select(UsageEntry, resource_id=made) == []
        assert {each.snapshot_id for each in tx.select(DoomedSnapshot)} == set(made)


def test_a_task_is_forgotten_after_a_week(ready: Caller, stranger: Caller, snapshot: str) -> None:
    task_id = ready.import_image(DiskContainers=[{"SnapshotId": snapshot}])["ImportTaskId"]
    assert stranger.describe_import_image_tasks()["ImportImageTasks"] == []
    with refused("InvalidConversionTaskId"):
        stranger.cancel_import_task(ImportTaskId=task_id)
    ready.create_tags(Resources=[task_id], Tags=[{"Key": "a", "Value": "b"}])
    ready.cancel_import_task(ImportTaskId=task_id)
    keep_house(ready.store, ready.config)
    assert task(ready, task_id)["Tags"] == [{"Key": "a", "Value": "b"}]
    with ready.store.write() as tx:
        found = tx.get(ImportTask, task_id)
        assert found is not None
        tx.update(found, ended_at=tx.now - dt.timedelta(days=8))
    keep_house(ready.store, ready.config)
    assert ready.describe_import_image_tasks()["ImportImageTasks"] == []
    with refused("InvalidConversionTaskId"):
        task(ready, task_id)


BUCKET = {"S3Bucket": "disks", "S3Key": "web.vmdk"}


@pytest.mark.parametrize(
    ("containers", "code"),
    [
        ([], "MissingParameter"),
        ([{}], "MissingParameter"),
        ([{"Format": "VMDK", "UserBucket": BUCKET}], "InvalidParameter"),
        ([{"Format": "VMDK", "Url": "s3://disks/web.vmdk"}], "InvalidParameter"),
        ([{"SnapshotId": "snap-0123456789abcdef0"}], "InvalidSnapshot.NotFound"),
        ([{"SnapshotId": "snap-0123456789abcdef0", "Format": "RAW"}], "InvalidParameterCombination"),
        ([{"SnapshotId": "snap-0123456789abcdef0", "DeviceName": "../a"}], "InvalidBlockDeviceMapping"),
        ([{"SnapshotId": "snap-0123456789abcdef0", "DeviceName": "/dev/sda1"}] * 2, "InvalidParameterValue"),
    ],
)
def test_what_is_not_imported(ready: Caller, containers: list[dict[str, Any]], code: str) -> None:
    with refused(code):
        ready.import_image(DiskContainers=containers)
    assert ready.describe_import_image_tasks()["ImportImageTasks"] == []


def test_how_an_image_is_not_imported(ready: Caller, snapshot: str) -> None:
    for given, code in (
        ({"BootMode": "uefi-preferred"}, "InvalidParameterValue"),
        ({"Platform": "Windows"}, "UnsupportedOperation"),
        ({"Architecture": "arm64"}, "UnsupportedOperation"),
        ({"LicenseType": "AWS"}, "UnsupportedOperation"),
        ({"TagSpecifications": [{"ResourceType": "image", "Tags": []}]}, "InvalidParameterValue"),
    ):
        with refused(code):
            ready.import_image(DiskContainers=[{"SnapshotId": snapshot}], **given)


def test_there_is_no_bucket_to_import_from_or_export_to(ready: Caller, snapshot: str) -> None:
    mapping = [{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot}}]
    image_id = ready.register_image(Name="web", BlockDeviceMappings=mapping)["ImageId"]
    location = {"S3Bucket": "disks", "S3Prefix": "exports/"}
    with pytest.raises(Exception, match=r"User does not have access to the S3 object \(disks/web.vmdk\)"):
        ready.import_snapshot(DiskContainer={"Format": "VMDK", "UserBucket": BUCKET})
    with refused("MissingParameter"):
        ready.import_snapshot()
    with refused("InvalidParameter"):
        ready.export_image(ImageId=image_id, DiskImageFormat="RAW", S3ExportLocation=location)
    with refused("InvalidAMIID.NotFound"):
        ready.export_image(ImageId="ami-00000000000000001", DiskImageFormat="RAW", S3ExportLocation=location)
    assert ready.describe_import_snapshot_tasks(Filters=filters(task_state="active")) == {"ImportSnapshotTasks": []}
    assert ready.describe_export_image_tasks() == {"ExportImageTasks": []}
    for attempt, request, code in (
        (ready.describe_import_snapshot_tasks, {"ImportTaskIds": ["snap-1"]}, "InvalidConversionTaskId.Malformed"),
        (ready.describe_import_snapshot_tasks, {"Filters": filters(state="active")}, "InvalidParameterValue"),
        (ready.describe_import_snapshot_tasks, {"NextToken": "a"}, "InvalidNextToken"),
        (ready.describe_export_image_tasks, {"ExportImageTaskIds": [EXPORT]}, "InvalidExportTaskID.NotFound"),
        (ready.cancel_export_task, {"ExportTaskId": EXPORT}, "InvalidExportTaskID.NotFound"),
        (ready.cancel_export_task, {"ExportTaskId": "export-i-01234567"}, "InvalidExportTaskID.NotFound"),
        (ready.cancel_export_task, {"ExportTaskId": "a"}, "InvalidExportTaskID.Malformed"),
        (ready.cancel_import_task, {"ImportTaskId": ABSENT}, "InvalidConversionTaskId"),
        (ready.cancel_import_task, {"ImportTaskId": "i-1"}, "InvalidConversionTaskId.Malformed"),
        (ready.cancel_import_task, {}, "MissingParameter"),
    ):
        with refused(code):
            attempt(**request)
