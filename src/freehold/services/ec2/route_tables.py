"""Route tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from freehold.records.network import RouteTable, route_tables
from freehold.records.tags import Tag, tags_of
from freehold.services.ec2.filters import Condition, absent, constant, flag, matching, text
from freehold.services.ec2.paging import described
from freehold.services.ec2.resources import ROUTE_TABLE
from freehold.services.ec2.tags import tag_list
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import DescribeRouteTablesRequestTypeDef, RouteTableTypeDef

_IS_MAIN = route_tables.c.main_association_id.is_not(None)


def _route(field: str) -> Condition:
    """A filter on a field of the routes, which are JSON in the row."""

    def condition(call: Call, values: Sequence[str]) -> sa.ColumnElement[bool]:
        if call.tx.connection.dialect.name == "sqlite":
            routes = sa.func.json_each(route_tables.c.routes).table_valued("value")
            column = sa.func.json_extract(routes.c.value, f"$.{field}")
        else:
            as_json = sa.cast(route_tables.c.routes, sa.JSON)
            routes = sa.func.json_array_elements(as_json).table_valued(sa.column("value", sa.JSON))
            column = routes.c.value[field].as_string()
        return sa.exists().select_from(routes).where(matching(column, values))

    return condition


def _association(inner: Condition) -> Condition:
    return lambda call, values: sa.and_(_IS_MAIN, inner(call, values))


_FILTERS: dict[str, Condition] = {
    "association.gateway-id": absent,
    "association.main": flag(_IS_MAIN),
    "association.route-table-association-id": text(route_tables.c.main_association_id),
    "association.route-table-id": _association(text(route_tables.c.id)),
    "association.subnet-id": absent,
    "owner-id": text(route_tables.c.account_id),
    "route-table-id": text(route_tables.c.id),
    "route.destination-cidr-block": _route("destination"),
    "route.destination-ipv6-cidr-block": absent,
    "route.destination-prefix-list-id": absent,
    "route.egress-only-internet-gateway-id": absent,
    "route.gateway-id": _route("target"),
    "route.instance-id": absent,
    "route.nat-gateway-id": absent,
    "route.origin": _route("origin"),
    "route.state": constant("active"),
    "route.transit-gateway-id": absent,
    "route.vpc-peering-connection-id": absent,
    "vpc-id": text(route_tables.c.vpc_id),
}


@operation()
def describe_route_tables(call: Call, request: DescribeRouteTablesRequestTypeDef) -> Response:
    """The main tables of the default VPCs: none can be made yet."""
    found = described(call, ROUTE_TABLE, request, "RouteTableIds", _FILTERS)
    tags = tags_of(call.tx, [table.id for table in found.rows])
    return {"RouteTables": [_description(table, tags[table.id]) for table in found.rows], **found.token}


def _description(table: RouteTable, tags: Sequence[Tag]) -> RouteTableTypeDef:
    return {
        "RouteTableId": table.id,
        "OwnerId": table.account_id,
        "VpcId": table.vpc_id,
        "Associations": [
            {
                "Main": True,
                "RouteTableAssociationId": table.main_association_id,
                "RouteTableId": table.id,
                "AssociationState": {"State": "associated"},
            }
        ]
        if table.main_association_id
        else [],
        "PropagatingVgws": [],
        "Routes": [
            {
                "DestinationCidrBlock": route.destination,
                "GatewayId": route.target,
                "Origin": route.origin,
                "State": "active",
            }
            for route in table.routes
        ],
        "Tags": tag_list(tags),
    }
