"""VPCs and what is in them: subnets, gateways, route tables, security groups, interfaces, public addresses."""

from __future__ import annotations

import datetime as dt
from typing import Literal

import msgspec

from freehold.records.ids import AccountId, GroupId, HostId, InstanceId, InterfaceId, SubnetId, VpcId
from freehold.records.schema import Record, table


class Vpc(Record, frozen=True):
    """`number` (1, 2, …, unique in the cloud) gives the VPC its link address on the public network (fabric)."""

    id: VpcId
    account_id: AccountId
    region: str
    cidr: str
    is_default: bool
    dhcp_options_id: str
    number: int
    created_at: dt.datetime


class Subnet(Record, frozen=True):
    id: SubnetId
    account_id: AccountId
    region: str
    vpc_id: VpcId
    zone: str
    cidr: str
    map_public_ip_on_launch: bool
    default_for_az: bool
    created_at: dt.datetime


class InternetGateway(Record, frozen=True):
    id: str
    account_id: AccountId
    region: str
    vpc_id: VpcId | None
    created_at: dt.datetime


class Route(msgspec.Struct, frozen=True):
    """`target` is ``local`` or the id of a gateway."""

    destination: str
    target: str
    origin: Literal["CreateRouteTable", "CreateRoute", "EnableVgwRoutePropagation"]


class RouteTable(Record, frozen=True):
    id: str
    account_id: AccountId
    region: str
    vpc_id: VpcId
    main_association_id: str | None
    routes: tuple[Route, ...]
    created_at: dt.datetime


class SecurityGroup(Record, frozen=True):
    id: GroupId
    account_id: AccountId
    region: str
    vpc_id: VpcId
    name: str
    description: str
    created_at: dt.datetime


class SecurityGroupRule(Record, frozen=True):
    """One rule; exactly one of `cidr_ipv4`, `cidr_ipv6`, `referenced_group_id` is set.

    `protocol` is ``tcp``, ``udp``, ``icmp``, ``icmpv6``, ``-1`` (all) or an IP protocol number as text; `from_port`
    and `to_port` are ports, an ICMP type and code, or -1 for all.
    """

    id: str
    account_id: AccountId
    region: str
    group_id: GroupId
    is_egress: bool
    protocol: str
    from_port: int
    to_port: int
    cidr_ipv4: str | None
    cidr_ipv6: str | None
    referenced_group_id: GroupId | None
    description: str | None
    created_at: dt.datetime


class NetworkInterface(Record, frozen=True):
    """`instance_id` None = not attached. `host_id` is where its port is plugged; `auto_public_ip` = each start of its
    instance gives it a public address of its own (kind ``auto``)."""

    id: InterfaceId
    account_id: AccountId
    region: str
    vpc_id: VpcId
    subnet_id: SubnetId
    zone: str
    description: str
    mac_address: str
    private_ip: str
    source_dest_check: bool
    instance_id: InstanceId | None
    attachment_id: str | None
    device_index: int
    delete_on_termination: bool
    attached_at: dt.datetime | None
    host_id: HostId | None
    created_at: dt.datetime
    auto_public_ip: bool = False


class InterfaceGroup(Record, frozen=True):
    """Membership of an interface in a security group; `position` keeps the order that the caller gave."""

    interface_id: InterfaceId
    group_id: GroupId
    position: int


class Address(Record, frozen=True):
    """A public IPv4 address in use. `kind` ``auto`` = given at launch and released with the stop (RunInstances'
    AssociatePublicIpAddress); ``elastic`` = allocated by the account, which then has an `allocation_id`."""

    public_ip: str
    account_id: AccountId
    region: str
    kind: Literal["elastic", "auto"]
    allocation_id: str | None
    association_id: str | None
    interface_id: InterfaceId | None
    private_ip: str | None
    allocated_at: dt.datetime


_OWNER = ("account_id", "region", "id")

vpcs = table("vpcs", Vpc, key=("id",), indexes=(_OWNER,), unique=(("number",),))
subnets = table("subnets", Subnet, key=("id",), indexes=(_OWNER, ("vpc_id",)), unique=(("vpc_id", "cidr"),))
internet_gateways = table("internet_gateways", InternetGateway, key=("id",), indexes=(_OWNER, ("vpc_id",)))
route_tables = table("route_tables", RouteTable, key=("id",), indexes=(_OWNER, ("vpc_id",)))
security_groups = table("security_groups", SecurityGroup, key=("id",), indexes=(_OWNER,), unique=(("vpc_id", "name"),))
security_group_rules = table(
    "security_group_rules",
    SecurityGroupRule,
    key=("id",),
    indexes=(_OWNER, ("group_id",)),
    sparse=("referenced_group_id",),
)
network_interfaces = table(
    "network_interfaces",
    NetworkInterface,
    key=("id",),
    indexes=(_OWNER, ("vpc_id",), ("instance_id",), ("host_id",)),
    unique=(("subnet_id", "private_ip"),),
)
interface_groups = table("interface_groups", InterfaceGroup, key=("interface_id", "group_id"), indexes=(("group_id",),))
addresses = table(
    "addresses",
    Address,
    key=("public_ip",),
    indexes=(
        ("account_id", "region", "public_ip"),
        ("interface_id",),
        ("allocation_id",),
        ("association_id",),
    ),
)
