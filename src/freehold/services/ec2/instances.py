"""DescribeInstances, and how every answer shows an instance."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from freehold.records.compute import Instance, volumes
from freehold.records.names import private_dns_name, public_dns_name
from freehold.records.network import addresses, interface_groups, network_interfaces, security_groups
from freehold.records.statements import any_of, places
from freehold.records.tags import tags_of
from freehold.services.ec2 import metadata_options
from freehold.services.ec2.instance_filters import FILTERS
from freehold.services.ec2.instance_states import shown
from freehold.services.ec2.paging import described, not_with_ids
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.regions import zone_id
from freehold.services.ec2.resources import INSTANCE
from freehold.services.ec2.tags import tag_list
from freehold.services.operation import Call, Response, Shared, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import DescribeInstancesRequestTypeDef

# What is the same for every instance is one object for all of them: a page has a thousand.
_SAME: Mapping[str, Any] = {
    "Architecture": "x86_64",
    "CapacityReservationSpecification": Shared(CapacityReservationPreference="open"),
    "EnaSupport": False,
    "EnclaveOptions": Shared(Enabled=False),
    "HibernationOptions": Shared(Configured=False),
    "Hypervisor": "xen",
    "MaintenanceOptions": Shared(AutoRecovery="default"),
    "Operator": Shared(Managed=False),
    "PlatformDetails": "Linux/UNIX",
    "PrivateDnsNameOptions": Shared(
        HostnameType="ip-name",
        EnableResourceNameDnsARecord=False,
        EnableResourceNameDnsAAAARecord=False,
    ),
    "ProductCodes": [],
    "RootDeviceType": "ebs",
    "UsageOperation": "RunInstances",
    "VirtualizationType": "hvm",
}
_MONITORING = {True: Shared(State="enabled"), False: Shared(State="disabled")}


@operation()
def describe_instances(call: Call, request: DescribeInstancesRequestTypeDef) -> Response:
    """In the reservations of their launches; terminated ones for a while too."""
    refuse_others(request, {"Filters", "InstanceIds", "MaxResults", "NextToken"}, {"IncludeManagedResources": False})
    not_with_ids(request, "InstanceIds")
    page = described(call, INSTANCE, request, "InstanceIds", FILTERS)
    return {"Reservations": reservations(call, page.rows), **page.token}


def reservations(call: Call, rows: Sequence[Instance]) -> list[dict[str, Any]]:
    """The instances as the API shows them, in their reservations."""
    found: dict[str, dict[str, Any]] = {}
    for instance, description in zip(rows, descriptions(call, rows), strict=True):
        reservation = found.get(instance.reservation_id)
        if reservation is None:
            reservation = found[instance.reservation_id] = {
                "ReservationId": instance.reservation_id,
                "OwnerId": instance.account_id,
                "Groups": [],
                "Instances": [],
            }
        reservation["Instances"].append(description)
    return list(found.values())


class _Parts(NamedTuple):
    """What belongs to the instances of a page, by instance id; read in one query per table."""

    interfaces: Mapping[str, list[dict[str, Any]]]
    mappings: Mapping[str, list[dict[str, Any]]]
    tags: Mapping[str, Any]


def descriptions(call: Call, rows: Sequence[Instance]) -> Iterable[dict[str, Any]]:
    """The Instance structure of each."""
    if not rows:
        return []
    ids = [instance.id for instance in rows]
    parts = _Parts(_interfaces_of(call, ids), block_device_mappings(call, ids), tags_of(call.tx, ids))
    placements = {
        zone: Shared(
            AvailabilityZone=zone,
            AvailabilityZoneId=zone_id(call.region, zone),
            GroupName="",
            Tenancy="default",
        )
        for zone in {instance.zone for instance in rows}
    }
    return [_description(instance, parts, placements[instance.zone]) for instance in rows]


def _description(instance: Instance, parts: _Parts, placement: Shared) -> dict[str, Any]:
    interfaces = parts.interfaces.get(instance.id, [])
    description: dict[str, Any] = {
        **_SAME,
        "InstanceId": instance.id,
        "ImageId": instance.image_id,
        "InstanceType": instance.instance_type,
        "State": shown(instance.state),
        "StateTransitionReason": instance.state_transition_reason,
        "LaunchTime": instance.launched_at,
        "AmiLaunchIndex": instance.launch_index,
        "ClientToken": instance.client_token or "",
        "Placement": placement,
        "Monitoring": _MONITORING[instance.monitoring],
        "EbsOptimized": instance.ebs_optimized,
        "RootDeviceName": instance.root_device_name,
        "BlockDeviceMappings": parts.mappings.get(instance.id, []),
        "CpuOptions": _cpu_options(instance.vcpus),
        "MetadataOptions": metadata_options.shown(instance.metadata_options),
        "NetworkInterfaces": interfaces,
        "SecurityGroups": [],
        "PrivateDnsName": "",
        "PublicDnsName": "",
        "Tags": tag_list(parts.tags[instance.id]),
    }
    if instance.key_name is not None:
        description["KeyName"] = instance.key_name
    if instance.state_reason is not None:
        description["StateReason"] = {"Code": instance.state_reason.code, "Message": instance.state_reason.message}
    if instance.state == "terminated":
        return description
    description["VpcId"] = instance.vpc_id
    description["SubnetId"] = instance.subnet_id
    description["PrivateIpAddress"] = instance.private_ip
    description["PrivateDnsName"] = private_dns_name(instance.region, instance.private_ip)
    if interfaces:
        primary = interfaces[0]
        description["SecurityGroups"] = primary["Groups"]
        description["SourceDestCheck"] = primary["SourceDestCheck"]
        # LaunchTime moves with each start, this does not.
        description["UsageOperationUpdateTime"] = primary["Attachment"]["AttachTime"]
        if "Association" in primary:
            description["PublicIpAddress"] = primary["Association"]["PublicIp"]
            description["PublicDnsName"] = primary["Association"]["PublicDnsName"]
    return description


@functools.lru_cache(1024)
def _cpu_options(vcpus: int) -> Shared:
    return Shared(CoreCount=vcpus, ThreadsPerCore=1)


@functools.cache
def _volumes_of(size: int) -> sa.Select[Any]:
    return sa.select(
        volumes.c.instance_id,
        volumes.c.id,
        volumes.c.device,
        volumes.c.delete_on_termination,
        volumes.c.attached_at,
    ).where(any_of(volumes.c.instance_id, "ids", size))


def block_device_mappings(call: Call, ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The InstanceBlockDeviceMappings of each instance."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    rows = call.tx.rows(_volumes_of(places(len(ids))), ids=ids)
    for instance_id, volume_id, device, delete_on_termination, attached_at in rows:
        found[instance_id].append(
            {
                "DeviceName": device,
                "Ebs": {
                    "VolumeId": volume_id,
                    "Status": "attached",
                    "AttachTime": attached_at,
                    "DeleteOnTermination": delete_on_termination,
                },
            }
        )
    return found


@functools.cache
def _groups_of(size: int) -> sa.Select[Any]:
    return (
        sa.select(interface_groups.c.interface_id, security_groups.c.id, security_groups.c.name)
        .join(network_interfaces, network_interfaces.c.id == interface_groups.c.interface_id)
        .join(security_groups, security_groups.c.id == interface_groups.c.group_id)
        .where(any_of(network_interfaces.c.instance_id, "ids", size))
        .order_by(interface_groups.c.position)
    )


@functools.cache
def _addresses_of(size: int) -> sa.Select[Any]:
    return (
        sa.select(addresses.c.interface_id, addresses.c.public_ip, addresses.c.kind, addresses.c.account_id)
        .join(network_interfaces, network_interfaces.c.id == addresses.c.interface_id)
        .where(any_of(network_interfaces.c.instance_id, "ids", size))
    )


@functools.cache
def _attached_to(size: int) -> sa.Select[Any]:
    columns = network_interfaces.c
    return (
        sa.select(
            columns.instance_id,
            columns.id,
            columns.account_id,
            columns.vpc_id,
            columns.subnet_id,
            columns.description,
            columns.mac_address,
            columns.private_ip,
            columns.source_dest_check,
            columns.attachment_id,
            columns.device_index,
            columns.delete_on_termination,
            columns.attached_at,
        )
        .where(any_of(columns.instance_id, "ids", size))
        .order_by(columns.device_index)
    )


def _interfaces_of(call: Call, ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The InstanceNetworkInterfaces of each instance, the primary one first."""
    size = places(len(ids))
    # Instances are mostly in the same groups: one list for all that are.
    lists: dict[tuple[tuple[str, str], ...], list[Shared]] = {}
    memberships: dict[str, tuple[tuple[str, str], ...]] = {}
    for interface_id, group_id, name in call.tx.rows(_groups_of(size), ids=ids):
        memberships[interface_id] = (*memberships.get(interface_id, ()), (group_id, name))
    groups = {
        interface_id: lists.setdefault(of, [Shared(GroupId=group_id, GroupName=name) for group_id, name in of])
        for interface_id, of in memberships.items()
    }
    associations = {
        interface_id: Shared(
            PublicIp=public_ip,
            PublicDnsName=public_dns_name(call.region, public_ip),
            IpOwnerId="amazon" if kind == "auto" else owner,
        )
        for interface_id, public_ip, kind, owner in call.tx.rows(_addresses_of(size), ids=ids)
    }
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in call.tx.rows(_attached_to(size), ids=ids):
        instance_id, interface_id, owner, vpc_id, subnet_id, description, mac_address, private_ip, check = row[:9]
        attachment_id, device_index, delete_on_termination, attached_at = row[9:]
        dns_name = private_dns_name(call.region, private_ip)
        address = {"Primary": True, "PrivateIpAddress": private_ip, "PrivateDnsName": dns_name}
        interface = {
            "NetworkInterfaceId": interface_id,
            "OwnerId": owner,
            "VpcId": vpc_id,
            "SubnetId": subnet_id,
            "Description": description,
            "MacAddress": mac_address,
            "InterfaceType": "interface",
            "Status": "in-use",
            "PrivateIpAddress": private_ip,
            "PrivateDnsName": dns_name,
            "PrivateIpAddresses": [address],
            "Ipv6Addresses": [],
            "SourceDestCheck": check,
            "Groups": groups.get(interface_id, []),
            "Attachment": {
                "AttachmentId": attachment_id,
                "AttachTime": attached_at,
                "Status": "attached",
                "DeviceIndex": device_index,
                "DeleteOnTermination": delete_on_termination,
                "NetworkCardIndex": 0,
            },
        }
        if interface_id in associations:
            interface["Association"] = address["Association"] = associations[interface_id]
        found[instance_id].append(interface)
    return found
