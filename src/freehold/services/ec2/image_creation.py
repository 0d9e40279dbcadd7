"""CreateImage, from an instance and its disks; RegisterImage, from snapshots.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/creating-an-ami-ebs.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from freehold.quotas import IMAGES
from freehold.records.compute import Image, ImageBootMode, Instance, Volume
from freehold.records.feed import take_turn
from freehold.records.ids import ImageId, new_id
from freehold.records.images import ImageMapping, inherit_watermarks
from freehold.records.instances import reboot
from freehold.records.snapshots import Snapshot
from freehold.records.tags import put_tags
from freehold.records.volumes import attached_to
from freehold.services.ec2 import image_mappings, snapshots
from freehold.services.ec2.compute_errors import IncorrectInstanceState, InvalidBlockDeviceMapping
from freehold.services.ec2.errors import InvalidParameterValue, MissingParameter
from freehold.services.ec2.image_errors import InvalidAMINameDuplicate, InvalidAMINameMalformed
from freehold.services.ec2.image_records import new_image
from freehold.services.ec2.launch_template_errors import ResourceLimitExceeded
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import IMAGE, INSTANCE, SNAPSHOT, made
from freehold.services.ec2.tags import specified
from freehold.services.operation import Call, Needed, Response, operation
from freehold.services.quotas import limit

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        BlockDeviceMappingTypeDef,
        CreateImageRequestTypeDef,
        RegisterImageRequestTypeDef,
    )

DESCRIPTION_CHARACTERS_MAX = 255
_NAME = re.compile(r"[A-Za-z0-9 ()\[\]./'@_-]{3,128}")
_TO_CREATE = {
    *(image_mappings.HONOURED - {"BlockDeviceMappings.Ebs.SnapshotId", "BlockDeviceMappings.Ebs.Encrypted"}),
    "Description",
    "InstanceId",
    "Name",
    "NoReboot",
    "TagSpecifications",
}
_TO_REGISTER = {
    *image_mappings.HONOURED,
    "BootMode",
    "Description",
    "ImdsSupport",
    "Name",
    "RootDeviceName",
    "TagSpecifications",
}


def _needed_to_create(call: Call, request: CreateImageRequestTypeDef) -> Iterator[Needed]:
    """The instance, and what is made of it: the image and its snapshots, with their tags."""
    yield INSTANCE.needed(call, request["InstanceId"])
    yield from made(call, request, IMAGE, keys=lambda: {"ec2:Owner": call.account_id})
    yield from made(call, request, SNAPSHOT, keys=lambda: {"ec2:Owner": call.account_id})


@operation(resources=_needed_to_create)
def create_image(call: Call, request: CreateImageRequestTypeDef) -> Response:
    """Of a running or stopped instance. A running one is shut down first, and boots again, unless NoReboot: what its
    system has written is then on its disks. All its disks are of one instant.

    Raises IncorrectInstanceState, InvalidAMIName.Duplicate, InvalidAMIName.Malformed, InvalidBlockDeviceMapping.
    """
    refuse_others(request, _TO_CREATE, {"SnapshotLocation": "regional"})
    name, description = named(request), described(request)
    tags = specified(request.get("TagSpecifications"), IMAGE.resource_type, SNAPSHOT.resource_type)
    take_turn(call.tx)
    instance = INSTANCE.load(call, request["InstanceId"])
    check_unused(call, name)
    if instance.state not in ("running", "stopped"):
        raise IncorrectInstanceState(
            f"The instance '{instance.id}' is not in a state from which an image can be made. Valid states: running, "
            "stopped."
        )
    image_id = ImageId(new_id("ami"))
    mappings, volumes = _of_instance(call, image_id, instance, request.get("BlockDeviceMappings") or ())
    rests = instance.state == "running" and not request.get("NoReboot")
    begun = snapshots.begin(
        call,
        list(volumes.values()),
        f"Created by CreateImage({instance.id}) for {image_id}",
        {volume.id: tags[SNAPSHOT.resource_type] for volume in volumes.values()},
        at_rest=rests,
    )
    if rests:
        reboot(call.tx, instance)
    snapshot_of = {snapshot.volume_id: snapshot for snapshot in begun}
    origin, root = call.tx.get(Image, instance.image_id), instance.root_device_name
    image = replace(
        new_image(
            *(call, image_id, name, description, root, _size_gib(mappings, root)),
            *(instance.boot_mode, instance.kernel_image_id),
        ),
        default_user=origin.default_user if origin is not None else "root",
        minimum_memory_mib=origin.minimum_memory_mib if origin is not None else 0,
        state="pending",
        source_instance_id=instance.id,
        source_image_id=instance.image_id,
        source_image_region=call.region,
    )
    call.tx.insert(
        image,
        *(
            mapping
            if mapping.device not in volumes
            else replace(mapping, snapshot_id=snapshot_of[volumes[mapping.device].id].id)
            for mapping in mappings
        ),
    )
    inherit_watermarks(call.tx, instance.image_id, image)
    put_tags(call.tx, call.account_id, call.region, IMAGE.resource_type, image_id, tags[IMAGE.resource_type])
    return {"ImageId": image_id}


def _of_instance(
    call: Call, image_id: ImageId, instance: Instance, given: Sequence[BlockDeviceMappingTypeDef]
) -> tuple[list[ImageMapping], dict[str, Volume]]:
    """The disks that the image has, and the volumes of those that the instance has, by device."""
    image_mappings.checked_devices(given)
    said = {mapping.get("DeviceName", ""): mapping for mapping in given}
    attached = attached_to(call.tx, instance.id)
    left_out = {device for device, mapping in said.items() if "NoDevice" in mapping}
    if instance.root_device_name in left_out or instance.root_device_name not in attached:
        raise InvalidBlockDeviceMapping(f"The image must have the root device {instance.root_device_name}.")
    mappings = []
    for device, (attachment, volume) in attached.items():
        if device in left_out:
            continue
        ebs = said.get(device, {}).get("Ebs", {})
        size_gib = ebs.get("VolumeSize", volume.size_gib)
        if size_gib < volume.size_gib:
            raise InvalidBlockDeviceMapping(
                f"Volume of size {size_gib}GB is smaller than snapshot, expect size >= {volume.size_gib}GB"
            )
        volume_type = str(ebs.get("VolumeType") or volume.volume_type)
        image_mappings.check_performance(volume_type, ebs)
        mappings.append(
            ImageMapping(
                image_id=image_id,
                device=device,
                snapshot_id=None,
                size_gib=size_gib,
                volume_type=volume_type,
                iops=ebs.get("Iops", volume.iops if volume_type == "gp3" else None),
                throughput_mibps=ebs.get("Throughput", volume.throughput_mibps or None),
                encrypted=volume.encrypted,
                delete_on_termination=ebs.get("DeleteOnTermination", attachment.delete_on_termination),
            )
        )
    others = [mapping for device, mapping in said.items() if device not in attached]
    empty, _ = image_mappings.registered(call, image_id, others)
    return [*mappings, *empty], {device: volume for device, (_, volume) in attached.items() if device not in left_out}


def _needed_to_register(call: Call, request: RegisterImageRequestTypeDef) -> Iterator[Needed]:
    yield from made(call, request, IMAGE, keys=lambda: {"ec2:Owner": call.account_id})
    for mapping in request.get("BlockDeviceMappings") or ():
        if snapshot_id := mapping.get("Ebs", {}).get("SnapshotId"):
            yield SNAPSHOT.needed(call, snapshot_id)


@operation(resources=_needed_to_register)
def register_image(call: Call, request: RegisterImageRequestTypeDef) -> Response:
    """A snapshot of a disk whose servers are started by a kernel of ours keeps that; others boot by BootMode.

    Raises MissingParameter, InvalidAMIName.Duplicate, InvalidAMIName.Malformed, InvalidBlockDeviceMapping.
    """
    refuse_others(request, _TO_REGISTER, {"Architecture": "x86_64", "EnaSupport": False, "VirtualizationType": "hvm"})
    name, description = named(request), described(request)
    tags = specified(request.get("TagSpecifications"), IMAGE.resource_type)[IMAGE.resource_type]
    root = request.get("RootDeviceName") or "/dev/sda1"
    mode = boot_mode(request.get("BootMode"))
    if (imds := request.get("ImdsSupport")) not in (None, "v2.0"):
        raise InvalidParameterValue(f"Value ({imds}) for parameter ImdsSupport is invalid. Valid values: v2.0.")
    take_turn(call.tx)
    check_unused(call, name)
    image_id = ImageId(new_id("ami"))
    mappings, with_snapshots = image_mappings.registered(call, image_id, request.get("BlockDeviceMappings") or ())
    if not with_snapshots:
        raise MissingParameter("BlockDeviceMappings")
    if root not in with_snapshots:
        raise InvalidBlockDeviceMapping(f"The root device '{root}' is mapped to no snapshot.")
    snapshot = with_snapshots[root]
    call.tx.insert(
        replace(
            new_image(
                *(call, image_id, name, description, root, _size_gib(mappings, root), mode),
                snapshot.kernel_image_id if "BootMode" not in request else None,
            ),
            imds_v2=imds == "v2.0",
        ),
        *mappings,
    )
    put_tags(call.tx, call.account_id, call.region, IMAGE.resource_type, image_id, tags)
    return {"ImageId": image_id}


def _size_gib(mappings: Sequence[ImageMapping], device: str) -> int:
    return next(mapping.size_gib for mapping in mappings if mapping.device == device)


def named(request: Mapping[str, Any]) -> str:
    """The name in a request. Raises MissingParameter, InvalidAMIName.Malformed."""
    name = str(request.get("Name") or "")
    if not name:
        raise MissingParameter("Name")
    if not _NAME.fullmatch(name):
        raise InvalidAMINameMalformed
    return name


def described(request: Mapping[str, Any]) -> str:
    """The description in a request. Raises InvalidParameterValue."""
    return checked_description(str(request.get("Description") or ""))


def checked_description(text: str) -> str:
    if len(text) > DESCRIPTION_CHARACTERS_MAX or not text.isprintable():
        raise InvalidParameterValue(
            f"The description of an image may have at most {DESCRIPTION_CHARACTERS_MAX} printable characters."
        )
    return text


def boot_mode(given: str | None) -> ImageBootMode:
    """Raises InvalidParameterValue."""
    match given:
        case None | "legacy-bios":
            return "legacy-bios"
        case "uefi" | "uefi-preferred":
            return given
    raise InvalidParameterValue(
        f"Value ({given}) for parameter BootMode is invalid. Valid values: legacy-bios, uefi, uefi-preferred."
    )


def check_unused(call: Call, name: str) -> None:
    """Raise InvalidAMIName.Duplicate if an image of the account has the name in the region, ResourceLimitExceeded if
    it has as many as it may, with those in the recycle bin."""
    own = call.tx.count(Image, owner_id=call.account_id, region=call.region)
    if own >= (most := limit(call, IMAGES)):
        raise ResourceLimitExceeded(f"The maximum number of AMIs ({most}) has been reached.")
    check_free(call, name)


def check_free(call: Call, name: str) -> None:
    """Raises InvalidAMIName.Duplicate."""
    taken = call.tx.find(Image, owner_id=call.account_id, region=call.region, name=name, recycled_at=None)
    if taken is not None:
        raise InvalidAMINameDuplicate(name, taken.id)


def snapshots_of(call: Call, image_id: ImageId) -> list[Snapshot]:
    """The snapshots of an image's disks."""
    ids = [each.snapshot_id for each in call.tx.select(ImageMapping, image_id=image_id) if each.snapshot_id]
    return call.tx.select(Snapshot, id=ids)
