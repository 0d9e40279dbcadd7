"""The volumes that an instance is launched with beside its root volume: those of its image, and what the request's
block device mappings add, change or leave out.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/block-device-mapping-concepts.html
"""

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
from freehold.services.ec2.ebs_encryption import Asked
from freehold.services.ec2.errors import IncorrectState
from freehold.services.ec2.resources import VOLUME
from freehold.services.ec2.snapshot_sharing import usable
from freehold.services.ec2.volume_attachments import check_device
from freehold.services.ec2.volume_settings import Settings
from freehold.services.errors import UnsupportedOperation
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
    """An encrypted snapshot keeps its key: what lies below the volume is encrypted with it. Raises UnsupportedOperation
    for another one, which would need a copy."""
    asked = ebs_encryption.asked_for(call, ebs)
    if snapshot is None:
        wanted = asked.encrypted or (of_image is not None and of_image.encrypted)
        return Asked(wanted, asked.kms_key_id)
    if not snapshot.encrypted:
        return asked
    if asked.kms_key_id is not None and ebs_encryption.arn_of(call, asked) != snapshot.kms_key_id:
        raise UnsupportedOperation("A volume with another KMS key than its snapshot: copy the snapshot with that key")
    if snapshot.account_id != call.account_id:
        raise UnsupportedOperation("A launch from an encrypted snapshot of another account: copy the snapshot first")
    return Asked(encrypted=True, kms_key_id=snapshot.kms_key_id)


def create(
    call: Call, disks: Sequence[Disk], instance_id: InstanceId, zone: str, host_id: HostId, tags: Mapping[str, str]
) -> None:
    """Insert the volumes of an instance, attached to it, and begin to meter them."""
    for disk in disks:
        encryption = ebs_encryption.resolved(call, disk.encryption)
        volume = Volume(
            id=VolumeId(new_id("vol")),
            account_id=call.account_id,
            region=call.region,
            zone=zone,
            size_gib=disk.settings.size_gib,
            volume_type=disk.settings.volume_type,
            iops=disk.settings.iops,
            throughput_mibps=disk.settings.throughput_mibps,
            image_id=None,
            state="in-use",
            host_id=host_id,
            created_at=call.now,
            encrypted=encryption.arn is not None,
            kms_key_id=encryption.arn,
            snapshot_id=disk.snapshot.id if disk.snapshot is not None else None,
        )
        call.tx.insert(
            volume,
            VolumeAttachment(
                volume_id=volume.id,
                instance_id=instance_id,
                account_id=call.account_id,
                region=call.region,
                device=disk.device,
                state="attaching",
                delete_on_termination=disk.delete_on_termination,
                attached_at=call.now,
            ),
        )
        if disk.snapshot is not None and disk.snapshot.encrypted:
            ebs_encryption.inherit_key(call, volume, disk.snapshot.id)
        else:
            ebs_encryption.make_key(call, volume, encryption)
        put_tags(call.tx, call.account_id, call.region, VOLUME.resource_type, volume.id, tags)
        meter(call.tx, volume)
