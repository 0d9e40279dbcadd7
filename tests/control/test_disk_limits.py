"""What volumes of each type do in a second, by AWS's own figures:
https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html, provisioned-iops.html and hdd-vols.html there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.control.disk_limits import disk_limits
from freehold.volume_types import TYPES, VolumeType

MIB = 1 << 20


@pytest.mark.parametrize(
    ("volume_type", "size_gib", "iops", "throughput", "expected"),
    [
        ("gp3", 100, 3000, 125, (3000, 125)),
        ("gp3", 100, 16000, 1000, (16000, 1000)),
        ("gp2", 100, 300, 0, (300, 128)),
        ("gp2", 334, 1002, 0, (1002, 250)),
        ("gp2", 5334, 16000, 0, (16000, 250)),
        ("io1", 100, 2000, 0, (2000, 500)),
        ("io1", 1000, 32000, 0, (32000, 500)),
        ("io1", 2000, 64000, 0, (64000, 1000)),
        ("io2", 100, 16000, 0, (16000, 4000)),
        ("io2", 100, 64000, 0, (64000, 4000)),
        ("st1", 1024, 0, 0, (500, 40)),
        ("st1", 12800, 0, 0, (500, 500)),
        ("st1", 16384, 0, 0, (500, 500)),
        ("sc1", 1024, 0, 0, (250, 12)),
        ("sc1", 16384, 0, 0, (250, 192)),
        ("standard", 10, 0, 0, (100, 90)),
    ],
)
def test_the_baseline_of_each_type(
    volume_type: str, size_gib: int, iops: int, throughput: int, expected: tuple[int, int]
) -> None:
    limits = disk_limits(volume_type, size_gib, iops, throughput)
    assert (limits.iops, limits.bytes_per_second / MIB) == expected


def test_bursts_last_as_long_as_their_credits() -> None:
    small, large = disk_limits("gp2", 100, 300, 0), disk_limits("gp2", 1000, 3000, 0)
    assert (small.iops_burst, small.iops_burst_seconds) == (3000, 1800)  # 5.4 million I/O credits
    assert (large.iops_burst, large.iops_burst_seconds) == (0, 0)
    for volume_type, burst in (("st1", 250), ("sc1", 80)):
        limits = disk_limits(volume_type, 1024, 0, 0)
        assert limits.bytes_burst == burst * MIB
        assert limits.bytes_burst_seconds == (1 << 40) // limits.bytes_burst  # 1 TiB of credits for each TiB
    assert disk_limits("st1", 4096, 0, 0).bytes_burst == 500 * MIB


@given(data=st.data(), volume_type=st.sampled_from(sorted(TYPES)))
def test_a_burst_is_no_less_than_what_it_may_always_do(data: st.DataObject, volume_type: VolumeType) -> None:
    """And a larger volume does no less."""
    rules = TYPES[volume_type]
    small, large = sorted(data.draw(st.tuples(*[st.integers(*rules.size_gib)] * 2)))
    iops = data.draw(st.integers(*(rules.iops or (100, 16000))))
    one, other = (disk_limits(volume_type, size, iops, 125) for size in (small, large))
    assert one.io_bytes == rules.io_kib * 1024
    for limits in (one, other):
        assert limits.iops_burst == 0 or limits.iops_burst >= limits.iops
        assert limits.bytes_burst == 0 or limits.bytes_burst >= limits.bytes_per_second
    assert (one.iops, one.bytes_per_second) <= (other.iops, other.bytes_per_second)
