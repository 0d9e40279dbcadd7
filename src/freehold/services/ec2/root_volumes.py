"""The root volume that an instance is launched with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from freehold.records.compute import Image
from freehold.records.images import ImageMapping
from freehold.records.snapshots import Snapshot
from freehold.services.ec2 import ebs_encryption, volume_settings
from freehold.services.ec2.compute_errors import InvalidBlockDeviceMapping
from freehold.services.ec2.launch_volumes import Disk
from freehold.services.operation import Call

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import BlockDeviceMappingTypeDef

SIZE_GIB_MAX = 16384


def asked_for(call: Call, image: Image, mappings: Sequence[BlockDeviceMappingTypeDef]) -> Disk:
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
    snapshot = call.tx.get(Snapshot, of_image.snapshot_id) if of_image is not None and of_image.snapshot_id else None
    return Disk(
        image.root_device_name,
        settings,
        ebs_encryption.over(call, snapshot, ebs_encryption.asked_for(call, ebs)),
        ebs.get("DeleteOnTermination", stays),
        snapshot,
    )
