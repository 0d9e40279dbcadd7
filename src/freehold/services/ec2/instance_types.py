"""DescribeInstanceTypes and DescribeInstanceTypeOfferings.

A type is described as what it is here: no local disks, one network card, disks and cards by virtio. Every member that
clients read without a guard is present.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from freehold.config import InstanceType
from freehold.instance_types import is_bare_metal, offered
from freehold.records.capacity import zones_that_hold
from freehold.services.ec2 import hibernation
from freehold.services.ec2.compute_errors import InvalidInstanceType
from freehold.services.ec2.errors import InvalidNextToken, InvalidParameterValue
from freehold.services.ec2.filters import satisfied
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.zones import zone_id
from freehold.services.operation import Call, Response, operation
from freehold.volume_types import DEVICES_MAX

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        DescribeInstanceTypeOfferingsRequestTypeDef,
        DescribeInstanceTypesRequestTypeDef,
        FilterTypeDef,
    )

_PAGE = 100
NAMES_PAGE = 1000
_NAMES_MAX = 100
# What of a type's limits is built: one interface with one address.
_INTERFACES_MAX = 1
_ADDRESSES_MAX = 1


def described(name: str, instance_type: InstanceType, *, in_region: bool) -> dict[str, Any]:
    """The InstanceTypeInfo of a type. `in_region`: there is a host that can hold it."""
    vcpus = instance_type.vcpus
    performance = network_performance(instance_type)
    return {
        "InstanceType": name,
        "CurrentGeneration": True,
        "FreeTierEligible": False,
        "SupportedUsageClasses": ["on-demand", "spot"],
        "SupportedRootDeviceTypes": ["ebs"],
        "SupportedVirtualizationTypes": ["hvm"],
        "BareMetal": is_bare_metal(name),
        **({} if is_bare_metal(name) else {"Hypervisor": "nitro"}),
        "ProcessorInfo": {"SupportedArchitectures": ["x86_64"], "SupportedFeatures": []},
        "VCpuInfo": {
            "DefaultVCpus": vcpus,
            "DefaultCores": vcpus,
            "DefaultThreadsPerCore": 1,
            "ValidCores": list(range(1, vcpus + 1)),
            "ValidThreadsPerCore": [1],
        },
        "MemoryInfo": {"SizeInMiB": instance_type.memory_mib},
        "InstanceStorageSupported": False,
        "EbsInfo": {
            "EbsOptimizedSupport": "default",
            "EncryptionSupport": "supported",
            "EbsOptimizedInfo": {
                "BaselineBandwidthInMbps": instance_type.ebs_mbps,
                "BaselineThroughputInMBps": instance_type.ebs_mbps / 8,
                "BaselineIops": instance_type.ebs_iops,
                "MaximumBandwidthInMbps": instance_type.ebs_burst_mbps,
                "MaximumThroughputInMBps": instance_type.ebs_burst_mbps / 8,
                "MaximumIops": instance_type.ebs_burst_iops,
            },
            "NvmeSupport": "unsupported",
            "AttachmentLimitType": "shared",
            "MaximumEbsAttachments": DEVICES_MAX - 1,  # the network card has the other
        },
        "NetworkInfo": {
            "NetworkPerformance": performance,
            "MaximumNetworkInterfaces": min(instance_type.interfaces, _INTERFACES_MAX),
            "MaximumNetworkCards": 1,
            "DefaultNetworkCardIndex": 0,
            "NetworkCards": [
                {
                    "NetworkCardIndex": 0,
                    "NetworkPerformance": performance,
                    "MaximumNetworkInterfaces": min(instance_type.interfaces, _INTERFACES_MAX),
                    "BaselineBandwidthInGbps": instance_type.network_gbps,
                    "PeakBandwidthInGbps": instance_type.network_burst_gbps,
                }
            ],
            "Ipv4AddressesPerInterface": min(instance_type.addresses_per_interface, _ADDRESSES_MAX),
            "Ipv6AddressesPerInterface": 0,
            "Ipv6Supported": False,
            "EnaSupport": "unsupported",
            "EfaSupported": False,
            "EncryptionInTransitSupported": False,
            "EnaSrdSupported": False,
            "FlexibleEnaQueuesSupport": "unsupported",
        },
        "PlacementGroupInfo": {
            "SupportedStrategies": [*(() if instance_type.credits_per_hour else ("cluster",)), "partition", "spread"]
        },
        "HibernationSupported": hibernation.is_supported(name, instance_type),
        "BurstablePerformanceSupported": instance_type.credits_per_hour > 0,
        "DedicatedHostsSupported": False,
        "AutoRecoverySupported": True,
        "SupportedBootModes": ["legacy-bios", "uefi"],
        "NitroEnclavesSupport": "unsupported",
        "NitroTpmSupport": "unsupported",
        "NitroTpmInfo": {"SupportedVersions": []},
        "PhcSupport": "unsupported",
        "RebootMigrationSupport": "unsupported",
        "SupportedInRegion": in_region,
    }


def network_performance(instance_type: InstanceType) -> str:
    """``Up to 12.5 Gigabit``, or ``25 Gigabit`` where there is no burst."""
    sure, reached = instance_type.network_gbps, instance_type.network_burst_gbps
    return f"{'Up to ' if sure < reached else ''}{reached:g} Gigabit"


# Filter name → path in InstanceTypeInfo: every filter of the reference; what no type has matches nothing.
_TYPE_FILTERS: dict[str, tuple[str, ...]] = {
    "auto-recovery-supported": ("AutoRecoverySupported",),
    "bare-metal": ("BareMetal",),
    "burstable-performance-supported": ("BurstablePerformanceSupported",),
    "current-generation": ("CurrentGeneration",),
    "dedicated-hosts-supported": ("DedicatedHostsSupported",),
    "ebs-info.attachment-limit-type": ("EbsInfo", "AttachmentLimitType"),
    **{
        f"ebs-info.ebs-optimized-info.{name}": ("EbsInfo", "EbsOptimizedInfo", member)
        for name, member in (
            ("baseline-bandwidth-in-mbps", "BaselineBandwidthInMbps"),
            ("baseline-iops", "BaselineIops"),
            ("baseline-throughput-in-mbps", "BaselineThroughputInMBps"),
            ("maximum-bandwidth-in-mbps", "MaximumBandwidthInMbps"),
            ("maximum-iops", "MaximumIops"),
            ("maximum-throughput-in-mbps", "MaximumThroughputInMBps"),
        )
    },
    "ebs-info.ebs-optimized-support": ("EbsInfo", "EbsOptimizedSupport"),
    "ebs-info.encryption-support": ("EbsInfo", "EncryptionSupport"),
    "ebs-info.maximum-ebs-attachments": ("EbsInfo", "MaximumEbsAttachments"),
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
    "network-info.bandwidth-weightings": ("NetworkInfo", "BandwidthWeightings"),
    "network-info.efa-info.maximum-efa-interfaces": ("NetworkInfo", "EfaInfo"),
    "network-info.efa-supported": ("NetworkInfo", "EfaSupported"),
    "network-info.ena-support": ("NetworkInfo", "EnaSupport"),
    "network-info.encryption-in-transit-supported": ("NetworkInfo", "EncryptionInTransitSupported"),
    "network-info.flexible-ena-queues-support": ("NetworkInfo", "FlexibleEnaQueuesSupport"),
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
    """The types that a host of the cloud can hold; with IncludeUnsupportedInRegion, or by name, any that is known."""
    refuse_others(request, {"InstanceTypes", "Filters", "IncludeUnsupportedInRegion", "MaxResults", "NextToken"})
    types = offered(call.config)
    named: Sequence[str] = request.get("InstanceTypes", ())
    if len(named) > _NAMES_MAX:
        raise InvalidParameterValue(f"At most {_NAMES_MAX} instance types may be given in a request.")
    if unknown := sorted(set(named) - types.keys()):
        raise InvalidInstanceType(unknown)
    zones = zones_of(call)
    infos = (
        described(name, types[name], in_region=bool(zones[name]))
        for name in sorted(set(named) or types)
        if named or request.get("IncludeUnsupportedInRegion") or zones[name]
    )
    found = _filtered(infos, request.get("Filters", ()), _TYPE_FILTERS)
    return page_of(found, lambda info: (info["InstanceType"],), request, "InstanceTypes", _PAGE)


@operation()
def describe_instance_type_offerings(call: Call, request: DescribeInstanceTypeOfferingsRequestTypeDef) -> Response:
    """A type is offered in the zones where a host can hold it: whether it has room shows when it is launched."""
    refuse_others(request, {"LocationType", "Filters", "MaxResults", "NextToken"})
    location_type = request.get("LocationType") or "region"
    located: Callable[[str], str] | None = {
        "region": lambda _zone: call.region,
        "availability-zone": lambda zone: zone,
        "availability-zone-id": lambda zone: zone_id(call.region, zone),
    }.get(location_type)
    offerings = (
        {"InstanceType": name, "LocationType": location_type, "Location": location}
        for name, zones in sorted(zones_of(call).items())
        for location in (dict.fromkeys(map(located, zones)) if located else ())
    )
    found = _filtered(offerings, request.get("Filters", ()), _OFFERING_FILTERS)
    return page_of(found, lambda o: (o["InstanceType"], o["Location"]), request, "InstanceTypeOfferings", NAMES_PAGE)


def zones_of(call: Call) -> dict[str, list[str]]:
    """Every known type, with the zones of the region that have a host which can hold it: bare metal has none."""
    zones = call.config.zone_names(call.region)
    sizes = {(kind.vcpus, kind.memory_mib) for kind in offered(call.config).values()}
    holding = zones_that_hold(call.tx, zones, sizes)
    return {
        name: [] if is_bare_metal(name) else holding[kind.vcpus, kind.memory_mib]
        for name, kind in offered(call.config).items()
    }


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


def page_of(
    found: Sequence[dict[str, Any]],
    key: Callable[[dict[str, Any]], tuple[str, ...]],
    request: Mapping[str, Any],
    member: str,
    largest: int,
) -> Response:
    """The page after the description whose key is in the token; names only, since the list is the same for all."""
    rest = found
    if request.get("NextToken"):
        keys = [key(description) for description in found]
        after = _read_token(request["NextToken"])
        if after not in keys:
            raise InvalidNextToken
        rest = found[keys.index(after) + 1 :]
    limit = request.get("MaxResults") or largest
    shown = rest[:limit]
    if len(shown) == len(rest):
        return {member: shown}
    return {member: shown, "NextToken": base64.urlsafe_b64encode("/".join(key(shown[-1])).encode()).decode()}


def _read_token(token: str) -> tuple[str, ...]:
    try:
        return tuple(base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode().split("/"))
    except (binascii.Error, UnicodeError) as error:
        raise InvalidNextToken from error
