"""What the fabric needs to know of one VPC: plain values taken from records, nothing tenant-written but numbers and
addresses.

Names, descriptions and tags never come this far: an OVN row is built from typed values only.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network


@dataclass(frozen=True, slots=True)
class SubnetView:
    subnet_id: str
    cidr: IPv4Network


@dataclass(frozen=True, slots=True)
class PortView:
    """An interface that is plugged on a host. `public_ip` is its NAT address on the internet gateway, if any."""

    interface_id: str
    subnet_id: str
    mac_address: str
    private_ip: IPv4Address
    hostname: str
    group_ids: tuple[str, ...]
    source_dest_check: bool
    public_ip: IPv4Address | None


@dataclass(frozen=True, slots=True)
class RuleView:
    """A security group rule. `protocol` is an IP protocol number, None = all; `ports` (TCP, UDP) is an inclusive
    range, None = all; `icmp_type`, `icmp_code` None = all. The peer is a network or another group."""

    is_egress: bool
    protocol: int | None
    ports: tuple[int, int] | None
    icmp_type: int | None
    icmp_code: int | None
    peer_network: IPv4Network | None
    peer_group_id: str | None


@dataclass(frozen=True, slots=True)
class GroupView:
    group_id: str
    rules: tuple[RuleView, ...]


@dataclass(frozen=True, slots=True)
class VpcView:
    """One VPC. `number` gives its router's address on the link range. `internet` = an internet gateway is attached and
    the main route table sends 0.0.0.0/0 to it."""

    vpc_id: str
    number: int
    cidr: IPv4Network
    region: str
    internet: bool
    subnets: tuple[SubnetView, ...]
    ports: tuple[PortView, ...]
    groups: tuple[GroupView, ...]


@dataclass(frozen=True, slots=True)
class PublicView:
    """The cloud's public network. `pool` holds the public addresses, `link_range` the addresses of the VPCs' routers on
    it; `chassis` is the Open vSwitch system-id of the host whose br-ex carries it."""

    pool: IPv4Network
    link_range: IPv4Network
    chassis: str
