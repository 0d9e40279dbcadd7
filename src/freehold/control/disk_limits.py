"""What volumes do in a second at most, with the bursts of their types, for their hosts.

https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-types.html
"""

from __future__ import annotations

from freehold.host.wire import DiskLimits
from freehold.volume_types import rules

_MIB = 1 << 20
_GP2_BURST_IOPS = 3000
_GP2_CREDITS = 5_400_000  # I/O requests
_STANDARD_IOPS = 100
_STANDARD_BURST_IOPS = 200  # "hundreds"
_STANDARD_MIBPS = 90
# MiB/s for each TiB, MiB/s in a burst for each TiB, and the most of a burst; the credits are 1 TiB for each TiB.
_HDD = {"st1": (40, 250, 500), "sc1": (12, 80, 250)}


def disk_limits(volume_type: str, size_gib: int, iops: int, throughput_mibps: int) -> DiskLimits:
    """What a volume does in a second at most, with the bursts of its type."""
    io_bytes = rules(volume_type).io_kib * 1024
    match volume_type:
        case "gp2":
            # 128 MiB/s up to 170 GiB, 250 MiB/s from 334 GiB on; between them in bursts.
            mibps = 128 if size_gib <= 170 else 250
            burst = _GP2_BURST_IOPS if iops < _GP2_BURST_IOPS else 0
            seconds = _GP2_CREDITS // _GP2_BURST_IOPS if burst else 0
            return DiskLimits(iops, mibps * _MIB, burst, seconds, io_bytes=io_bytes)
        case "gp3":
            return DiskLimits(iops, throughput_mibps * _MIB, io_bytes=io_bytes)
        case "io1":
            # 256 KiB for each IOPS up to 500 MiB/s, from there on 16 KiB for each up to 1,000 MiB/s.
            mibps = iops // 4 if iops <= 2000 else max(500, min(1000, iops // 64))
            return DiskLimits(iops, mibps * _MIB, io_bytes=io_bytes)
        case "io2":
            return DiskLimits(iops, min(iops // 4, 4000) * _MIB, io_bytes=io_bytes)
        case "st1" | "sc1":
            per_tib, burst_per_tib, most = _HDD[volume_type]
            base, burst = (min(each * size_gib * _MIB // 1024, most * _MIB) for each in (per_tib, burst_per_tib))
            credits_bytes = size_gib << 30
            return DiskLimits(
                most, base, bytes_burst=burst, bytes_burst_seconds=credits_bytes // burst, io_bytes=io_bytes
            )
        case _:
            return DiskLimits(_STANDARD_IOPS, _STANDARD_MIBPS * _MIB, _STANDARD_BURST_IOPS, 60, io_bytes=io_bytes)
