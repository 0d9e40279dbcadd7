"""The network that every account finds in a region on its first call there.

https://docs.aws.amazon.com/vpc/latest/userguide/default-vpc-components.html
"""

from __future__ import annotations

from ipaddress import IPv4Network

import sqlalchemy as sa

from freehold.config import Config
from freehold.records.accounts import OpenedRegion
from freehold.records.feed import publish
from freehold.records.ids import AccountId, GroupId, SubnetId, VpcId, new_id
from freehold.records.network import (
    InternetGateway,
    Route,
    RouteTable,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
    Vpc,
    vpcs,
)
from freehold.records.store import Transaction

CIDR = IPv4Network("172.31.0.0/16")
SUBNET_PREFIX = 20

_NUMBER_LOCK = 0x767063  # any fixed number: PostgreSQL's advisory lock around the numbering of VPCs


def open_region(tx: Transaction, config: Config, account_id: AccountId, region: str) -> None:
    """Make the account's default VPC in a region, with a subnet a zone, gateway, route table and security group.

    Does nothing if the region is already open.
    """
    number = _next_number(tx)
    if tx.get(OpenedRegion, account_id, region) is not None:
        return
    vpc_id, gateway_id = VpcId(new_id("vpc")), new_id("igw")
    vpc = Vpc(
        id=vpc_id,
        account_id=account_id,
        region=region,
        cidr=str(CIDR),
        is_default=True,
        dhcp_options_id=new_id("dopt"),
        number=number,
        created_at=tx.now,
    )
    subnets = [
        Subnet(
            id=SubnetId(new_id("subnet")),
            account_id=account_id,
            region=region,
            vpc_id=vpc_id,
            zone=zone,
            cidr=str(cidr),
            map_public_ip_on_launch=True,
            default_for_az=True,
            created_at=tx.now,
        )
        for zone, cidr in zip(config.zone_names(region), CIDR.subnets(new_prefix=SUBNET_PREFIX), strict=False)
    ]
    gateway = InternetGateway(gateway_id, account_id, region, vpc_id, tx.now)
    routes = RouteTable(
        id=new_id("rtb"),
        account_id=account_id,
        region=region,
        vpc_id=vpc_id,
        main_association_id=new_id("rtbassoc"),
        routes=(Route(vpc.cidr, "local", "CreateRouteTable"), Route("0.0.0.0/0", gateway_id, "CreateRoute")),
        created_at=tx.now,
    )
    tx.insert(vpc, *subnets, gateway, routes, *default_group(tx, vpc))
    tx.insert(OpenedRegion(account_id, region, tx.now))
    publish(tx, "vpc", vpc_id)


def default_group(tx: Transaction, vpc: Vpc) -> tuple[SecurityGroup, SecurityGroupRule, SecurityGroupRule]:
    """A VPC's default security group: members reach each other, and everything outside.

    https://docs.aws.amazon.com/vpc/latest/userguide/default-security-group.html
    """
    group = SecurityGroup(
        id=GroupId(new_id("sg")),
        account_id=vpc.account_id,
        region=vpc.region,
        vpc_id=vpc.id,
        name="default",
        description="default VPC security group",
        created_at=tx.now,
    )
    from_itself = SecurityGroupRule(
        id=new_id("sgr"),
        account_id=vpc.account_id,
        region=vpc.region,
        group_id=group.id,
        is_egress=False,
        protocol="-1",
        from_port=-1,
        to_port=-1,
        cidr_ipv4=None,
        cidr_ipv6=None,
        referenced_group_id=group.id,
        description=None,
        created_at=tx.now,
    )
    return group, from_itself, egress_to_all(tx, group)


def egress_to_all(tx: Transaction, group: SecurityGroup) -> SecurityGroupRule:
    """The rule that every new security group begins with."""
    return SecurityGroupRule(
        id=new_id("sgr"),
        account_id=group.account_id,
        region=group.region,
        group_id=group.id,
        is_egress=True,
        protocol="-1",
        from_port=-1,
        to_port=-1,
        cidr_ipv4="0.0.0.0/0",
        cidr_ipv6=None,
        referenced_group_id=None,
        description=None,
        created_at=tx.now,
    )


def _next_number(tx: Transaction) -> int:
    if tx.connection.dialect.name == "postgresql":
        # Another transaction may be numbering a VPC, or opening this very region, at the same time; on SQLite there
        # is one writer.
        tx.connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_NUMBER_LOCK)))
    return (tx.connection.execute(sa.select(sa.func.max(vpcs.c.number))).scalar_one() or 0) + 1
