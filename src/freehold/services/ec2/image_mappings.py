"""The disks that servers of an image begin with: what a request says of them, and how answers show them.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EbsBlockDevice.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from freehold.records.ids import ImageId
from freehold.records.images import ImageMapping
from freehold.records.snapshots import Snapshot
from freehold.services.ec2.compute_errors import InvalidBlockDeviceMapping
from freehold.services.ec2.errors import IncorrectState, InvalidParameterCombination, InvalidParameterValue
from freehold.services.ec2.resources import SNAPSHOT
from freehold.services.ec2.root_volumes import SIZE_GIB_MAX
from freehold.services.errors import UnsupportedOperation
from freehold.services.operation import Call

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import BlockDeviceMappingTypeDef, EbsBlockDeviceTypeDef

DISKS_MAX = 24
DEFAULT_TYPE = "gp2"
HONOURED = {
    "BlockDeviceMappings.DeviceName",
    "BlockDeviceMappings.Ebs.DeleteOnTermination",
    "BlockDeviceMappings.Ebs.Encrypted",
    "BlockDeviceMappings.Ebs.Iops",
    "BlockDeviceMappings.Ebs.SnapshotId",
    "BlockDeviceMappings.Ebs.Throughput",
    "BlockDeviceMappings.Ebs.VolumeSize",
    "BlockDeviceMappings.Ebs.VolumeType",
    "BlockDeviceMappings.NoDevice",
}

_DEVICE = re.compile(r"/dev/(?:sd[a-z][1-9]?[0-9]?|xvd[a-z]{1,2}|hd[a-z][0-9]{0,2})|(?:xvd|sd)[a-z]{1,2}")


def checked_devices(mappings: Sequence[BlockDeviceMappingTypeDef]) -> None:
    """Raise InvalidBlockDeviceMapping for a name that is none, or is there twice."""
    seen = set()
    for mapping in mappings:
        name = mapping.get("DeviceName", "")
        if not _DEVICE.fullmatch(name):
            raise InvalidBlockDeviceMapping(f"'{name}' is not a valid device name.")
        if name in seen:
            raise InvalidBlockDeviceMapping(f"The device '{name}' is used in more than one mapping.")
        seen.add(name)
    if len(seen) > DISKS_MAX:
        raise InvalidBlockDeviceMapping(f"An image may have at most {DISKS_MAX} disks.")


def registered(
    call: Call, image_id: ImageId, mappings: Sequence[BlockDeviceMappingTypeDef]
) -> tuple[list[ImageMapping], dict[str, Snapshot]]:
    """The disks that RegisterImage names, and the snapshots of those that have one, by device.

    Raises InvalidSnapshot.NotFound, IncorrectState for one that is not completed, InvalidBlockDeviceMapping,
    InvalidParameterCombination.
    """
    checked_devices(mappings)
    made, snapshots = [], {}
    for mapping in mappings:
        if "NoDevice" in mapping:
            continue
        ebs = mapping.get("Ebs", {})
        device = mapping.get("DeviceName", "")
        snapshot = SNAPSHOT.load(call, ebs["SnapshotId"]) if ebs.get("SnapshotId") else None
        if snapshot is not None:
            snapshots[device] = snapshot
        made.append(_made(image_id, device, ebs, snapshot))
    return made, snapshots


def _made(image_id: ImageId, device: str, ebs: EbsBlockDeviceTypeDef, snapshot: Snapshot | None) -> ImageMapping:
    if snapshot is not None:
        if snapshot.state != "completed":
            raise IncorrectState(f"The snapshot '{snapshot.id}' is in the '{snapshot.state}' state.")
        if "Encrypted" in ebs:
            raise InvalidParameterCombination("The parameter Encrypted can not be given for a device with a snapshot.")
    elif "VolumeSize" not in ebs:
        raise InvalidBlockDeviceMapping(f"The device '{device}' has neither a snapshot nor a volume size.")
    smallest = snapshot.size_gib if snapshot is not None else 1
    size_gib = ebs.get("VolumeSize", smallest)
    if not smallest <= size_gib <= SIZE_GIB_MAX:
        raise InvalidBlockDeviceMapping(
            f"Volume of size {size_gib}GB is smaller than snapshot, expect size >= {smallest}GB"
            if size_gib < smallest
            else f"Volume of size {size_gib}GB is larger than {SIZE_GIB_MAX}GB"
        )
    volume_type = str(ebs.get("VolumeType") or DEFAULT_TYPE)
    check_performance(volume_type, ebs)
    return ImageMapping(
        image_id=image_id,
        device=device,
        snapshot_id=snapshot.id if snapshot is not None else None,
        size_gib=size_gib,
        volume_type=volume_type,
        iops=ebs.get("Iops"),
        throughput_mibps=ebs.get("Throughput"),
        encrypted=snapshot.encrypted if snapshot is not None else bool(ebs.get("Encrypted")),
        delete_on_termination=ebs.get("DeleteOnTermination", True),
    )


def check_performance(volume_type: str, ebs: EbsBlockDeviceTypeDef) -> None:
    """Raise UnsupportedOperation, InvalidParameterValue for a type, IOPS or a throughput that no volume here has."""
    if volume_type not in ("gp2", "gp3"):
        raise UnsupportedOperation(f"The volume type {volume_type}")
    if volume_type == "gp2" and ("Iops" in ebs or "Throughput" in ebs):
        raise InvalidParameterValue("The parameters Iops and Throughput are not supported for gp2 volumes.")


def shown(mappings: Iterable[ImageMapping]) -> list[dict[str, Any]]:
    """As answers show them."""
    result = []
    for mapping in mappings:
        ebs: dict[str, Any] = {
            "DeleteOnTermination": mapping.delete_on_termination,
            "VolumeSize": mapping.size_gib,
            "VolumeType": mapping.volume_type,
            "Encrypted": mapping.encrypted,
        }
        if mapping.snapshot_id is not None:
            ebs["SnapshotId"] = mapping.snapshot_id
        if mapping.iops is not None:
            ebs["Iops"] = mapping.iops
        if mapping.throughput_mibps is not None:
            ebs["Throughput"] = mapping.throughput_mibps
        result.append({"DeviceName": mapping.device, "Ebs": ebs})
    return result
