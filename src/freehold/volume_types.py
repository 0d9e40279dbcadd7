"""EBS's volume types: what each may be like, and what it does in a second.

https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-types.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

VolumeType = Literal["gp2", "gp3", "io1", "io2", "sc1", "st1", "standard"]


@dataclass(frozen=True, slots=True)
class Rules:
    """`iops` and `throughput` are the least and the most that may be asked for, None: it can not be asked for;
    `iops_per_gib` and `mibps_per_iops` bound them further. `io_kib`: what is larger counts as several requests."""

    size_gib: tuple[int, int]
    io_kib: int
    iops: tuple[int, int] | None = None
    iops_per_gib: int = 0
    iops_required: bool = False
    throughput_mibps: tuple[int, int] | None = None
    mibps_per_iops: float = 0.0


TYPES: dict[VolumeType, Rules] = {
    "gp2": Rules((1, 16384), 256),
    "gp3": Rules(
        (1, 65536),
        256,
        iops=(3000, 80000),
        iops_per_gib=500,
        throughput_mibps=(125, 2000),
        mibps_per_iops=0.25,
    ),
    "io1": Rules((4, 16384), 256, iops=(100, 64000), iops_per_gib=50, iops_required=True),
    "io2": Rules((4, 65536), 256, iops=(100, 256000), iops_per_gib=1000, iops_required=True),
    "sc1": Rules((125, 16384), 1024),
    "st1": Rules((125, 16384), 1024),
    "standard": Rules((1, 1024), 256),
}

GP3_IOPS = 3000
GP3_THROUGHPUT_MIBPS = 125

_GP2_IOPS = (100, 16000)
_GP2_IOPS_PER_GIB = 3

DEVICES_MAX = 28
"""Disks and network cards of an instance: https://docs.aws.amazon.com/ebs/latest/userguide/volume_limits.html"""


MULTI_ATTACH_TYPES = ("io1", "io2")
MULTI_ATTACHMENTS_MAX = 16
"""Instances that a volume with Multi-Attach may be attached to:
https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volumes-multi.html"""


def is_type(name: str) -> bool:
    return name in TYPES


def rules(volume_type: str) -> Rules:
    return TYPES[cast(VolumeType, volume_type)]


def shown_iops(volume_type: str, size_gib: int, iops: int | None) -> int:
    """What AWS shows of a volume's IOPS: what was asked for, or what follows from the type and size; 0 = nothing."""
    match volume_type:
        case "gp2":
            low, high = _GP2_IOPS
            return min(max(low, _GP2_IOPS_PER_GIB * size_gib), high)
        case "gp3":
            return iops or GP3_IOPS
        case "io1" | "io2":
            return iops or 0
        case _:
            return 0
