"""DescribeSpotPriceHistory.

The price of a spot instance is a part of what its type costs on demand, which the owner of the cloud sets
(``spot.price``): it does not move, so its history is one entry for each type and zone, from the day that the account
could have paid it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from freehold.instance_types import is_bare_metal, offered, spot_price
from freehold.records.accounts import Account
from freehold.services import page_tokens
from freehold.services.ec2.errors import InvalidNextToken, InvalidParameterCombination, InvalidParameterValue
from freehold.services.ec2.filters import satisfied
from freehold.services.ec2.launch_interface import named_zone
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.spot_market import shown_price
from freehold.services.ec2.zones import zone_id
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import DescribeSpotPriceHistoryRequestTypeDef

_PAGE = 1000
_PRODUCT = "Linux/UNIX"
_PRODUCTS = (_PRODUCT, "Linux/UNIX (Amazon VPC)")
_position = msgspec.json.Decoder(tuple[Annotated[int, msgspec.Meta(ge=0)]])


@operation()
def describe_spot_price_history(call: Call, request: DescribeSpotPriceHistoryRequestTypeDef) -> Response:
    """By type and zone. StartTime leaves nothing out: the price in effect then is part of the answer, as in AWS."""
    refuse_others(
        request,
        {
            "AvailabilityZone", "AvailabilityZoneId", "EndTime", "Filters", "InstanceTypes", "MaxResults", "NextToken",
            "ProductDescriptions", "StartTime",
        },
    )  # fmt: skip
    zone = named_zone(call, request)
    entries = _entries(call, request, zone)
    limit = request.get("MaxResults") or _PAGE
    if limit < 1:
        raise InvalidParameterValue(f"Value ( {limit} ) for parameter maxResults is invalid. It must be at least 1.")
    asked = page_tokens.asked(request, call.operation, call.region, without=("MaxResults", "NextToken", "DryRun"))
    start = 0
    if token := request.get("NextToken"):
        try:
            (start,) = page_tokens.read(token, asked, _position)
        except page_tokens.UnusableToken as error:
            raise InvalidNextToken from error
    end = start + min(limit, _PAGE)
    return {
        "SpotPriceHistory": entries[start:end],
        "NextToken": page_tokens.write([end], asked) if end < len(entries) else "",
    }


def _entries(call: Call, request: DescribeSpotPriceHistoryRequestTypeDef, zone: str | None) -> list[dict[str, Any]]:
    account = call.tx.get(Account, call.account_id)
    since = account.created_at if account is not None else call.now
    start, end = request.get("StartTime"), request.get("EndTime")
    if start is not None and end is not None and _later(start, end):
        raise InvalidParameterCombination("The parameter StartTime must be before EndTime.")
    if end is not None and _later(since, end):
        return []
    products = request.get("ProductDescriptions") or ()
    if products and not set(products) & set(_PRODUCTS):
        return []
    types, found = request.get("InstanceTypes") or (), []
    zones = (zone,) if zone is not None else call.config.zone_names(call.region)
    for name, instance_type in sorted(offered(call.config).items()):
        if is_bare_metal(name) or (types and name not in types):
            continue
        price = f"{shown_price(spot_price(call.config, instance_type)):f}"
        for each in zones:
            attributes = {
                "availability-zone": [each],
                "availability-zone-id": [zone_id(call.region, each)],
                "instance-type": [name],
                "product-description": list(_PRODUCTS),
                "spot-price": [price],
                "timestamp": [f"{since:%Y-%m-%dT%H:%M:%S.000Z}"],
            }
            if satisfied(request.get("Filters", ()), attributes):
                found.append(
                    {
                        "AvailabilityZone": each,
                        "AvailabilityZoneId": zone_id(call.region, each),
                        "InstanceType": name,
                        "ProductDescription": _PRODUCT,
                        "SpotPrice": price,
                        "Timestamp": since,
                    }
                )
    return found


def _later(one: Any, other: Any) -> bool:
    return bool(one.timestamp() > other.timestamp())
