"""DescribeInstanceTypes and DescribeInstanceTypeOfferings.

A type is described as what it is here: no CPU credits, no local disks, one network card, disks and cards by virtio.
Every member that clients read without a guard is present.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from freehold.config import InstanceType
from freehold.instance_types import is_burstable, offered
from freehold.services.ec2.compute_errors import InvalidInstanceType
from freehold.services.ec2.errors import InvalidNextToken, InvalidParameterValue
from freehold.services.ec2.filters import satisfied
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.zones import zone_id
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        DescribeInstanceTypeOfferingsRequestTypeDef,
        DescribeInstanceTypesRequestTypeDef,
        FilterTypeDef,
    )

_PAGE = 100
_NAMES_MAX = 100


def described(name: str, instance_type: InstanceType) -> dict[str, Any]:
    """The InstanceTypeInfo of a type."""
    vcpus = instance_type.vcpus
    return {
        "InstanceType": name,
        "CurrentGeneration": True,
        "FreeTierEligible": False,
        "SupportedUsageClasses": ["on-demand"],
        "SupportedRootDeviceTypes": ["ebs"],
        "SupportedVirtualizationTypes": ["hvm"],
        "BareMetal": False,
        "Hypervisor": "nitro",
        "ProcessorInfo": {"SupportedArchitectures": ["x86_64"], "SupportedFeatures": []},
        "VCpuInfo": {
            "DefaultVCpus": vcpus,
            "DefaultCores": vcpus,
            "DefaultThreadsPerCore": 1,
            "ValidCores": [vcpus],
            "ValidThreadsPerCore": [1],
        },
        "MemoryInfo": {"SizeInMiB": instance_type.memory_mib},
        "InstanceStorageSupported": False,
        "EbsInfo": {
            "EbsOptimizedSupport": "supported",
            "EncryptionSupport": "unsupported",
            "NvmeSupport": "unsupported",
        },
        "NetworkInfo": {
            "NetworkPerformance": "Up to 10 Gigabit",
            "MaximumNetworkInterfaces": 1,
            "MaximumNetworkCards": 1,
            "DefaultNetworkCardIndex": 0,
            "NetworkCards": [
                {"NetworkCardIndex": 0, "NetworkPerformance": "Up to 10 Gigabit", "MaximumNetworkInterfaces": 1}
            ],
            "Ipv4AddressesPerInterface": 1,
            "Ipv6AddressesPerInterface": 0,
            "Ipv6Supported": False,
            "EnaSupport": "unsupported",
            "EfaSupported": False,
            "EncryptionInTransitSupported": False,
            "EnaSrdSupported": False,
        },
        "PlacementGroupInfo": {"SupportedStrategies": []},
        "HibernationSupported": False,
        "BurstablePerformanceSupported": is_burstable(name),
        "DedicatedHostsSupported": False,
        "AutoRecoverySupported": False,
        "SupportedBootModes": ["legacy-bios"],
        "NitroEnclavesSupport": "unsupported",
        "NitroTpmSupport": "unsupported",
        "NitroTpmInfo": {"SupportedVersions": []},
        "PhcSupport": "unsupported",
        "RebootMigrationSupport": "unsupported",
    }


# Filter name → path in InstanceTypeInfo. Every filter of the reference is here but those on what no type has.
_TYPE_FILTERS: dict[str, tuple[str, ...]] = {
    "auto-recovery-supported": ("AutoRecoverySupported",),
    "bare-metal": ("BareMetal",),
    "burstable-performance-supported": ("BurstablePerformanceSupported",),
    "current-generation": ("CurrentGeneration",),
    "dedicated-hosts-supported": ("DedicatedHostsSupported",),
    "ebs-info.ebs-optimized-support": ("EbsInfo", "EbsOptimizedSupport"),
    "ebs-info.encryption-support": ("EbsInfo", "EncryptionSupport"),
    "ebs-info.nvme-support": ("EbsInfo", "NvmeSupport"),
    "free-tier-eligible": ("FreeTierEligible",),
    "hibernation-supported": ("HibernationSupported",),
    "hypervisor": ("Hypervisor",),
    "instance-storage-info.disk.count": ("InstanceStorageInfo",),
    "instance-storage-info.disk.size-in-gb": ("InstanceStorageInfo",),
    "instance-storage-info.disk.type": ("InstanceStorageInfo",),
    "instance-storage-info.encryption-support": ("InstanceStorageInfo",),
    "instance-storage-info.nvme-support": ("InstanceStorageInfo",),
    "instance-storage-info.total-size-in-gb": ("InstanceStorageInfo",),
    "instance-storage-supported": ("InstanceStorageSupported",),
    "instance-type": ("InstanceType",),
    "memory-info.size-in-mib": ("MemoryInfo", "SizeInMiB"),
    "network-info.efa-supported": ("NetworkInfo", "EfaSupported"),
    "network-info.ena-support": ("NetworkInfo", "EnaSupport"),
    "network-info.encryption-in-transit-supported": ("NetworkInfo", "EncryptionInTransitSupported"),
    "network-info.ipv4-addresses-per-interface": ("NetworkInfo", "Ipv4AddressesPerInterface"),
    "network-info.ipv6-addresses-per-interface": ("NetworkInfo", "Ipv6AddressesPerInterface"),
    "network-info.ipv6-supported": ("NetworkInfo", "Ipv6Supported"),
    "network-info.maximum-network-cards": ("NetworkInfo", "MaximumNetworkCards"),
    "network-info.maximum-network-interfaces": ("NetworkInfo", "MaximumNetworkInterfaces"),
    "network-info.network-performance": ("NetworkInfo", "NetworkPerformance"),
    "nitro-enclaves-support": ("NitroEnclavesSupport",),
    "nitro-tpm-info.supported-versions": ("NitroTpmInfo", "SupportedVersions"),
    "nitro-tpm-support": ("NitroTpmSupport",),
    "processor-info.supported-architecture": ("ProcessorInfo", "SupportedArchitectures"),
    "processor-info.supported-features": ("ProcessorInfo", "SupportedFeatures"),
    "processor-info.sustained-clock-speed-in-ghz": ("ProcessorInfo", "SustainedClockSpeedInGhz"),
    "reboot-migration-support": ("RebootMigrationSupport",),
    "supported-boot-mode": ("SupportedBootModes",),
    "supported-root-device-type": ("SupportedRootDeviceTypes",),
    "supported-usage-class": ("SupportedUsageClasses",),
    "supported-virtualization-type": ("SupportedVirtualizationTypes",),
    "vcpu-info.default-cores": ("VCpuInfo", "DefaultCores"),
    "vcpu-info.default-threads-per-core": ("VCpuInfo", "DefaultThreadsPerCore"),
    "vcpu-info.default-vcpus": ("VCpuInfo", "DefaultVCpus"),
    "vcpu-info.valid-cores": ("VCpuInfo", "ValidCores"),
    "vcpu-info.valid-threads-per-core": ("VCpuInfo", "ValidThreadsPerCore"),
}
_OFFERING_FILTERS: dict[str, tuple[str, ...]] = {"instance-type": ("InstanceType",), "location": ("Location",)}


@operation()
def describe_instance_types(call: Call, request: DescribeInstanceTypesRequestTypeDef) -> Response:
    """The types that the configuration offers, in every region and zone."""
    refuse_others(
        request,
        {"InstanceTypes", "Filters", "MaxResults", "NextToken"},
        {"IncludeUnsupportedInRegion": False},
    )
    types = offered(call.config)
    named: Sequence[str] = request.get("InstanceTypes", ())
    if len(named) > _NAMES_MAX:
        raise InvalidParameterValue(f"At most {_NAMES_MAX} instance types may be given in a request.")
    if unknown := sorted(set(named) - types.keys()):
        raise InvalidInstanceType(unknown)
    infos = (described(name, types[name]) for name in sorted(set(named) or types))
    found = _filtered(infos, request.get("Filters", ()), _TYPE_FILTERS)
    return _page(found, lambda info: (info["InstanceType"],), request, "InstanceTypes")


@operation()
def describe_instance_type_offerings(call: Call, request: DescribeInstanceTypeOfferingsRequestTypeDef) -> Response:
    """Every type is offered in every zone of the region: where there is room shows only when it is launched."""
    refuse_others(request, {"LocationType", "Filters", "MaxResults", "NextToken"})
    location_type = request.get("LocationType") or "region"
    zones = call.config.zone_names(call.region)
    locations = {
        "region": (call.region,),
        "availability-zone": zones,
        "availability-zone-id": tuple(zone_id(call.region, zone) for zone in zones),
    }.get(location_type, ())
    offerings = (
        {"InstanceType": name, "LocationType": location_type, "Location": location}
        for name in sorted(offered(call.config))
        for location in locations
    )
    found = _filtered(offerings, request.get("Filters", ()), _OFFERING_FILTERS)
    return _page(found, lambda o: (o["InstanceType"], o["Location"]), request, "InstanceTypeOfferings")


def _filtered(
    descriptions: Iterable[dict[str, Any]], filters: Sequence[FilterTypeDef], paths: Mapping[str, tuple[str, ...]]
) -> list[dict[str, Any]]:
    if not filters:
        return list(descriptions)
    return [
        description
        for description in descriptions
        if satisfied(filters, {name: list(_texts(description, path)) for name, path in paths.items()})
    ]


def _texts(description: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    value: Any = description
    for name in path:
        value = value.get(name)
        if value is None:
            return
    for item in value if isinstance(value, list) else [value]:
        yield str(item).lower() if isinstance(item, bool) else str(item)


def _page(
    found: Sequence[dict[str, Any]],
    key: Callable[[dict[str, Any]], tuple[str, ...]],
    request: Mapping[str, Any],
    member: str,
) -> Response:
    """The page after the description whose key is in the token; names only, since the list is the same for all."""
    rest = found
    if request.get("NextToken"):
        keys = [key(description) for description in found]
        after = _read_token(request["NextToken"])
        if after not in keys:
            raise InvalidNextToken
        rest = found[keys.index(after) + 1 :]
    limit = request.get("MaxResults") or (_PAGE if member == "InstanceTypes" else 1000)
    shown = rest[:limit]
    if len(shown) == len(rest):
        return {member: shown}
    return {member: shown, "NextToken": base64.urlsafe_b64encode("/".join(key(shown[-1])).encode()).decode()}


def _read_token(token: str) -> tuple[str, ...]:
    try:
        return tuple(base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode().split("/"))
    except (binascii.Error, UnicodeError) as error:
        raise InvalidNextToken from error
