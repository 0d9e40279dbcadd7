"""Regions, availability zones and the attributes of the account in a region."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from freehold.quotas import ELASTIC_IPS, GROUPS_PER_INTERFACE
from freehold.records.accounts import OpenedRegion
from freehold.records.network import Vpc
from freehold.services.ec2.errors import InvalidParameterValue
from freehold.services.ec2.filters import Condition, satisfied, wildcard_matches
from freehold.services.ec2.resources import VPC
from freehold.services.ec2.zones import zone_id
from freehold.services.operation import Call, Response, operation
from freehold.services.quotas import limit

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        AvailabilityZoneTypeDef,
        DescribeAccountAttributesRequestTypeDef,
        DescribeAvailabilityZonesRequestTypeDef,
        DescribeRegionsRequestTypeDef,
        RegionTypeDef,
    )


_REGION_NAME = re.compile(r"[a-z]{2,8}(-[a-z]{2,12}){1,3}-[0-9]{1,2}")


def zone_id_filter(zone: sa.ColumnElement[str]) -> Condition:
    """A filter on the id of the availability zone whose name is in a column."""

    def condition(call: Call, values: Sequence[str]) -> sa.ColumnElement[bool]:
        ids = {name: zone_id(call.region, name) for name in call.config.zone_names(call.region)}
        return zone.in_([name for name, id_ in ids.items() if any(wildcard_matches(value, id_) for value in values)])

    return condition


@operation()
def describe_regions(call: Call, request: DescribeRegionsRequestTypeDef) -> Response:
    """The configured regions; where every name is a region of its own: the default one, this one and those in use.
    AllRegions makes no difference: none is disabled for an account."""
    opened = call.tx.select(OpenedRegion, account_id=call.account_id)
    offered = call.config.regions or {call.config.region, call.region, *(region.region for region in opened)}
    named = request.get("RegionNames", ())
    if unknown := [n for n in named if n not in offered and not (call.config.serves(n) and _REGION_NAME.fullmatch(n))]:
        raise InvalidParameterValue(f"Invalid region name(s): {', '.join(unknown)}")
    described = [_region(name) for name in sorted(set(named) or set(offered))]
    filters = request.get("Filters", ())
    return {
        "Regions": [
            region
            for region in described
            if satisfied(
                filters,
                {
                    "endpoint": [region["Endpoint"]],
                    "opt-in-status": [region["OptInStatus"]],
                    "region-name": [region["RegionName"]],
                },
            )
        ]
    }


def _region(name: str) -> RegionTypeDef:
    return {"RegionName": name, "Endpoint": f"ec2.{name}.amazonaws.com", "OptInStatus": "opt-in-not-required"}


@operation()
def describe_availability_zones(call: Call, request: DescribeAvailabilityZonesRequestTypeDef) -> Response:
    """The zones of the caller's region. AllAvailabilityZones makes no difference: every account has them all."""
    described = [_zone(call.region, name) for name in call.config.zone_names(call.region)]
    for member, key in (("ZoneNames", "ZoneName"), ("ZoneIds", "ZoneId")):
        named: Sequence[str] = request.get(member, ())  # type: ignore[assignment]
        if unknown := set(named) - {zone[key] for zone in described}:  # type: ignore[literal-required]
            raise InvalidParameterValue(f"Invalid availability zone: [{', '.join(sorted(unknown))}]")
        if named:
            described = [zone for zone in described if zone[key] in named]  # type: ignore[literal-required]
    filters = request.get("Filters", ())
    return {
        "AvailabilityZones": [
            zone
            for zone in described
            if satisfied(
                filters,
                {
                    "group-long-name": [zone["GroupLongName"]],
                    "group-name": [zone["GroupName"]],
                    "message": [],
                    "opt-in-status": [zone["OptInStatus"]],
                    "parent-zone-id": [],
                    "parent-zone-name": [],
                    "region-name": [zone["RegionName"]],
                    "state": [zone["State"]],
                    "zone-id": [zone["ZoneId"]],
                    "zone-name": [zone["ZoneName"]],
                    "zone-type": [zone["ZoneType"]],
                },
            )
        ]
    }


def _zone(region: str, name: str) -> AvailabilityZoneTypeDef:
    return {
        "ZoneName": name,
        "ZoneId": zone_id(region, name),
        "RegionName": region,
        "GroupName": f"{region}-zg-1",
        "GroupLongName": f"{region} 1",
        "NetworkBorderGroup": region,
        "ZoneType": "availability-zone",
        "OptInStatus": "opt-in-not-required",
        "State": "available",
        "Messages": [],
    }


@operation()
def describe_account_attributes(call: Call, request: DescribeAccountAttributesRequestTypeDef) -> Response:
    """What EC2 says of every account, and its default VPC in the region."""
    default = call.tx.find(Vpc, **VPC.owner(call), is_default=True)
    attributes = {
        "supported-platforms": "VPC",
        "default-vpc": default.id if default else "none",
        # "No longer supported; the returned value does not reflect your actual limit": what AWS returns to all.
        "max-instances": "20",
        "max-elastic-ips": str(limit(call, ELASTIC_IPS)),
        "vpc-max-elastic-ips": str(limit(call, ELASTIC_IPS)),
        "vpc-max-security-groups-per-interface": str(limit(call, GROUPS_PER_INTERFACE)),
    }
    named: Sequence[str] = request.get("AttributeNames", ()) or tuple(attributes)
    if unknown := [name for name in named if name not in attributes]:
        raise InvalidParameterValue(f"Value ( {unknown[0]} ) for parameter attributeName is invalid.")
    return {
        "AccountAttributes": [
            {"AttributeName": name, "AttributeValues": [{"AttributeValue": attributes[name]}]}
            for name in dict.fromkeys(named)
        ]
    }
