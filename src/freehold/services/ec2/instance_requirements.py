"""Choosing instance types by what they have: GetInstanceTypesFromInstanceRequirements, and the overrides of fleets.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceRequirementsRequest.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from freehold.config import InstanceType
from freehold.instance_types import BUILT_IN, find
from freehold.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue, MissingParameter
from freehold.services.ec2.filters import wildcard_matches
from freehold.services.ec2.instance_types import NAMES_PAGE, described, page_of, zones_of
from freehold.services.ec2.parameters import refuse_others
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import GetInstanceTypesFromInstanceRequirementsRequestTypeDef

_PATTERNS_MAX = 400

HONOURED = {
    f"InstanceRequirements.{name}"
    for name in (
        "AcceleratorCount",
        "AcceleratorManufacturers",
        "AcceleratorNames",
        "AcceleratorTotalMemoryMiB",
        "AcceleratorTypes",
        "AllowedInstanceTypes",
        "BareMetal",
        "BaselineEbsBandwidthMbps",
        "BurstablePerformance",
        "CpuManufacturers",
        "ExcludedInstanceTypes",
        "InstanceGenerations",
        "LocalStorage",
        "LocalStorageTypes",
        "MemoryGiBPerVCpu",
        "MemoryMiB",
        "NetworkBandwidthGbps",
        "NetworkInterfaceCount",
        "RequireEncryptionInTransit",
        "RequireHibernateSupport",
        "TotalLocalStorageGB",
        "VCpuCount",
    )
}
"""Not price protection, which AWS has in fleets only."""


@operation()
def get_instance_types_from_instance_requirements(
    call: Call, request: GetInstanceTypesFromInstanceRequirementsRequestTypeDef
) -> Response:
    """The types offered in the region that have it all."""
    refuse_others(request, {*HONOURED, "ArchitectureTypes", "MaxResults", "NextToken", "VirtualizationTypes"})
    for member in ("ArchitectureTypes", "VirtualizationTypes"):
        if not request.get(member):
            raise MissingParameter(member)
    found = matching(call, request["InstanceRequirements"])
    if "x86_64" not in request["ArchitectureTypes"] or "hvm" not in request["VirtualizationTypes"]:
        found = []
    shown = [{"InstanceType": name} for name in found]
    return page_of(shown, lambda each: (each["InstanceType"],), request, "InstanceTypes", NAMES_PAGE)


def matching(call: Call, requirements: Mapping[str, Any]) -> list[str]:
    """The types offered in the region that meet an InstanceRequirementsRequest, by name.

    Raises InvalidParameterCombination, InvalidParameterValue.
    """
    _check(requirements)
    offered = [(name, find(call.config, name)) for name, zones in zones_of(call).items() if zones]
    return sorted(name for name, kind in offered if kind is not None and all(_met(name, kind, requirements)))


def _check(requirements: Mapping[str, Any]) -> None:
    if requirements.get("AllowedInstanceTypes") and requirements.get("ExcludedInstanceTypes"):
        raise InvalidParameterCombination("Only one of AllowedInstanceTypes and ExcludedInstanceTypes may be given.")
    for member in ("AllowedInstanceTypes", "ExcludedInstanceTypes"):
        if len(requirements.get(member) or ()) > _PATTERNS_MAX:
            raise InvalidParameterValue(f"{member} may have at most {_PATTERNS_MAX} patterns.")
    for member, bounds in requirements.items():
        if isinstance(bounds, Mapping) and bounds.get("Min", 0) > bounds.get("Max", bounds.get("Min", 0)):
            raise InvalidParameterValue(f"The minimum of InstanceRequirements.{member} is more than its maximum.")


def _met(name: str, kind: InstanceType, asked: Mapping[str, Any]) -> Iterator[bool]:
    """Whether a type meets each of the requirements. None here has local disks or accelerators."""
    info = described(name, kind, in_region=True)
    yield _within(asked.get("VCpuCount"), kind.vcpus)
    yield _within(asked.get("MemoryMiB"), kind.memory_mib)
    yield _within(asked.get("MemoryGiBPerVCpu"), kind.memory_mib / 1024 / kind.vcpus)
    yield _within(asked.get("NetworkInterfaceCount"), info["NetworkInfo"]["MaximumNetworkInterfaces"])
    yield _within(asked.get("NetworkBandwidthGbps"), kind.network_gbps)
    yield _within(asked.get("BaselineEbsBandwidthMbps"), kind.ebs_mbps)
    for absent in ("AcceleratorCount", "AcceleratorTotalMemoryMiB", "TotalLocalStorageGB"):
        yield _within(asked.get(absent), 0)
    yield not any(asked.get(f"Accelerator{what}") for what in ("Manufacturers", "Names", "Types"))
    yield _wanted(asked.get("BareMetal") or "excluded", info["BareMetal"])
    yield _wanted(asked.get("BurstablePerformance") or "excluded", info["BurstablePerformanceSupported"])
    yield _wanted(asked.get("LocalStorage") or "included", info["InstanceStorageSupported"])
    yield not asked.get("RequireHibernateSupport") or info["HibernationSupported"]
    yield not asked.get("RequireEncryptionInTransit") or info["NetworkInfo"]["EncryptionInTransitSupported"]
    yield not asked.get("InstanceGenerations") or "current" in asked["InstanceGenerations"]
    yield not asked.get("CpuManufacturers") or _manufacturer(name) in asked["CpuManufacturers"]
    allowed, excluded = asked.get("AllowedInstanceTypes") or ("*",), asked.get("ExcludedInstanceTypes") or ()
    yield any(wildcard_matches(pattern, name) for pattern in allowed)
    yield not any(wildcard_matches(pattern, name) for pattern in excluded)


def _within(bounds: Mapping[str, Any] | None, value: float) -> bool:
    return bounds is None or bounds.get("Min", value) <= value <= bounds.get("Max", value)


def _wanted(word: str, present: bool) -> bool:
    """``included``: with or without, ``required``, ``excluded``."""
    return word == "included" or (word == "required") == present


def _manufacturer(name: str) -> str | None:
    """Whose processors the name of a type stands for in AWS; its instances have those of their hosts."""
    if name not in BUILT_IN or name.startswith("fh1."):
        return None
    return "amd" if name.partition(".")[0].endswith("a") else "intel"
