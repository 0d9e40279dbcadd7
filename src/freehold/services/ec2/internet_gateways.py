"""Internet gateways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import sqlalchemy as sa

from freehold.records.network import InternetGateway, internet_gateways
from freehold.records.tags import Tag, tags_of
from freehold.services.ec2.filters import Condition, constant, text
from freehold.services.ec2.paging import described, not_with_ids
from freehold.services.ec2.resources import INTERNET_GATEWAY
from freehold.services.ec2.tags import tag_list
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.literals import AttachmentStatusType
    from mypy_boto3_ec2.type_defs import DescribeInternetGatewaysRequestTypeDef, InternetGatewayTypeDef


def _attached(call: Call, values: Sequence[str]) -> sa.ColumnElement[bool]:
    return sa.and_(internet_gateways.c.vpc_id.is_not(None), constant("available")(call, values))


_FILTERS: dict[str, Condition] = {
    "attachment.state": _attached,
    "attachment.vpc-id": text(internet_gateways.c.vpc_id),
    "internet-gateway-id": text(internet_gateways.c.id),
    "owner-id": text(internet_gateways.c.account_id),
}


@operation()
def describe_internet_gateways(call: Call, request: DescribeInternetGatewaysRequestTypeDef) -> Response:
    """Those of the default VPCs: none can be made yet."""
    not_with_ids(request, "InternetGatewayIds")
    found = described(call, INTERNET_GATEWAY, request, "InternetGatewayIds", _FILTERS)
    tags = tags_of(call.tx, [gateway.id for gateway in found.rows])
    return {
        "InternetGateways": [_description(gateway, tags[gateway.id]) for gateway in found.rows],
        **found.token,
    }


def _description(gateway: InternetGateway, tags: Sequence[Tag]) -> InternetGatewayTypeDef:
    # EC2 says "available" for an attached gateway, which is not in the model's own list of states.
    available = cast("AttachmentStatusType", "available")
    return {
        "InternetGatewayId": gateway.id,
        "OwnerId": gateway.account_id,
        "Attachments": [{"State": available, "VpcId": gateway.vpc_id}] if gateway.vpc_id else [],
        "Tags": tag_list(tags),
    }
