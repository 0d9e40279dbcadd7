"""The instance types of this cloud: those of instance_types.csv, changed and extended by ``freehold.toml``.

The table has AWS's names, sizes, limits and on-demand Linux prices of us-east-1
(https://docs.aws.amazon.com/ec2/latest/instancetypes/, https://aws.amazon.com/ec2/pricing/on-demand/; CPU credits:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/burstable-credits-baseline-concepts.html), and Freehold's own
``fh1`` types for the micro image, which needs far less than the smallest of AWS's. A bare metal type is known and
never had.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from decimal import Decimal
from importlib import resources

import msgspec

from freehold.config import Config, InstanceType


def _table() -> dict[str, InstanceType]:
    lines = (resources.files("freehold") / "instance_types.csv").read_text("utf-8").splitlines()
    return {row.pop("name"): msgspec.convert(row, InstanceType, strict=False) for row in csv.DictReader(lines)}


BUILT_IN: Mapping[str, InstanceType] = _table()


def offered(config: Config) -> dict[str, InstanceType]:
    """Every instance type of this cloud by name, whether a host can hold it or not."""
    return {**BUILT_IN, **config.instance_types}


def find(config: Config, name: str) -> InstanceType | None:
    return config.instance_types.get(name) or BUILT_IN.get(name)


def spot_price(config: Config, instance_type: InstanceType) -> Decimal:
    """The price of an hour of a spot instance."""
    return instance_type.price_per_hour * config.spot.price


def is_bare_metal(name: str) -> bool:
    """Whether instances of a type are machines themselves: ``m5.metal``, ``m7i.metal-24xl``."""
    return name.partition(".")[2].startswith("metal")


def is_burstable(config: Config, name: str) -> bool:
    """Whether a type is one of those that have CPU credits."""
    found = find(config, name)
    return found is not None and found.credits_per_hour > 0
