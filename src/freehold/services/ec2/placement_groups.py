"""Placement groups: CreatePlacementGroup, DescribePlacementGroups, DeletePlacementGroup.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/placement-groups.html. What a group means for the hosts of its
members is in records/placement.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.records.compute import Instance, instances
from freehold.records.feed import take_turn
from freehold.records.ids import new_id
from freehold.records.placement import PlacementGroup, Strategy, placement_groups
from freehold.records.tags import Tag, delete_tags_of, put_tags, tags_of
from freehold.services.ec2.condition_keys import keys_of
from freehold.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue, MissingParameter
from freehold.services.ec2.filters import Condition, constant, matching, text
from freehold.services.ec2.paging import described
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.placement_errors import (
    InvalidPlacementGroupDuplicate,
    InvalidPlacementGroupInUse,
    InvalidPlacementGroupUnknown,
    PlacementGroupLimitExceeded,
)
from freehold.services.ec2.resources import MAX_IDS, PLACEMENT_GROUP, made
from freehold.services.ec2.tags import specified, tag_list
from freehold.services.errors import UnsupportedOperation
from freehold.services.operation import Call, Needed, Response, Value, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        CreatePlacementGroupRequestTypeDef,
        DeletePlacementGroupRequestTypeDef,
        DescribePlacementGroupsRequestTypeDef,
    )

_GROUPS_MAX = 500
_PARTITIONS_MAX = 7
_PARTITIONS = 2
"""Of a group whose request does not say how many."""

_NAME = re.compile(r"(?! )[\x20-\x7e]{1,255}(?<! )")


def _arn_filter(call: Call, values: Sequence[str]) -> sa.ColumnElement[bool]:
    return matching(sa.literal(call.arn("placement-group/")) + placement_groups.c.name, values)


_FILTERS: dict[str, Condition] = {
    "group-arn": _arn_filter,
    "group-name": text(placement_groups.c.name),
    "spread-level": text(placement_groups.c.spread_level),
    "state": constant("available"),
    "strategy": text(placement_groups.c.strategy),
}


def _created(call: Call, request: CreatePlacementGroupRequestTypeDef) -> Iterator[Needed]:
    name = request.get("GroupName") or "*"
    keys: dict[str, Value] = {"ec2:PlacementGroupName": name}
    keys["ec2:PlacementGroupStrategy"] = str(request.get("Strategy") or "cluster")
    return made(call, request, PLACEMENT_GROUP, name, keys=lambda: keys)


@operation(resources=_created)
def create_placement_group(call: Call, request: CreatePlacementGroupRequestTypeDef) -> Response:
    """A spread group is of level rack unless said otherwise: then it has at most seven running instances in a zone; of
    level host it has as many as there are hosts. Raises InvalidPlacementGroup.Duplicate, PlacementGroupLimitExceeded.
    """
    refuse_others(request, {"GroupName", "PartitionCount", "SpreadLevel", "Strategy", "TagSpecifications"})
    name = request.get("GroupName")
    if not name:
        raise MissingParameter("GroupName")
    if not _NAME.fullmatch(name):
        raise InvalidParameterValue(
            "Invalid value for the parameter GroupName: a name has 1 to 255 printable ASCII characters and no space at "
            "its ends."
        )
    strategy = _strategy(request)
    partitions = _partitions(request, strategy)
    level = request.get("SpreadLevel") or "rack"
    if request.get("SpreadLevel") and strategy != "spread":
        raise InvalidParameterCombination("The parameter SpreadLevel is only valid for the strategy 'spread'.")
    tags = specified(request.get("TagSpecifications"), PLACEMENT_GROUP.resource_type)[PLACEMENT_GROUP.resource_type]
    take_turn(call.tx)
    if find_named(call, name) is not None:
        raise InvalidPlacementGroupDuplicate(name)
    if call.tx.count(PlacementGroup, **PLACEMENT_GROUP.owner(call)) >= _GROUPS_MAX:
        raise PlacementGroupLimitExceeded(_GROUPS_MAX)
    group = PlacementGroup(
        id=new_id(PLACEMENT_GROUP.prefix),
        account_id=call.account_id,
        region=call.region,
        name=name,
        strategy=strategy,
        partition_count=partitions,
        spread_level=level if strategy == "spread" else None,
        created_at=call.now,
    )
    call.tx.insert(group)
    put_tags(call.tx, call.account_id, call.region, PLACEMENT_GROUP.resource_type, group.id, tags)
    return {"PlacementGroup": _described(call, group, tags_of(call.tx, [group.id])[group.id])}


def _strategy(request: CreatePlacementGroupRequestTypeDef) -> Strategy:
    strategy = request.get("Strategy") or "cluster"
    if strategy == "precision-time":
        raise UnsupportedOperation("The placement strategy precision-time")
    if strategy not in ("cluster", "partition", "spread"):
        raise InvalidParameterValue(f"Value ({strategy}) for parameter strategy is invalid. Unknown strategy.")
    return strategy


def _partitions(request: CreatePlacementGroupRequestTypeDef, strategy: Strategy) -> int | None:
    given = request.get("PartitionCount")
    if strategy != "partition":
        if given is not None:
            raise InvalidParameterCombination(
                "The parameter PartitionCount is only valid with the strategy 'partition'."
            )
        return None
    if given is not None and not 1 <= given <= _PARTITIONS_MAX:
        raise InvalidParameterValue(
            f"Value ({given}) for parameter partitionCount is invalid. Expecting 1 to {_PARTITIONS_MAX}."
        )
    return given or _PARTITIONS


@operation()
def describe_placement_groups(call: Call, request: DescribePlacementGroupsRequestTypeDef) -> Response:
    """All in one answer: EC2 has no pages of them."""
    refuse_others(request, {"Filters", "GroupIds", "GroupNames"})
    where: list[sa.ColumnElement[bool]] = []
    if names := request.get("GroupNames"):
        _check_all_named(call, names)
        where.append(placement_groups.c.name.in_(names))
    found = described(call, PLACEMENT_GROUP, request, "GroupIds", _FILTERS, *where, whole=True).rows
    tags = tags_of(call.tx, [group.id for group in found])
    return {"PlacementGroups": [_described(call, group, tags[group.id]) for group in found]}


@operation(resources=lambda call, request: [needed_named(call, request["GroupName"])])
def delete_placement_group(call: Call, request: DeletePlacementGroupRequestTypeDef) -> Response:
    """Raises InvalidPlacementGroup.InUse while it has instances that are not terminated."""
    take_turn(call.tx)
    group = load_named(call, request["GroupName"])
    members = instances.c.placement_group_id == group.id
    if call.tx.count(Instance, members, instances.c.state != "terminated"):
        raise InvalidPlacementGroupInUse(group.name)
    delete_tags_of(call.tx, group.id)
    call.tx.delete(group)
    return {}


def arn_of(call: Call, name: str) -> str:
    return call.arn(f"placement-group/{name}")


def needed_named(call: Call, name: str) -> Needed:
    """A placement group as policies must allow it: its ARN has its name."""
    found = find_named(call, name)
    if found is None:
        return Needed(arn_of(call, name), keys=lambda: {"ec2:PlacementGroupName": name})
    return Needed(
        arn_of(call, name), keys=lambda: keys_of(call, found), tags=PLACEMENT_GROUP.needed(call, found.id).tags
    )


def find_named(call: Call, name: str) -> PlacementGroup | None:
    if not _NAME.fullmatch(name):  # not even a query may be made of it
        return None
    return call.tx.find(PlacementGroup, **PLACEMENT_GROUP.owner(call), name=name)


def load_named(call: Call, name: str) -> PlacementGroup:
    """The placement group with this name. Raises InvalidPlacementGroup.Unknown."""
    found = find_named(call, name)
    if found is None:
        raise InvalidPlacementGroupUnknown(name)
    return found


def _check_all_named(call: Call, names: Sequence[str]) -> None:
    """Raises InvalidPlacementGroup.Unknown with those that are missing."""
    if len(names) > MAX_IDS:
        raise InvalidParameterValue(f"At most {MAX_IDS} names may be given in a request.")
    possible = [name for name in names if _NAME.fullmatch(name)]
    present = {group.name for group in call.tx.select(PlacementGroup, **PLACEMENT_GROUP.owner(call), name=possible)}
    if missing := [name for name in dict.fromkeys(names) if name not in present]:
        raise InvalidPlacementGroupUnknown(*missing)


def _described(call: Call, group: PlacementGroup, tags: Sequence[Tag]) -> dict[str, Any]:
    description: dict[str, Any] = {
        "GroupArn": arn_of(call, group.name),
        "GroupId": group.id,
        "GroupName": group.name,
        "State": "available",
        "Strategy": group.strategy,
        "Tags": tag_list(tags),
    }
    if group.partition_count is not None:
        description["PartitionCount"] = group.partition_count
    if group.spread_level is not None:
        description["SpreadLevel"] = group.spread_level
    return description
