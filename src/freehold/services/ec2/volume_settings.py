"""What a volume may be like: size, type, IOPS and throughput, as AWS bounds them (freehold/volume_types.py)."""

from __future__ import annotations

from dataclasses import dataclass

from freehold.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue, MissingParameter
from freehold.services.ec2.volume_errors import UnknownVolumeType
from freehold.volume_types import (
    GP3_THROUGHPUT_MIBPS,
    MULTI_ATTACH_TYPES,
    TYPES,
    VolumeType,
    is_type,
    rules,
    shown_iops,
)


@dataclass(frozen=True, slots=True)
class Settings:
    """A volume's type and size, and what it does in a second: 0 = the type has none to show."""

    volume_type: VolumeType
    size_gib: int
    iops: int
    throughput_mibps: int


def checked(volume_type: str, size_gib: int, iops: int | None, throughput_mibps: int | None) -> Settings:
    """The settings that a request asks for; None: it does not say.

    Raises UnknownVolumeType, InvalidParameterValue for what is out of bounds, InvalidParameterCombination for what the
    type does not have, MissingParameter.
    """
    if not is_type(volume_type):
        raise UnknownVolumeType(volume_type)
    kind = rules(volume_type)
    low, high = kind.size_gib
    if size_gib > high:
        raise InvalidParameterValue(
            f"Volume of {size_gib}GiB is too large for volume type {volume_type}; maximum is {high}GiB."
        )
    if size_gib < low:
        raise InvalidParameterValue(
            f"Volume of {size_gib}GiB is too small for volume type {volume_type}; minimum is {low}GiB."
        )
    for name, given, bounds in (("iops", iops, kind.iops), ("throughput", throughput_mibps, kind.throughput_mibps)):
        if given is not None and bounds is None:
            raise InvalidParameterCombination(f"The parameter {name} is not supported for {volume_type} volumes.")
        if given is not None and bounds is not None:
            _check_bounds(name, given, bounds)
    if kind.iops_required and iops is None:
        raise MissingParameter("iops")
    # The IOPS that a gp3 volume has without being asked are given to the smallest one as well.
    if iops is not None and iops > max(kind.iops_per_gib * size_gib, kind.iops[0] if kind.iops else 0):
        raise InvalidParameterValue(
            f"Iops to volume size ratio of {iops / size_gib:.6f} is too high; maximum is {kind.iops_per_gib:.6f}"
        )
    shown = shown_iops(volume_type, size_gib, iops)
    throughput = throughput_mibps or (GP3_THROUGHPUT_MIBPS if volume_type == "gp3" else 0)
    if kind.mibps_per_iops and throughput > kind.mibps_per_iops * shown:
        raise InvalidParameterValue(
            f"Throughput (MiBps) to iops ratio of {throughput / shown:.6f} is too high; maximum is "
            f"{kind.mibps_per_iops:.6f} MiBps per iops"
        )
    name_of: VolumeType = next(name for name in TYPES if name == volume_type)
    return Settings(name_of, size_gib, shown, throughput)


def check_multi_attach(volume_type: str) -> None:
    """Raises InvalidParameterCombination for a type that only one instance at a time can have."""
    if volume_type not in MULTI_ATTACH_TYPES:
        raise InvalidParameterCombination(
            f"The parameter MultiAttachEnabled is not supported for {volume_type} volumes."
        )


def _check_bounds(name: str, given: int, bounds: tuple[int, int]) -> None:
    low, high = bounds
    if given < low:
        raise InvalidParameterValue(f"Volume {name} of {given} is too low; minimum is {low}.")
    if given > high:
        raise InvalidParameterValue(f"Volume {name} of {given} is too high; maximum is {high}.")
