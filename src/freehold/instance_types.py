"""The instance types on offer: AWS's names, sizes and on-demand Linux prices of us-east-1, and Freehold's own.

Sizes: https://aws.amazon.com/ec2/instance-types/, prices: https://aws.amazon.com/ec2/pricing/on-demand/. ``fh1`` types
are for the micro image, which needs far less than the smallest of AWS's. ``freehold.toml`` may add and replace types.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from freehold.config import Config, InstanceType

# Family: (price per hour of its first size, then size: (vCPUs, GiB, how many times the first size's price)).
_BURSTABLE = {
    "nano": (2, "0.5", 1),
    "micro": (2, "1", 2),
    "small": (2, "2", 4),
    "medium": (2, "4", 8),
    "large": (2, "8", 16),
    "xlarge": (4, "16", 32),
    "2xlarge": (8, "32", 64),
}


def _sizes(gib_per_vcpu: int, vcpus: tuple[int, ...]) -> dict[str, tuple[int, str, int]]:
    """``large`` (2 vCPUs), ``xlarge`` (4), ``2xlarge`` (8) …; the price grows with the vCPUs."""
    names = {2: "large", 4: "xlarge"}
    return {names.get(n, f"{n // 4}xlarge"): (n, str(n * gib_per_vcpu), n // 2) for n in vcpus}


_FIFTH = (2, 4, 8, 16, 32, 48, 64, 96)
_SIXTH = (2, 4, 8, 16, 32, 48, 64, 96, 128)

_FAMILIES: dict[str, tuple[str, dict[str, tuple[int, str, int]]]] = {
    "t3": ("0.0052", _BURSTABLE),
    "t3a": ("0.0047", _BURSTABLE),
    "m5": ("0.096", _sizes(4, _FIFTH)),
    "m5a": ("0.086", _sizes(4, _FIFTH)),
    "m6i": ("0.096", _sizes(4, _SIXTH)),
    "c5": (
        "0.085",
        _sizes(2, (2, 4, 8, 16)) | {
            "9xlarge": (36, "72", 18),
            "12xlarge": (48, "96", 24),
            "18xlarge": (72, "144", 36),
            "24xlarge": (96, "192", 48),
        },
    ),
    "c6i": ("0.085", _sizes(2, _SIXTH)),
    "r5": ("0.126", _sizes(8, _FIFTH)),
    "r6i": ("0.126", _sizes(8, _SIXTH)),
}  # fmt: skip

_OWN = {
    "fh1.nano": InstanceType(vcpus=1, memory_mib=128, price_per_hour=Decimal("0.0013")),
    "fh1.micro": InstanceType(vcpus=1, memory_mib=256, price_per_hour=Decimal("0.0026")),
}

BUILT_IN: Mapping[str, InstanceType] = _OWN | {
    f"{family}.{size}": InstanceType(
        vcpus=vcpus, memory_mib=int(Decimal(gib) * 1024), price_per_hour=Decimal(price) * factor
    )
    for family, (price, sizes) in _FAMILIES.items()
    for size, (vcpus, gib, factor) in sizes.items()
}


_BURSTABLE_FAMILIES = ("t2", "t3", "t3a", "t4g")


def is_burstable(name: str) -> bool:
    """Whether a type is one of those that AWS gives CPU credits."""
    return name.partition(".")[0] in _BURSTABLE_FAMILIES


def offered(config: Config) -> dict[str, InstanceType]:
    """Every instance type of this cloud by name: the built-in ones, changed and extended by the configuration."""
    return {**BUILT_IN, **config.instance_types}
