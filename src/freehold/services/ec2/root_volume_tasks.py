"""CreateReplaceRootVolumeTask and DescribeReplaceRootVolumeTasks: another root volume for an instance that runs.

The guest shuts down and boots from the new volume; addresses, other volumes and the rest of the instance stay.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/replace-root.html
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from freehold.records.compute import Image, Instance, Volume, VolumeAttachment
from freehold.records.feed import take_turn
from freehold.records.ids import ImageId, SnapshotId, VolumeId, new_id
from freehold.records.images import ImageMapping
from freehold.records.instances import reboot
from freehold.records.root_tasks import RootTask, open_task, root_tasks
from freehold.records.snapshots import Snapshot
from freehold.records.tags import Tag, put_tags, tags_of
from freehold.records.volumes import meter
from freehold.services.ec2 import ebs_encryption
from freehold.services.ec2.compute_errors import IncorrectInstanceState
from freehold.services.ec2.ebs_encryption import Asked
from freehold.services.ec2.errors import IncorrectState, InvalidParameterCombination, InvalidParameterValue
from freehold.services.ec2.filters import Condition, text
from freehold.services.ec2.idempotency import claim
from freehold.services.ec2.image_errors import InvalidAMIIDUnavailable
from freehold.services.ec2.paging import described
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import IMAGE, INSTANCE, ROOT_TASK, SNAPSHOT, VOLUME, made
from freehold.services.ec2.tags import specified, tag_list
from freehold.services.errors import AwsError
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
    with contextlib.suppress(AwsError):  # the operation says what is wrong
        instance = INSTANCE.load(call, request["InstanceId"])
        if instance.state == "running":
            _, old = _root_of(call, instance)
            below = _below(call, _began_as(call, request, old)[0])
            yield from ebs_encryption.to_create(call, _encryption(call, below, old), below)


@operation(resources=_needed, resource_policies=True)
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
    attachment, old = _root_of(call, instance)
    volume = _new_volume(call, request, old)
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


def _root_of(call: Call, instance: Instance) -> tuple[VolumeAttachment, Volume]:
    attachment = next(
        each
        for each in call.tx.select(VolumeAttachment, instance_id=instance.id, device=instance.root_device_name)
        if each.state != "detaching"
    )
    return attachment, VOLUME.load(call, attachment.volume_id)


def _new_volume(call: Call, request: CreateReplaceRootVolumeTaskRequestTypeDef, old: Volume) -> Volume:
    """As the old one is, but for what is on it, and no smaller than that; inserted, with its key."""
    snapshot_id, image_id, kernel, smallest = _began_as(call, request, old)
    below = _below(call, snapshot_id)
    encryption = ebs_encryption.resolved(call, _encryption(call, below, old))
    volume = replace(
        old,
        id=VolumeId(new_id("vol")),
        size_gib=max(old.size_gib, smallest),
        snapshot_id=snapshot_id,
        image_id=image_id,
        kernel_image_id=kernel,
        encrypted=encryption.arn is not None,
        kms_key_id=encryption.arn,
        created_at=call.now,
        state="in-use",
    )
    call.tx.insert(volume)
    ebs_encryption.give_key(call, volume, below, encryption)
    return volume


def _began_as(
    call: Call, request: CreateReplaceRootVolumeTaskRequestTypeDef, old: Volume
) -> tuple[SnapshotId | None, ImageId | None, ImageId | None, int]:
    """What the new volume is made from: a snapshot, an image, the image whose kernel starts it; and how large that
    is."""
    if request.get("ImageId"):
        image = IMAGE.load(call, request["ImageId"])
        if image.state != "available":
            raise InvalidAMIIDUnavailable(image.id)
        mapping = call.tx.get(ImageMapping, image.id, image.root_device_name)
        return mapping.snapshot_id if mapping else None, image.id, image.kernel_image_id, image.size_gib
    if request.get("SnapshotId"):
        snapshot = SNAPSHOT.load(call, request["SnapshotId"])
        if snapshot.state != "completed":
            raise IncorrectState(f"The snapshot '{snapshot.id}' is in the '{snapshot.state}' state.")
        return snapshot.id, old.image_id, snapshot.kernel_image_id, snapshot.size_gib
    return old.snapshot_id, old.image_id, old.kernel_image_id, 0


def _below(call: Call, snapshot_id: SnapshotId | None) -> Snapshot | None:
    if snapshot_id is None:
        return None
    found = call.tx.get(Snapshot, snapshot_id)
    if found is None:
        raise InvalidParameterValue(
            f"The snapshot '{snapshot_id}' that the root volume was made from is gone; name one."
        )
    return found


def _encryption(call: Call, below: Snapshot | None, old: Volume) -> Asked:
    """Over an encrypted snapshot under its key, or the account's default; else as the old one."""
    asked = Asked(old.encrypted, old.kms_key_id if below is None or not below.encrypted else None)
    return ebs_encryption.over(call, below, asked)


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
