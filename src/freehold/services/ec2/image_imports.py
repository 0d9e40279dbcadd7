"""ImportImage from snapshots, DescribeImportImageTasks, CancelImportTask.

    active ──► completed        its snapshots are copied, the image is there
       └─────► deleted          cancelled, or they could not be copied

What is in a bucket is refused as AWS refuses an object that is not there (services/ec2/disks_in_buckets.py).

https://docs.aws.amazon.com/vm-import/latest/userguide/vmimport-image-import.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from freehold.records.compute import Image
from freehold.records.feed import take_turn
from freehold.records.ids import ImageId, SnapshotId, new_id
from freehold.records.images import ImageMapping, discard
from freehold.records.import_tasks import ImportedDisk, ImportTask, end, import_tasks
from freehold.records.snapshots import Snapshot
from freehold.records.tags import put_tags, tags_of
from freehold.services.ec2 import ebs_encryption, snapshot_copies
from freehold.services.ec2.disks_in_buckets import check_no_bucket
from freehold.services.ec2.errors import (
    IncorrectState,
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
)
from freehold.services.ec2.filters import Condition, text
from freehold.services.ec2.idempotency import claim
from freehold.services.ec2.image_creation import boot_mode, check_unused, checked_description
from freehold.services.ec2.image_mappings import DEFAULT_TYPE, checked_devices
from freehold.services.ec2.image_records import new_image
from freehold.services.ec2.paging import described
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import IMAGE, IMPORT_IMAGE_TASK, SNAPSHOT, made
from freehold.services.ec2.snapshot_sharing import usable
from freehold.services.ec2.tags import specified, tag_list
from freehold.services.operation import Call, Needed, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        CancelImportTaskRequestTypeDef,
        DescribeImportImageTasksRequestTypeDef,
        ImageDiskContainerTypeDef,
        ImportImageRequestTypeDef,
    )

_HONOURED = {
    *("BootMode", "ClientData", "ClientToken", "Description", "DiskContainers", "Encrypted", "KmsKeyId"),
    *("RoleName", "TagSpecifications"),
}
_AS_HERE = {
    "Architecture": "x86_64",
    "Hypervisor": "xen",
    "LicenseType": "BYOL",
    "Platform": "Linux",
    "UsageOperation": "RunInstances",
}
_FILTERS: dict[str, Condition] = {"task-state": text(import_tasks.c.state)}


def _needed(call: Call, request: ImportImageRequestTypeDef) -> Iterator[Needed]:
    yield from made(call, request, IMPORT_IMAGE_TASK)
    yield from made(call, request, IMAGE, keys=lambda: {"ec2:Owner": call.account_id})
    for container in request.get("DiskContainers") or ():
        if container.get("SnapshotId"):
            yield SNAPSHOT.needed(call, container["SnapshotId"])
    yield from ebs_encryption.to_create(call, ebs_encryption.asked_for(call, ebs_encryption.of_copy(request)))


@operation(resources=_needed)
def import_image(call: Call, request: ImportImageRequestTypeDef) -> Response:
    """The first disk is the root disk. The image has copies of the snapshots. RoleName and ClientData make no
    difference: no bucket is read, and nothing was uploaded. Raises InvalidParameter for what is in a bucket,
    InvalidSnapshot.NotFound, IncorrectState."""
    refuse_others(request, _HONOURED, _AS_HERE)
    description = checked_description(request.get("Description") or "")
    tags = specified(request.get("TagSpecifications"), IMPORT_IMAGE_TASK.resource_type)
    if request.get("BootMode") == "uefi-preferred":
        raise InvalidParameterValue("The boot mode uefi-preferred is not supported for importing images.")
    containers = _by_device(request.get("DiskContainers") or ())
    take_turn(call.tx)
    task_id = new_id(IMPORT_IMAGE_TASK.prefix)
    made_before = claim(call, request, task_id)
    if made_before is not None:
        return _answer(call, IMPORT_IMAGE_TASK.load(call, made_before))
    check_unused(call, task_id)
    sources = {device: usable(call, container["SnapshotId"]) for device, container in containers.items()}
    copies = {
        device: snapshot_copies.begin(
            call, source, ebs_encryption.of_copy(request), f"Created by AWS-VMImport service for {task_id}", {}
        )
        for device, source in sources.items()
    }
    image = _image(call, request, task_id, description, copies)
    root = copies[image.root_device_name]
    disks = (
        ImportedDisk(device, containers[device].get("Description") or "", copy.id, copy.size_gib)
        for device, copy in copies.items()
    )
    task = ImportTask(
        id=task_id,
        account_id=call.account_id,
        region=call.region,
        state="active",
        message="",
        description=description,
        image_id=image.id,
        disks=tuple(disks),
        encrypted=root.encrypted,
        kms_key_id=root.kms_key_id,
        platform=request.get("Platform") or None,
        license_type=request.get("LicenseType") or None,
        boot_mode=request.get("BootMode") or None,
        usage_operation=request.get("UsageOperation") or None,
        created_at=call.now,
    )
    call.tx.insert(image, *(_mapping(image.id, device, copy) for device, copy in copies.items()), task)
    of = (call.account_id, call.region, IMPORT_IMAGE_TASK.resource_type)
    put_tags(call.tx, *of, task_id, tags[IMPORT_IMAGE_TASK.resource_type])
    return _answer(call, task)


@operation()
def describe_import_image_tasks(call: Call, request: DescribeImportImageTasksRequestTypeDef) -> Response:
    """Those under way, and those that ended in the last seven days."""
    refuse_others(request, {"Filters", "ImportTaskIds", "MaxResults", "NextToken"})
    page = described(call, IMPORT_IMAGE_TASK, request, "ImportTaskIds", _FILTERS, smallest=1)
    return {"ImportImageTasks": _shown(call, page.rows), **page.token}


def _named(call: Call, request: Mapping[str, Any]) -> list[Needed]:
    task_id = str(request.get("ImportTaskId") or "")
    if task_id.startswith("import-snap-"):
        return [Needed(call.arn(f"import-snapshot-task/{task_id}"))]
    return [IMPORT_IMAGE_TASK.needed(call, task_id)]


@operation(resources=_named)
def cancel_import_task(call: Call, request: CancelImportTaskRequestTypeDef) -> Response:
    """Neither image nor snapshots are left. CancelReason makes no difference: nothing but the trail shows it. Raises
    InvalidConversionTaskId, IncorrectState for one that has ended."""
    refuse_others(request, {"CancelReason", "ImportTaskId"})
    if not request.get("ImportTaskId"):
        raise MissingParameter("ImportTaskId")
    take_turn(call.tx)
    task = IMPORT_IMAGE_TASK.load(call, request["ImportTaskId"])
    if task.state != "active":
        raise IncorrectState(f"The import task '{task.id}' is in the '{task.state}' state.")
    image = call.tx.get(Image, task.image_id)
    if image is not None:
        discard(call.tx, image)
    end(call.tx, task, "deleted", "The task was cancelled.")
    return {"ImportTaskId": task.id, "PreviousState": "active", "State": "deleting"}


def _by_device(containers: Sequence[ImageDiskContainerTypeDef]) -> dict[str, ImageDiskContainerTypeDef]:
    """Raises MissingParameter, InvalidParameter for what is in a bucket, InvalidBlockDeviceMapping."""
    if not containers:
        raise MissingParameter("DiskContainers")
    found: dict[str, ImageDiskContainerTypeDef] = {}
    for number, container in enumerate(containers):
        check_no_bucket(container)
        if not container.get("SnapshotId"):
            raise MissingParameter("SnapshotId")
        if container.get("Format"):
            raise InvalidParameterCombination("The parameter Format can not be given for a snapshot.")
        checked_description(container.get("Description") or "")
        found[container.get("DeviceName") or ("/dev/sda1" if number == 0 else f"/dev/sd{chr(ord('a') + number)}")] = (
            container
        )
    checked_devices([{"DeviceName": device} for device in found])
    if len(found) < len(containers):
        raise InvalidParameterValue("Each disk container needs a device name of its own.")
    return found


def _image(
    call: Call, request: ImportImageRequestTypeDef, name: str, description: str, copies: Mapping[str, Snapshot]
) -> Image:
    device, root = next(iter(copies.items()))
    image = new_image(
        *(call, ImageId(new_id("ami")), name, f"AWS-VMImport service: Linux - {description}"[:255], device),
        *(root.size_gib, boot_mode(request.get("BootMode"))),
        root.kernel_image_id if not request.get("BootMode") else None,
    )
    return replace(image, state="pending", imds_v2=False)


def _mapping(image_id: ImageId, device: str, copy: Snapshot) -> ImageMapping:
    return ImageMapping(
        image_id=image_id,
        device=device,
        snapshot_id=copy.id,
        size_gib=copy.size_gib,
        volume_type=DEFAULT_TYPE,
        iops=None,
        throughput_mibps=None,
        encrypted=copy.encrypted,
        delete_on_termination=True,
    )


def _answer(call: Call, task: ImportTask) -> Response:
    (shown,) = _shown(call, [task])
    return {name: value for name, value in shown.items() if name != "BootMode"}


def _shown(call: Call, tasks: Sequence[ImportTask]) -> list[dict[str, Any]]:
    """As the describe operation shows them."""
    tags = tags_of(call.tx, [task.id for task in tasks])
    active = [disk.snapshot_id for task in tasks if task.state == "active" for disk in task.disks]
    come = {each.id: each.progress for each in call.tx.select(Snapshot, id=active)}
    return [_described(task, come) | {"Tags": tag_list(tags[task.id])} for task in tasks]


def _described(task: ImportTask, come: Mapping[SnapshotId, int]) -> dict[str, Any]:
    """`come`: how far snapshots have, in percent."""
    answer: dict[str, Any] = {
        "ImportTaskId": task.id,
        "Architecture": "x86_64",
        "Description": task.description,
        "Encrypted": task.encrypted,
        "Hypervisor": "xen",
        "Status": task.state,
        "SnapshotDetails": [_disk(task, disk) for disk in task.disks],
        "LicenseType": task.license_type,
        "Platform": task.platform,
        "KmsKeyId": task.kms_key_id,
        "UsageOperation": task.usage_operation,
        "BootMode": task.boot_mode,
    }
    match task.state:
        case "active":
            done = [come.get(disk.snapshot_id, 0) for disk in task.disks]
            answer |= {"Progress": str(sum(done) // len(done)), "StatusMessage": "converting"}
        case "completed":
            answer["ImageId"] = task.image_id
        case "deleted":
            answer["StatusMessage"] = task.message
    return {name: value for name, value in answer.items() if value is not None}


def _disk(task: ImportTask, disk: ImportedDisk) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "DeviceName": disk.device,
        "DiskImageSize": float(disk.size_gib),
        "Status": task.state,
    }
    if disk.description:
        shown["Description"] = disk.description
    if task.state == "completed":
        shown["SnapshotId"] = disk.snapshot_id
    return shown
