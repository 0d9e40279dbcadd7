"""Network interfaces: what DescribeNetworkInterfaces shows, and the primary interface that a launch makes."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

import sqlalchemy as sa

from freehold.dns_names import private_dns_name, public_dns_name
from freehold.quotas import GROUPS_PER_INTERFACE
from freehold.records.feed import publish, take_turn
from freehold.records.ids import InstanceId, InterfaceId, SubnetId, VpcId, new_id
from freehold.records.network import (
    Address,
    InterfaceGroup,
    NetworkInterface,
    SecurityGroup,
    Subnet,
    addresses,
    interface_groups,
    network_interfaces,
    security_groups,
)
from freehold.records.tags import Tag, tags_of
from freehold.services.ec2.errors import (
    InsufficientFreeAddressesInSubnet,
    InvalidIPAddressInUse,
    InvalidParameter,
    InvalidParameterValue,
    SecurityGroupsPerInterfaceLimitExceeded,
)
from freehold.services.ec2.filters import Condition, absent, any_row, constant, flag, moment, number, text
from freehold.services.ec2.free_address import free_address
from freehold.services.ec2.instance_filters import IP_OWNER, private_dns, public_dns
from freehold.services.ec2.paging import described, not_with_ids
from freehold.services.ec2.regions import zone_id_filter
from freehold.services.ec2.resources import NETWORK_INTERFACE, SECURITY_GROUP
from freehold.services.ec2.tags import tag_list
from freehold.services.ec2.zones import zone_id
from freehold.services.operation import Call, Response, operation
from freehold.services.quotas import limit

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        DescribeNetworkInterfacesRequestTypeDef,
        GroupIdentifierTypeDef,
        NetworkInterfaceAssociationTypeDef,
        NetworkInterfaceAttachmentTypeDef,
        NetworkInterfaceTypeDef,
    )

_N = network_interfaces.c

_RESERVED_FIRST = 4
"""The first addresses of a subnet, which no interface may have (nor the last one; see `subnets.RESERVED`)."""


def _association(that: Condition) -> Condition:
    """A filter on the public address of the interface."""
    return any_row(addresses, addresses.c.interface_id == _N.id, that=that)


def _group(that: Condition) -> Condition:
    """A filter on the security groups of the interface."""
    return any_row(
        interface_groups.join(security_groups, security_groups.c.id == interface_groups.c.group_id),
        interface_groups.c.interface_id == _N.id,
        that=that,
    )


def _attached(that: Condition) -> Condition:
    return lambda call, values: sa.and_(_N.instance_id.is_not(None), that(call, values))


_STATUS = sa.case((_N.instance_id.is_not(None), "in-use"), else_="available")

_FILTERS: dict[str, Condition] = {
    "addresses.association.owner-id": _association(text(addresses.c.account_id)),
    "addresses.association.public-ip": _association(text(addresses.c.public_ip)),
    "addresses.primary": constant("true"),
    "addresses.private-ip-address": text(_N.private_ip),
    "association.allocation-id": _association(text(addresses.c.allocation_id)),
    "association.association-id": _association(text(addresses.c.association_id)),
    "association.ip-owner-id": _association(text(IP_OWNER)),
    "association.public-dns-name": _association(public_dns(addresses.c.public_ip)),
    "association.public-ip": _association(text(addresses.c.public_ip)),
    "attachment.attach-time": moment(_N.attached_at),
    "attachment.attachment-id": text(_N.attachment_id),
    "attachment.delete-on-termination": _attached(flag(_N.delete_on_termination)),
    "attachment.device-index": _attached(number(_N.device_index)),
    "attachment.instance-id": text(_N.instance_id),
    "attachment.instance-owner-id": _attached(text(_N.account_id)),
    "attachment.status": _attached(constant("attached")),
    "availability-zone": text(_N.zone),
    "availability-zone-id": zone_id_filter(_N.zone),
    "description": text(_N.description),
    "group-id": any_row(
        interface_groups, interface_groups.c.interface_id == _N.id, that=text(interface_groups.c.group_id)
    ),
    "group-name": _group(text(security_groups.c.name)),
    "interface-type": constant("interface"),
    "ipv6-addresses.ipv6-address": absent,
    "mac-address": text(_N.mac_address),
    "network-interface-id": text(_N.id),
    "operator.managed": constant("false"),
    "operator.principal": absent,
    "owner-id": text(_N.account_id),
    "private-dns-name": private_dns(_N.private_ip),
    "private-ip-address": text(_N.private_ip),
    "requester-id": absent,
    "requester-managed": constant("false"),
    "source-dest-check": flag(_N.source_dest_check),
    "status": text(_STATUS),
    "subnet-id": text(_N.subnet_id),
    "vpc-id": text(_N.vpc_id),
}


@operation()
def describe_network_interfaces(call: Call, request: DescribeNetworkInterfacesRequestTypeDef) -> Response:
    """IncludeManagedResources makes no difference: no service manages interfaces here."""
    not_with_ids(request, "NetworkInterfaceIds")
    found = described(call, NETWORK_INTERFACE, request, "NetworkInterfaceIds", _FILTERS)
    ids = [interface.id for interface in found.rows]
    tags, groups, public = tags_of(call.tx, ids), groups_of(call, ids), public_addresses_of(call, ids)
    return {
        "NetworkInterfaces": [
            _description(interface, groups[interface.id], public.get(interface.id), tags[interface.id])
            for interface in found.rows
        ],
        **found.token,
    }


def _description(
    interface: NetworkInterface,
    groups: list[GroupIdentifierTypeDef],
    public: Address | None,
    tags: Sequence[Tag],
) -> NetworkInterfaceTypeDef:
    dns_name = private_dns_name(interface.region, interface.private_ip)
    result: NetworkInterfaceTypeDef = {
        "NetworkInterfaceId": interface.id,
        "OwnerId": interface.account_id,
        "VpcId": interface.vpc_id,
        "SubnetId": interface.subnet_id,
        "AvailabilityZone": interface.zone,
        "AvailabilityZoneId": zone_id(interface.region, interface.zone),
        "Description": interface.description,
        "Groups": groups,
        "InterfaceType": "interface",
        "Ipv6Addresses": [],
        "MacAddress": interface.mac_address,
        "PrivateDnsName": dns_name,
        "PrivateIpAddress": interface.private_ip,
        "PrivateIpAddresses": [
            {"Primary": True, "PrivateDnsName": dns_name, "PrivateIpAddress": interface.private_ip},
        ],
        "RequesterManaged": False,
        "SourceDestCheck": interface.source_dest_check,
        "Status": "in-use" if interface.instance_id else "available",
        "Operator": {"Managed": False},
        "TagSet": tag_list(tags),
    }
    if public is not None:
        result["Association"] = result["PrivateIpAddresses"][0]["Association"] = _association_of(public)
    if (attachment := attachment_of(interface)) is not None:
        result["Attachment"] = attachment
    return result


def attachment_of(interface: NetworkInterface) -> NetworkInterfaceAttachmentTypeDef | None:
    """None: it is not attached."""
    if not (interface.instance_id and interface.attachment_id and interface.attached_at):
        return None
    return {
        "AttachmentId": interface.attachment_id,
        "AttachTime": interface.attached_at,
        "DeleteOnTermination": interface.delete_on_termination,
        "DeviceIndex": interface.device_index,
        "NetworkCardIndex": 0,
        "InstanceId": interface.instance_id,
        "InstanceOwnerId": interface.account_id,
        "Status": "attached",
    }


def _association_of(address: Address) -> NetworkInterfaceAssociationTypeDef:
    result: NetworkInterfaceAssociationTypeDef = {
        # An automatically given address belongs to the provider until it is an Elastic IP.
        "IpOwnerId": address.account_id if address.kind == "elastic" else "amazon",
        "PublicDnsName": public_dns_name(address.region, address.public_ip),
        "PublicIp": address.public_ip,
    }
    if address.allocation_id and address.association_id:
        result |= {"AllocationId": address.allocation_id, "AssociationId": address.association_id}
    return result


def groups_of(call: Call, interface_ids: Sequence[str]) -> dict[str, list[GroupIdentifierTypeDef]]:
    """The security groups of many interfaces, by interface, in the order that the caller gave them."""
    found: dict[str, list[GroupIdentifierTypeDef]] = {interface_id: [] for interface_id in interface_ids}
    query = (
        sa.select(interface_groups.c.interface_id, security_groups.c.id, security_groups.c.name)
        .join(security_groups, security_groups.c.id == interface_groups.c.group_id)
        .where(interface_groups.c.interface_id.in_(interface_ids))
        .order_by(interface_groups.c.interface_id, interface_groups.c.position)
    )
    for row in call.tx.connection.execute(query):
        found[row.interface_id].append({"GroupId": row.id, "GroupName": row.name})
    return found


def public_addresses_of(call: Call, interface_ids: Sequence[str]) -> dict[str, Address]:
    """The public addresses of many interfaces, by interface."""
    return {
        address.interface_id: address
        for address in call.tx.select(Address, addresses.c.interface_id.in_(interface_ids))
        if address.interface_id
    }


def create_primary_interface(
    call: Call,
    subnet: Subnet,
    instance_id: InstanceId,
    *,
    group_ids: Sequence[str] = (),
    private_ip: str | None = None,
    description: str = "",
    delete_on_termination: bool = True,
) -> NetworkInterface:
    """Insert the interface that an instance is launched with, attached to it.

    No `group_ids`: the VPC's default group. No `private_ip`: a free one of the subnet. Raises InvalidGroup.NotFound
    (or Malformed), InvalidParameter for a group of another VPC, SecurityGroupsPerInterfaceLimitExceeded,
    InvalidParameterValue or InvalidIPAddress.InUse for a private address that can not be had, and
    InsufficientFreeAddressesInSubnet.
    """
    # One launch at a time picks addresses, and none joins a group that is being deleted.
    take_turn(call.tx)
    groups = _groups_for(call, subnet.vpc_id, subnet.id, group_ids)
    network = IPv4Network(subnet.cidr)
    if private_ip is None:
        private_ip = free_address(call.tx, network, _RESERVED_FIRST, _N.private_ip, _N.subnet_id == subnet.id)
        if private_ip is None:
            raise InsufficientFreeAddressesInSubnet(subnet.id)
    else:
        _check_free(call, subnet, network, private_ip)
    interface = NetworkInterface(
        id=InterfaceId(new_id("eni")),
        account_id=call.account_id,
        region=call.region,
        vpc_id=subnet.vpc_id,
        subnet_id=subnet.id,
        zone=subnet.zone,
        description=description,
        # Locally administered, unicast (IEEE 802c), as AWS's own.
        mac_address="02:" + secrets.token_bytes(5).hex(":"),
        private_ip=private_ip,
        source_dest_check=True,
        instance_id=instance_id,
        attachment_id=new_id("eni-attach"),
        device_index=0,
        delete_on_termination=delete_on_termination,
        attached_at=call.now,
        host_id=None,
        created_at=call.now,
    )
    call.tx.insert(interface, *_memberships(interface, groups))
    return interface


def set_groups(call: Call, interface: NetworkInterface, group_ids: Sequence[str]) -> None:
    """Put the interface into these groups and no others. Raises what `create_primary_interface` does for groups."""
    take_turn(call.tx)
    groups = _groups_for(call, interface.vpc_id, interface.subnet_id, group_ids)
    call.tx.delete_where(InterfaceGroup, interface_groups.c.interface_id == interface.id)
    call.tx.insert(*_memberships(interface, groups))
    publish(call.tx, "vpc", interface.vpc_id)
    if interface.instance_id is not None:
        publish(call.tx, "guest", interface.instance_id)  # its metadata names them


def set_source_dest_check(call: Call, interface: NetworkInterface, value: bool) -> None:
    """Whether the interface may only send from, and receive for, its own address."""
    call.tx.update(interface, source_dest_check=value)
    publish(call.tx, "vpc", interface.vpc_id)


def _memberships(interface: NetworkInterface, groups: Sequence[SecurityGroup]) -> list[InterfaceGroup]:
    return [InterfaceGroup(interface.id, group.id, position) for position, group in enumerate(groups)]


def _groups_for(call: Call, vpc_id: VpcId, subnet_id: SubnetId, group_ids: Sequence[str]) -> list[SecurityGroup]:
    if not group_ids:
        default = call.tx.find(SecurityGroup, security_groups.c.vpc_id == vpc_id, security_groups.c.name == "default")
        return [default] if default else []
    groups = SECURITY_GROUP.load_all(call, group_ids)
    if len(groups) > (most := limit(call, GROUPS_PER_INTERFACE)):
        raise SecurityGroupsPerInterfaceLimitExceeded(most)
    for group in groups:
        if group.vpc_id != vpc_id:
            raise InvalidParameter(f"Security group {group.id} and subnet {subnet_id} belong to different networks.")
    return groups


def _check_free(call: Call, subnet: Subnet, network: IPv4Network, private_ip: str) -> None:
    try:
        address = IPv4Address(private_ip)
    except ValueError as error:
        raise InvalidParameterValue(f"Invalid IPv4 address: '{private_ip}'") from error
    if address not in network:
        raise InvalidParameterValue(f"Address {address} does not fall within the subnet's address range")
    if not _RESERVED_FIRST <= int(address) - int(network.network_address) < network.num_addresses - 1:
        raise InvalidParameterValue(f"Address {address} is in subnet's reserved address range")
    if call.tx.find(NetworkInterface, _N.subnet_id == subnet.id, _N.private_ip == str(address)):
        raise InvalidIPAddressInUse(str(address))
