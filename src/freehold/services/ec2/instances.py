"""DescribeInstances, and how every answer shows an instance."""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import sqlalchemy as sa

from freehold.dns_names import private_dns_name, public_dns_name
from freehold.records.compute import CapacitySpecification, Instance, profile_associations, volume_attachments
from freehold.records.network import addresses, interface_groups, network_interfaces, security_groups
from freehold.records.schema import moment
from freehold.records.statements import RowText, any_of, places
from freehold.records.tags import Tag, tags_of
from freehold.services.ec2 import launch_capacity, metadata_options
from freehold.services.ec2.instance_filters import FILTERS
from freehold.services.ec2.instance_states import shown
from freehold.services.ec2.paging import described, not_with_ids
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import INSTANCE
from freehold.services.ec2.tags import tag_list
from freehold.services.ec2.zones import zone_id
from freehold.services.operation import Call, Response, Shared, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import DescribeInstancesRequestTypeDef

# What is the same for every instance is one object for all of them: a page has a thousand.
_SAME: Mapping[str, Any] = {
    "Architecture": "x86_64",
    "EnaSupport": False,
    "EnclaveOptions": Shared(Enabled=False),
    "Hypervisor": "xen",
    "NetworkPerformanceOptions": Shared(BandwidthWeighting="default"),
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
_HIBERNATION = {configured: Shared(Configured=configured) for configured in (True, False)}
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


# Rows are texts, so that a page of a thousand is read soon: what they say is only worked out when it is new.


class _Interface(NamedTuple):
    """A row of `_attached_to`: an interface, with one of its groups."""

    id: str
    group_id: str | None
    group_name: str | None
    public_ip: str | None
    public_ip_kind: str | None
    public_ip_owner: str | None
    account_id: str
    vpc_id: str
    subnet_id: str
    description: str
    mac_address: str
    private_ip: str
    source_dest_check: bool
    attachment_id: str
    device_index: int
    delete_on_termination: bool
    attached_at: int


class _Mapping(NamedTuple):
    """A row of `_volumes_of`."""

    volume_id: str
    device: str
    state: str
    delete_on_termination: bool
    attached_at: int


class _Profile(NamedTuple):
    """A row of `_profiles_of`."""

    arn: str
    id: str


# Not strict: SQLite's booleans are 0 and 1.
_read_interface = msgspec.json.Decoder(_Interface, strict=False).decode
_read_mapping = msgspec.json.Decoder(_Mapping, strict=False).decode
_read_profile = msgspec.json.Decoder(_Profile).decode


def descriptions(call: Call, rows: Sequence[Instance]) -> Iterable[Shared]:
    """The Instance structure of each."""
    if not rows:
        return []
    ids = [instance.id for instance in rows]
    attached, mapped, profiles = (_rows_of(call, query, ids) for query in (_attached_to, _volumes_of, _profiles_of))
    tags = tags_of(call.tx, ids)
    return [
        _known_description(
            (
                instance,
                attached.get(instance.id, _NO_ROWS),
                mapped.get(instance.id, _NO_ROWS),
                profiles.get(instance.id, _NO_ROWS),
                tags[instance.id],
            )
        )
        for instance in rows
    ]


_NO_ROWS: Sequence[str] = []
_Said = tuple[Instance, Sequence[str], Sequence[str], Sequence[str], Sequence[Tag]]
"""All that the database says of an instance: itself, its interfaces, volumes and profile, its tags."""

# Who watches instances asks for the same ones again and again. What the database says of each is read every time;
# while it is the same, so is the description, and its text.
_known: dict[str, tuple[_Said, Shared]] = {}
_KNOWN_MAX = 2048


def _known_description(said: _Said) -> Shared:
    instance_id = said[0].id
    known = _known.get(instance_id)
    if known is not None and known[0] == said:
        return known[1]
    if len(_known) >= _KNOWN_MAX:
        _known.clear()
    description = _description(*said)
    _known[instance_id] = said, description
    return description


def _description(
    instance: Instance,
    attached: Sequence[str],
    mapped: Sequence[str],
    profiles: Sequence[str],
    held: Sequence[Tag],
) -> Shared:
    by_interface = itertools.groupby(map(_read_interface, attached), attrgetter("id"))
    interfaces = [_interface(list(rows), instance.region) for _, rows in by_interface]
    description = Shared(_SAME)
    description |= {
        "InstanceId": instance.id,
        "ImageId": instance.image_id,
        "BootMode": instance.boot_mode,
        "CurrentInstanceBootMode": instance.boot_mode,
        "InstanceType": instance.instance_type,
        "State": shown(instance.state),
        "StateTransitionReason": instance.state_transition_reason,
        "LaunchTime": instance.launched_at,
        "AmiLaunchIndex": instance.launch_index,
        "ClientToken": instance.client_token or "",
        "Placement": _placement(
            instance.region,
            instance.zone,
            instance.placement_group_id,
            instance.placement_group_name,
            instance.partition_number,
        ),
        "HibernationOptions": _HIBERNATION[instance.hibernation_configured],
        "Monitoring": _MONITORING[instance.monitoring],
        "EbsOptimized": instance.ebs_optimized,
        "RootDeviceName": instance.root_device_name,
        "BlockDeviceMappings": [_mapping(_read_mapping(row)) for row in mapped],
        "CapacityReservationSpecification": _capacity(instance.capacity),
        "CpuOptions": _cpu_options(instance.core_count or instance.vcpus),
        "MaintenanceOptions": _maintenance_options(instance.auto_recovery, instance.reboot_migration),
        "MetadataOptions": metadata_options.shown(instance.metadata_options),
        "NetworkInterfaces": interfaces,
        "SecurityGroups": [],
        "PrivateDnsName": "",
        "PublicDnsName": "",
        "Tags": tag_list(held),
    }
    if instance.spot_request_id is not None:
        description |= {"InstanceLifecycle": "spot", "SpotInstanceRequestId": instance.spot_request_id}
    if instance.capacity_reservation_id is not None:
        description["CapacityReservationId"] = instance.capacity_reservation_id
    if instance.key_name is not None:
        description["KeyName"] = instance.key_name
    for profile in map(_read_profile, profiles):
        description["IamInstanceProfile"] = {"Arn": profile.arn, "Id": profile.id}
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
def _capacity(capacity: CapacitySpecification) -> Shared:
    return Shared(launch_capacity.shown(capacity))


@functools.lru_cache(1024)
def _cpu_options(vcpus: int) -> Shared:
    return Shared(CoreCount=vcpus, ThreadsPerCore=1)


@functools.lru_cache(4)
def _maintenance_options(auto_recovery: str, reboot_migration: str) -> Shared:
    return Shared(AutoRecovery=auto_recovery, RebootMigration=reboot_migration)


@functools.lru_cache(1024)
def _placement(region: str, zone: str, group_id: str | None, group: str | None, partition: int | None) -> Shared:
    placement = Shared(AvailabilityZone=zone, AvailabilityZoneId=zone_id(region, zone), GroupName=group or "")
    placement["Tenancy"] = "default"
    if group_id is not None:
        placement["GroupId"] = group_id
    if partition is not None:
        placement["PartitionNumber"] = partition
    return placement


def _mapping(mapping: _Mapping) -> dict[str, Any]:
    return {
        "DeviceName": mapping.device,
        "Ebs": {
            "VolumeId": mapping.volume_id,
            "Status": mapping.state,
            "AttachTime": moment(mapping.attached_at),
            "DeleteOnTermination": mapping.delete_on_termination,
        },
    }


def _interface(rows: Sequence[_Interface], region: str) -> dict[str, Any]:
    of = rows[0]
    dns_name = private_dns_name(region, of.private_ip)
    address = {"Primary": True, "PrivateIpAddress": of.private_ip, "PrivateDnsName": dns_name}
    interface = {
        "NetworkInterfaceId": of.id,
        "OwnerId": of.account_id,
        "VpcId": of.vpc_id,
        "SubnetId": of.subnet_id,
        "Description": of.description,
        "MacAddress": of.mac_address,
        "InterfaceType": "interface",
        "Status": "in-use",
        "PrivateIpAddress": of.private_ip,
        "PrivateDnsName": dns_name,
        "PrivateIpAddresses": [address],
        "Ipv6Addresses": [],
        "SourceDestCheck": of.source_dest_check,
        "Groups": [{"GroupId": row.group_id, "GroupName": row.group_name} for row in rows if row.group_id is not None],
        "Attachment": {
            "AttachmentId": of.attachment_id,
            "AttachTime": moment(of.attached_at),
            "Status": "attached",
            "DeviceIndex": of.device_index,
            "DeleteOnTermination": of.delete_on_termination,
            "NetworkCardIndex": 0,
        },
    }
    if of.public_ip is not None:
        interface["Association"] = address["Association"] = {
            "PublicIp": of.public_ip,
            "PublicDnsName": public_dns_name(region, of.public_ip),
            "IpOwnerId": "amazon" if of.public_ip_kind == "auto" else of.public_ip_owner,
        }
    return interface


def block_device_mappings(call: Call, instance: Instance) -> list[dict[str, Any]]:
    """The InstanceBlockDeviceMappings of an instance."""
    return [_mapping(_read_mapping(row)) for row in _rows_of(call, _volumes_of, [instance.id])[instance.id]]


@functools.cache
def _volumes_of(size: int) -> sa.Select[Any]:
    columns = volume_attachments.c
    row = columns.volume_id, columns.device, columns.state, columns.delete_on_termination, columns.attached_at
    return (
        sa.select(columns.instance_id, RowText(*row))
        .where(any_of(columns.instance_id, "ids", size))
        .order_by(columns.attached_at, columns.device)
    )


@functools.cache
def _profiles_of(size: int) -> sa.Select[Any]:
    columns = profile_associations.c
    return sa.select(columns.instance_id, RowText(columns.profile_arn, columns.profile_id)).where(
        any_of(columns.instance_id, "ids", size)
    )


@functools.cache
def _attached_to(size: int) -> sa.Select[Any]:
    """Interfaces with their address, once for each of their groups, the primary one first: joined, since a page has a
    thousand."""
    columns, groups = network_interfaces.c, interface_groups.c
    row = (
        columns.id,
        security_groups.c.id,
        security_groups.c.name,
        addresses.c.public_ip,
        addresses.c.kind,
        addresses.c.account_id,
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
    return (
        sa.select(columns.instance_id, RowText(*row))
        .outerjoin(addresses, addresses.c.interface_id == columns.id)
        .outerjoin(interface_groups, groups.interface_id == columns.id)
        .outerjoin(security_groups, security_groups.c.id == groups.group_id)
        .where(any_of(columns.instance_id, "ids", size))
        .order_by(columns.device_index, columns.id, groups.position)
    )


def _rows_of(call: Call, query: Callable[[int], sa.Select[Any]], ids: Sequence[str]) -> dict[str, list[str]]:
    """The rows of each instance."""
    found: dict[str, list[str]] = defaultdict(list)
    for instance_id, row in call.tx.rows(query(places(len(ids))), ids=ids):
        found[instance_id].append(row)
    return found
