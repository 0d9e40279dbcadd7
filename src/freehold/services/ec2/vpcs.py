"""VPCs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from freehold.records.network import Vpc, vpcs
from freehold.records.tags import Tag, tags_of
from freehold.services.ec2.filters import Condition, absent, constant, flag, text
from freehold.services.ec2.paging import described, not_with_ids
from freehold.services.ec2.resources import VPC, named_by
from freehold.services.ec2.tags import tag_list
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        DescribeVpcAttributeRequestTypeDef,
        DescribeVpcsRequestTypeDef,
        VpcTypeDef,
    )

_ASSOCIATION_ID = sa.func.replace(vpcs.c.id, "vpc-", "vpc-cidr-assoc-")

_FILTERS: dict[str, Condition] = {
    "cidr": text(vpcs.c.cidr),
    "cidrBlock": text(vpcs.c.cidr),
    "cidr-block": text(vpcs.c.cidr),
    "cidr-block-association.association-id": text(_ASSOCIATION_ID),
    "cidr-block-association.cidr-block": text(vpcs.c.cidr),
    "cidr-block-association.state": constant("associated"),
    "dhcp-options-id": text(vpcs.c.dhcp_options_id),
    "dhcpOptionsId": text(vpcs.c.dhcp_options_id),
    "ipv6-cidr-block-association.association-id": absent,
    "ipv6-cidr-block-association.ipv6-cidr-block": absent,
    "ipv6-cidr-block-association.ipv6-pool": absent,
    "ipv6-cidr-block-association.state": absent,
    "is-default": flag(vpcs.c.is_default),
    "isDefault": flag(vpcs.c.is_default),
    "owner-id": text(vpcs.c.account_id),
    "state": constant("available"),
    "vpc-id": text(vpcs.c.id),
}


@operation()
def describe_vpcs(call: Call, request: DescribeVpcsRequestTypeDef) -> Response:
    """The default VPC of the region: no others can be made yet."""
    not_with_ids(request, "VpcIds")
    found = described(call, VPC, request, "VpcIds", _FILTERS)
    tags = tags_of(call.tx, [vpc.id for vpc in found.rows])
    return {"Vpcs": [_description(vpc, tags[vpc.id]) for vpc in found.rows], **found.token}


@operation(resources=named_by("VpcId", VPC))
def describe_vpc_attribute(call: Call, request: DescribeVpcAttributeRequestTypeDef) -> Response:
    """The default VPC has DNS support and DNS host names, and no network address usage metrics:
    https://docs.aws.amazon.com/vpc/latest/userguide/AmazonDNS-concepts.html"""
    vpc = VPC.load(call, request["VpcId"])
    attribute = request["Attribute"]
    value = {
        "enableDnsSupport": True,
        "enableDnsHostnames": vpc.is_default,
        "enableNetworkAddressUsageMetrics": False,
    }[attribute]
    return {"VpcId": vpc.id, attribute[0].upper() + attribute[1:]: {"Value": value}}


def _description(vpc: Vpc, tags: Sequence[Tag]) -> VpcTypeDef:
    return {
        "VpcId": vpc.id,
        "OwnerId": vpc.account_id,
        "CidrBlock": vpc.cidr,
        "CidrBlockAssociationSet": [
            {
                "AssociationId": vpc.id.replace("vpc-", "vpc-cidr-assoc-"),
                "CidrBlock": vpc.cidr,
                "CidrBlockState": {"State": "associated"},
            }
        ],
        "Ipv6CidrBlockAssociationSet": [],
        "DhcpOptionsId": vpc.dhcp_options_id,
        "InstanceTenancy": "default",
        "IsDefault": vpc.is_default,
        "State": "available",
        "Tags": tag_list(tags),
    }
