"""CreateReplaceRootVolumeTask and DescribeReplaceRootVolumeTasks: another root volume for an instance that runs.

The guest shuts down and boots from the new volume; addresses, other volumes and the rest of the instance stay.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/replace-root.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from freehold.records.compute import Image, Volume, VolumeAttachment
from freehold.records.feed import take_turn
from freehold.records.ids import ImageId, VolumeId, new_id
from freehold.records.images import ImageMapping
from freehold.records.instances import reboot
from freehold.records.root_tasks import RootTask, open_task, root_tasks
from freehold.records.snapshots import Snapshot
from freehold.records.tags import Tag, put_tags, tags_of
from freehold.records.volumes import meter
from freehold.services.ec2 import ebs_encryption
from freehold.services.ec2.compute_errors import IncorrectInstanceState
from freehold.services.ec2.errors import IncorrectState, InvalidParameterCombination, InvalidParameterValue
from freehold.services.ec2.filters import Condition, text
from freehold.services.ec2.idempotency import claim
from freehold.services.ec2.image_errors import InvalidAMIIDUnavailable
from freehold.services.ec2.paging import described
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import IMAGE, INSTANCE, ROOT_TASK, SNAPSHOT, VOLUME, made
from freehold.services.ec2.tags import specified, tag_list
from freehold.services.operation import Call, Needed, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        CreateReplaceRootVolumeTaskRequestTypeDef,
        DescribeReplaceRootVolumeTasksRequestTypeDef,
    )

_FILTERS: dict[str, Condition] = {"instance-id": text(root_tasks.c.instance_id)}


def _needed(call: Call, request: CreateReplaceRootVolumeTaskRequestTypeDef) -> Iterator[Needed]:
    yield INSTANCE.needed(call, request["InstanceId"])
    yield VOLUME.needed(call, "*")
    if request.get("ImageId"):
        yield IMAGE.needed(call, request["ImageId"])
    if request.get("SnapshotId"):
        yield SNAPSHOT.needed(call, request["SnapshotId"])
    yield from made(call, request, ROOT_TASK)


@operation(resources=_needed)
def create_replace_root_volume_task(call: Call, request: CreateReplaceRootVolumeTaskRequestTypeDef) -> Response:
    """From the snapshot or image that is named; without one from what the present root volume began as.

    Raises IncorrectInstanceState, IncorrectState while another is under way, InvalidParameterCombination,
    InvalidSnapshot.NotFound, InvalidAMIID.NotFound.
    """
    refuse_others(
        request,
        {"ClientToken", "DeleteReplacedRootVolume", "ImageId", "InstanceId", "SnapshotId", "TagSpecifications"},
    )
    if request.get("ImageId") and request.get("SnapshotId"):
        raise InvalidParameterCombination("Give either SnapshotId or ImageId, not both.")
    tags = specified(request.get("TagSpecifications"), ROOT_TASK.resource_type)[ROOT_TASK.resource_type]
    take_turn(call.tx)
    task_id = new_id("replacevol")
    made_before = claim(call, request, task_id)
    if made_before is not None:
        task = ROOT_TASK.load(call, made_before)
        return {"ReplaceRootVolumeTask": _shown(task, tags_of(call.tx, [task.id])[task.id])}
    instance = INSTANCE.load(call, request["InstanceId"])
    if instance.state != "running":
        raise IncorrectInstanceState(f"The instance '{instance.id}' must be in the 'running' state.")
    if open_task(call.tx, instance.id) is not None:
        raise IncorrectState(f"The root volume of the instance '{instance.id}' is being replaced already.")
    attachment = next(
        each
        for each in call.tx.select(VolumeAttachment, instance_id=instance.id, device=instance.root_device_name)
        if each.state != "detaching"
    )
    old = VOLUME.load(call, attachment.volume_id)
    volume = _new_volume(call, request, old)
    call.tx.insert(volume)
    _give_key(call, volume)
    meter(call.tx, volume)
    call.tx.update(attachment, state="detaching")
    call.tx.insert(replace(attachment, volume_id=volume.id, state="attaching", attached_at=call.now))
    if request.get("ImageId"):
        instance = call.tx.update(instance, **_of_image(call, request["ImageId"]))
    reboot(call.tx, instance)
    task = RootTask(
        id=task_id,
        account_id=call.account_id,
        region=call.region,
        instance_id=instance.id,
        old_volume_id=old.id,
        new_volume_id=volume.id,
        state="pending",
        started_at=call.now,
        snapshot_id=volume.snapshot_id if request.get("SnapshotId") else None,
        image_id=volume.image_id if request.get("ImageId") else None,
        delete_replaced=request.get("DeleteReplacedRootVolume", False),
    )
    call.tx.insert(task)
    put_tags(call.tx, call.account_id, call.region, ROOT_TASK.resource_type, task.id, tags)
    of = (call.account_id, call.region, ROOT_TASK.resource_type)
    return {
        "ReplaceRootVolumeTask": _shown(task, [Tag(task.id, key, value, *of) for key, value in sorted(tags.items())])
    }


def _new_volume(call: Call, request: CreateReplaceRootVolumeTaskRequestTypeDef, old: Volume) -> Volume:
    """As the old one is, but for what is on it, and no smaller than that."""
    snapshot_id, image_id, kernel = old.snapshot_id, old.image_id, old.kernel_image_id
    smallest = 0
    if request.get("ImageId"):
        image = IMAGE.load(call, request["ImageId"])
        if image.state != "available":
            raise InvalidAMIIDUnavailable(image.id)
        mapping = call.tx.get(ImageMapping, image.id, image.root_device_name)
        snapshot_id = mapping.snapshot_id if mapping is not None else None
        image_id, kernel, smallest = image.id, image.kernel_image_id, image.size_gib
    elif request.get("SnapshotId"):
        snapshot = SNAPSHOT.load(call, request["SnapshotId"])
        if snapshot.state != "completed":
            raise IncorrectState(f"The snapshot '{snapshot.id}' is in the '{snapshot.state}' state.")
        snapshot_id, kernel, smallest = snapshot.id, snapshot.kernel_image_id, snapshot.size_gib
    below = call.tx.get(Snapshot, snapshot_id) if snapshot_id is not None else None
    if snapshot_id is not None and below is None:
        raise InvalidParameterValue(
            f"The snapshot '{snapshot_id}' that the root volume was made from is gone; name one."
        )
    encrypted = old.encrypted or (below is not None and below.encrypted)
    return replace(
        old,
        id=VolumeId(new_id("vol")),
        size_gib=max(old.size_gib, smallest),
        snapshot_id=snapshot_id,
        image_id=image_id,
        kernel_image_id=kernel,
        encrypted=encrypted,
        kms_key_id=below.kms_key_id if below is not None and below.encrypted else old.kms_key_id,
        created_at=call.now,
        state="in-use",
    )


def _give_key(call: Call, volume: Volume) -> None:
    below = call.tx.get(Snapshot, volume.snapshot_id) if volume.snapshot_id is not None else None
    if below is not None and below.encrypted:
        ebs_encryption.inherit_key(call, volume, below.id)
    elif volume.encrypted:
        asked = ebs_encryption.Asked(encrypted=True, kms_key_id=volume.kms_key_id)
        ebs_encryption.make_key(call, volume, ebs_encryption.resolved(call, asked))


def _of_image(call: Call, image_id: str) -> dict[str, Any]:
    """What an instance has of the image that its root volume is of."""
    image = call.tx.get(Image, ImageId(image_id))
    assert image is not None
    mode = "legacy-bios" if image.boot_mode == "legacy-bios" else "uefi"
    return {"image_id": image.id, "boot_mode": mode, "kernel_image_id": image.kernel_image_id}


@operation()
def describe_replace_root_volume_tasks(call: Call, request: DescribeReplaceRootVolumeTasksRequestTypeDef) -> Response:
    """Those of the last days."""
    refuse_others(request, {"Filters", "MaxResults", "NextToken", "ReplaceRootVolumeTaskIds"})
    page = described(call, ROOT_TASK, request, "ReplaceRootVolumeTaskIds", _FILTERS, smallest=1)
    tags = tags_of(call.tx, [task.id for task in page.rows])
    return {"ReplaceRootVolumeTasks": [_shown(task, tags[task.id]) for task in page.rows], **page.token}


def _shown(task: RootTask, tags: list[Tag]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "ReplaceRootVolumeTaskId": task.id,
        "InstanceId": task.instance_id,
        "TaskState": task.state,
        "StartTime": task.started_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "DeleteReplacedRootVolume": task.delete_replaced,
        "Tags": tag_list(tags),
    }
    if task.completed_at is not None:
        answer["CompleteTime"] = task.completed_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    if task.snapshot_id is not None:
        answer["SnapshotId"] = task.snapshot_id
    if task.image_id is not None:
        answer["ImageId"] = task.image_id
    return answer
