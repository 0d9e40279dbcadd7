"""The volumes that an instance is launched with beside its root volume: those of its image, and what the request's
block device mappings add, change or leave out.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/block-device-mapping-concepts.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from freehold.records.compute import Image, VolumeAttachment
from freehold.records.ids import HostId, InstanceId
from freehold.records.images import ImageMapping
from freehold.records.snapshots import Snapshot
from freehold.services.ec2 import ebs_encryption, new_volumes, volume_settings
from freehold.services.ec2.compute_errors import InvalidBlockDeviceMapping
from freehold.services.ec2.ebs_encryption import Asked, VolumeEncryption
from freehold.services.ec2.errors import IncorrectState
from freehold.services.ec2.snapshot_sharing import usable
from freehold.services.ec2.volume_attachments import check_device
from freehold.services.ec2.volume_settings import Settings
from freehold.services.operation import Call

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import BlockDeviceMappingTypeDef, EbsBlockDeviceTypeDef

_DEFAULT_TYPE = "gp2"  # of a mapping that names none, as AWS has it


@dataclass(frozen=True, slots=True)
class Disk:
    """A volume to be made. `snapshot` None: it is empty."""

    device: str
    settings: Settings
    encryption: Asked
    delete_on_termination: bool
    snapshot: Snapshot | None


def asked_for(call: Call, image: Image, given: Sequence[BlockDeviceMappingTypeDef]) -> list[Disk]:
    """What the launch asks for, in the order of the devices' names; the image's own where the request is silent.

    Raises InvalidBlockDeviceMapping, InvalidSnapshot.NotFound, IncorrectState, and what is wrong with the settings
    (`volume_settings.checked`).
    """
    said: dict[str, BlockDeviceMappingTypeDef] = {}
    for mapping in given:
        device = mapping.get("DeviceName", "")
        if device in said:
            raise InvalidBlockDeviceMapping(f"The device '{device}' is used in more than one mapping.")
        said[device] = mapping
    of_image = {each.device: each for each in call.tx.select(ImageMapping, image_id=image.id)}
    left_out = {device for device, mapping in said.items() if "NoDevice" in mapping} | {image.root_device_name}
    return [
        _disk(call, device, of_image.get(device), said.get(device, {}).get("Ebs", {}))
        for device in sorted((of_image.keys() | said.keys()) - left_out)
    ]


def _disk(call: Call, device: str, of_image: ImageMapping | None, ebs: EbsBlockDeviceTypeDef) -> Disk:
    check_device(device)
    snapshot = _snapshot(call, of_image, ebs)
    smallest = max(snapshot.size_gib if snapshot else 0, of_image.size_gib if of_image and not ebs else 0)
    size_gib = ebs.get("VolumeSize", of_image.size_gib if of_image is not None else smallest)
    if not size_gib:
        raise InvalidBlockDeviceMapping(f"The device '{device}' has neither a snapshot nor a volume size.")
    if size_gib < smallest:
        raise InvalidBlockDeviceMapping(
            f"Volume of size {size_gib}GB is smaller than snapshot '{snapshot.id if snapshot else ''}', "
            f"expect size >= {smallest}GB"
        )
    volume_type = str(ebs.get("VolumeType") or (of_image.volume_type if of_image is not None else _DEFAULT_TYPE))
    same_type = of_image is not None and of_image.volume_type == volume_type
    iops = ebs.get("Iops", of_image.iops if of_image is not None and same_type else None)
    throughput = ebs.get("Throughput", of_image.throughput_mibps if of_image is not None and same_type else None)
    return Disk(
        device,
        volume_settings.checked(volume_type, size_gib, iops, throughput),
        _encryption(call, snapshot, of_image, ebs),
        ebs.get("DeleteOnTermination", of_image.delete_on_termination if of_image is not None else True),
        snapshot,
    )


def _snapshot(call: Call, of_image: ImageMapping | None, ebs: EbsBlockDeviceTypeDef) -> Snapshot | None:
    """What the request names must be usable by the caller; of what the image has, its permission is enough."""
    if named := ebs.get("SnapshotId"):
        snapshot = usable(call, named)
    elif of_image is not None and of_image.snapshot_id is not None:
        found = call.tx.get(Snapshot, of_image.snapshot_id)
        if found is None:
            raise InvalidBlockDeviceMapping(f"The snapshot '{of_image.snapshot_id}' of the image is gone.")
        snapshot = found
    else:
        return None
    if snapshot.state != "completed":
        raise IncorrectState(f"The snapshot '{snapshot.id}' is not in the 'completed' state.")
    return snapshot


def _encryption(
    call: Call, snapshot: Snapshot | None, of_image: ImageMapping | None, ebs: EbsBlockDeviceTypeDef
) -> Asked:
    asked = ebs_encryption.asked_for(call, ebs)
    if snapshot is None:
        wanted = asked.encrypted or (of_image is not None and of_image.encrypted)
        return Asked(wanted, asked.kms_key_id)
    return ebs_encryption.over(call, snapshot, asked)


def create(
    call: Call,
    disk: Disk,
    encryption: VolumeEncryption,
    instance_id: InstanceId,
    zone: str,
    host_id: HostId,
    tags: Mapping[str, str],
    *,
    root_of: Image | None = None,
) -> None:
    """Insert a volume of an instance, attached to it, and begin to meter it. `root_of`: it is the root volume of one
    that is launched from this image."""
    volume = new_volumes.insert(
        *(call, disk.settings, encryption, zone, host_id, tags),
        state="in-use",
        image_id=root_of.id if root_of is not None else None,
        kernel_image_id=root_of.kernel_image_id if root_of is not None else None,
        snapshot=disk.snapshot,
    )
    call.tx.insert(
        VolumeAttachment(
            volume_id=volume.id,
            instance_id=instance_id,
            account_id=call.account_id,
            region=call.region,
            device=disk.device,
            state="attaching",
            delete_on_termination=disk.delete_on_termination,
            attached_at=call.now,
        )
    )
