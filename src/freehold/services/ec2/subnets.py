"""Subnets."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

import sqlalchemy as sa

from freehold.records.network import Subnet, network_interfaces, subnets
from freehold.records.tags import Tag, tags_of
from freehold.services.ec2.filters import Condition, absent, constant, flag, number, text
from freehold.services.ec2.paging import described
from freehold.services.ec2.regions import zone_id_filter
from freehold.services.ec2.resources import SUBNET
from freehold.services.ec2.tags import tag_list
from freehold.services.ec2.zones import zone_id
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import DescribeSubnetsRequestTypeDef, SubnetTypeDef

RESERVED = 5
"""The first four addresses and the last of a subnet, which no interface may have.

https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html
"""

_USED = (
    sa.select(sa.func.count())
    .select_from(network_interfaces)
    .where(network_interfaces.c.subnet_id == subnets.c.id)
    .scalar_subquery()
)
_SIZE = sa.case(*((subnets.c.cidr.endswith(f"/{prefix}"), 2 ** (32 - prefix)) for prefix in range(16, 29)))
_ARN = sa.literal("arn:aws:ec2:") + subnets.c.region + ":" + subnets.c.account_id + ":subnet/" + subnets.c.id

_FILTERS: dict[str, Condition] = {
    "availability-zone": text(subnets.c.zone),
    "availabilityZone": text(subnets.c.zone),
    "availability-zone-id": zone_id_filter(subnets.c.zone),
    "availabilityZoneId": zone_id_filter(subnets.c.zone),
    "available-ip-address-count": number(_SIZE - RESERVED - _USED),
    "cidr": text(subnets.c.cidr),
    "cidr-block": text(subnets.c.cidr),
    "cidrBlock": text(subnets.c.cidr),
    "customer-owned-ipv4-pool": absent,
    "default-for-az": flag(subnets.c.default_for_az),
    "defaultForAz": flag(subnets.c.default_for_az),
    "enable-dns64": constant("false"),
    "enable-lni-at-device-index": absent,
    "ipv6-cidr-block-association.association-id": absent,
    "ipv6-cidr-block-association.ipv6-cidr-block": absent,
    "ipv6-cidr-block-association.state": absent,
    "ipv6-native": constant("false"),
    "map-customer-owned-ip-on-launch": constant("false"),
    "map-public-ip-on-launch": flag(subnets.c.map_public_ip_on_launch),
    "outpost-arn": absent,
    "owner-id": text(subnets.c.account_id),
    "private-dns-name-options-on-launch.enable-resource-name-dns-a-record": constant("false"),
    "private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record": constant("false"),
    "private-dns-name-options-on-launch.hostname-type": constant("ip-name"),
    "state": constant("available"),
    "subnet-arn": text(_ARN),
    "subnet-id": text(subnets.c.id),
    "vpc-id": text(subnets.c.vpc_id),
}


@operation()
def describe_subnets(call: Call, request: DescribeSubnetsRequestTypeDef) -> Response:
    """The addresses that are free are counted as the answer is made."""
    found = described(call, SUBNET, request, "SubnetIds", _FILTERS)
    ids = [subnet.id for subnet in found.rows]
    tags, used = tags_of(call.tx, ids), _addresses_used(call, ids)
    return {
        "Subnets": [_description(call, subnet, used.get(subnet.id, 0), tags[subnet.id]) for subnet in found.rows],
        **found.token,
    }


def _addresses_used(call: Call, subnet_ids: Sequence[str]) -> dict[str, int]:
    query = (
        sa.select(network_interfaces.c.subnet_id, sa.func.count().label("used"))
        .where(network_interfaces.c.subnet_id.in_(subnet_ids))
        .group_by(network_interfaces.c.subnet_id)
    )
    return {row.subnet_id: row.used for row in call.tx.connection.execute(query)}


def _description(call: Call, subnet: Subnet, used: int, tags: Sequence[Tag]) -> SubnetTypeDef:
    return {
        "SubnetId": subnet.id,
        "SubnetArn": SUBNET.arn(call, subnet.id),
        "OwnerId": subnet.account_id,
        "VpcId": subnet.vpc_id,
        "CidrBlock": subnet.cidr,
        "Ipv6CidrBlockAssociationSet": [],
        "AvailabilityZone": subnet.zone,
        "AvailabilityZoneId": zone_id(subnet.region, subnet.zone),
        "AvailableIpAddressCount": IPv4Network(subnet.cidr).num_addresses - RESERVED - used,
        "DefaultForAz": subnet.default_for_az,
        "MapPublicIpOnLaunch": subnet.map_public_ip_on_launch,
        "MapCustomerOwnedIpOnLaunch": False,
        "AssignIpv6AddressOnCreation": False,
        "EnableDns64": False,
        "Ipv6Native": False,
        "PrivateDnsNameOptionsOnLaunch": {
            "HostnameType": "ip-name",
            "EnableResourceNameDnsARecord": False,
            "EnableResourceNameDnsAAAARecord": False,
        },
        "State": "available",
        "Tags": tag_list(tags),
    }
