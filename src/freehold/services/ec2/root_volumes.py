"""The root volume that an instance is launched with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from freehold.records.compute import Image, Volume, VolumeAttachment
from freehold.records.ids import HostId, InstanceId, VolumeId, new_id
from freehold.records.images import ImageMapping
from freehold.records.snapshots import Snapshot
from freehold.records.tags import put_tags
from freehold.records.volumes import meter
from freehold.services.ec2 import ebs_encryption, volume_settings
from freehold.services.ec2.compute_errors import InvalidBlockDeviceMapping
from freehold.services.ec2.ebs_encryption import Asked, VolumeEncryption
from freehold.services.ec2.resources import VOLUME
from freehold.services.errors import UnsupportedOperation
from freehold.services.operation import Call

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import BlockDeviceMappingTypeDef, EbsBlockDeviceTypeDef

SIZE_GIB_MAX = 16384


@dataclass(frozen=True, slots=True)
class RootVolume:
    """What a root volume is to be like."""

    size_gib: int
    volume_type: str
    iops: int
    throughput_mibps: int
    delete_on_termination: bool
    encryption: Asked


def asked_for(call: Call, image: Image, mappings: Sequence[BlockDeviceMappingTypeDef]) -> RootVolume:
    """The root volume that the block device mappings of a launch ask for; the image's own where they are silent.

    Raises UnsupportedOperation, InvalidBlockDeviceMapping for a size that can not be, InvalidParameterDependency, and
    what is wrong with the settings (`volume_settings.checked`).
    """
    named = [each for each in mappings if each.get("DeviceName") == image.root_device_name]
    mapping: BlockDeviceMappingTypeDef = named[0] if named else {}
    if "NoDevice" in mapping:
        raise InvalidBlockDeviceMapping(f"The root device '{image.root_device_name}' can not be left out.")
    ebs = mapping.get("Ebs", {})
    of_image = call.tx.get(ImageMapping, image.id, image.root_device_name)
    smallest = of_image.size_gib if of_image is not None else image.size_gib
    if "SnapshotId" in ebs and (of_image is None or ebs["SnapshotId"] != of_image.snapshot_id):
        raise InvalidBlockDeviceMapping("The snapshot of the root device can not be another than that of the image.")
    size_gib = ebs.get("VolumeSize", smallest)
    if size_gib < smallest:
        raise InvalidBlockDeviceMapping(
            f"Volume of size {size_gib}GB is smaller than image '{image.id}', expect size >= {smallest}GB"
        )
    if size_gib > SIZE_GIB_MAX:
        raise InvalidBlockDeviceMapping(f"Volume of size {size_gib}GB is larger than {SIZE_GIB_MAX}GB")
    volume_type = str(ebs.get("VolumeType") or (of_image.volume_type if of_image is not None else "gp3"))
    same_type = of_image is not None and of_image.volume_type == volume_type
    settings = volume_settings.checked(
        volume_type,
        size_gib,
        ebs.get("Iops", of_image.iops if of_image is not None and same_type else None),
        ebs.get("Throughput", of_image.throughput_mibps if of_image is not None and same_type else None),
    )
    stays = of_image is None or of_image.delete_on_termination
    return RootVolume(
        size_gib,
        settings.volume_type,
        settings.iops,
        settings.throughput_mibps,
        ebs.get("DeleteOnTermination", stays),
        _encryption(call, of_image, ebs),
    )


def _encryption(call: Call, of_image: ImageMapping | None, ebs: EbsBlockDeviceTypeDef) -> Asked:
    """An encrypted snapshot keeps its key: what lies below the volume is encrypted with it. Raises UnsupportedOperation
    for another one, which would need a copy."""
    asked = ebs_encryption.asked_for(call, ebs)
    snapshot = call.tx.get(Snapshot, of_image.snapshot_id) if of_image is not None and of_image.snapshot_id else None
    if snapshot is None or not snapshot.encrypted:
        return asked
    if asked.kms_key_id is not None and ebs_encryption.arn_of(call, asked) != snapshot.kms_key_id:
        raise UnsupportedOperation("A volume with another KMS key than its snapshot: copy the snapshot with that key")
    if snapshot.account_id != call.account_id:
        raise UnsupportedOperation("A launch from an encrypted snapshot of another account: copy the image first")
    return Asked(encrypted=True, kms_key_id=snapshot.kms_key_id)


def create(
    call: Call,
    root: RootVolume,
    encryption: VolumeEncryption,
    image: Image,
    instance_id: InstanceId,
    zone: str,
    host_id: HostId,
    tags: Mapping[str, str],
) -> None:
    """Insert the root volume of an instance and begin to meter it."""
    mapping = call.tx.get(ImageMapping, image.id, image.root_device_name)
    volume = Volume(
        id=VolumeId(new_id("vol")),
        account_id=call.account_id,
        region=call.region,
        zone=zone,
        size_gib=root.size_gib,
        volume_type=root.volume_type,
        iops=root.iops,
        throughput_mibps=root.throughput_mibps,
        image_id=image.id,
        state="in-use",
        host_id=host_id,
        created_at=call.now,
        encrypted=encryption.arn is not None,
        kms_key_id=encryption.arn,
        snapshot_id=mapping.snapshot_id if mapping is not None else None,
        kernel_image_id=image.kernel_image_id,
    )
    call.tx.insert(volume)
    call.tx.insert(
        VolumeAttachment(
            volume_id=volume.id,
            instance_id=instance_id,
            account_id=call.account_id,
            region=call.region,
            device=image.root_device_name,
            state="attaching",
            delete_on_termination=root.delete_on_termination,
            attached_at=call.now,
        )
    )
    below = call.tx.get(Snapshot, volume.snapshot_id) if volume.snapshot_id is not None else None
    if below is not None and below.encrypted:
        ebs_encryption.inherit_key(call, volume, below.id)
    else:
        ebs_encryption.make_key(call, volume, encryption)
    put_tags(call.tx, call.account_id, call.region, VOLUME.resource_type, volume.id, tags)
    meter(call.tx, volume)
