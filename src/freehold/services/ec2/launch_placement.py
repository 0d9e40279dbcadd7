"""Where in a placement group a launch is to be, and room for its instances on the hosts that the group allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from freehold.instance_types import is_burstable
from freehold.records.capacity import ANY, reserve
from freehold.records.compute import Instance
from freehold.records.ids import HostId, InstanceId
from freehold.records.placement import Choice, PlacementGroup, Seat, choices, seats
from freehold.records.store import Transaction
from freehold.services.ec2.compute_errors import InsufficientInstanceCapacity
from freehold.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue
from freehold.services.ec2.placement_errors import InsufficientGroupCapacity, InvalidPlacementGroupInUse
from freehold.services.ec2.placement_groups import load_named
from freehold.services.ec2.resources import PLACEMENT_GROUP
from freehold.services.errors import AwsError
from freehold.services.operation import Call


@dataclass(frozen=True, slots=True)
class Grouping:
    """The placement group of a launch, if it has one, and the partition that is asked for."""

    group: PlacementGroup | None = None
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Room that is reserved for an instance."""

    host_id: HostId
    partition: int | None


def named(call: Call, placement: Mapping[str, Any]) -> PlacementGroup | None:
    """The group that a request names by GroupName or GroupId.

    Raises InvalidParameterCombination for both, InvalidPlacementGroup.Unknown, InvalidPlacementGroupId.Malformed.
    """
    name, group_id = placement.get("GroupName"), placement.get("GroupId")
    if name and group_id:
        raise InvalidParameterCombination("Only one of GroupName and GroupId may be given.")
    if group_id:
        return PLACEMENT_GROUP.load(call, group_id)
    return load_named(call, name) if name else None


def asked_for(call: Call, placement: Mapping[str, Any], type_name: str) -> Grouping:
    """Raises the codes of `named`, and InvalidParameterCombination or InvalidParameterValue for a partition or an
    instance type that the group can not have."""
    group, partition = named(call, placement), placement.get("PartitionNumber")
    if group is not None and group.strategy == "cluster" and is_burstable(call.config, type_name):
        raise InvalidParameterCombination(
            f"Cluster placement groups are not supported by the '{type_name}' instance type. Specify a supported "
            "instance type or change the placement group strategy, and try again."
        )
    if partition is None:
        return Grouping(group)
    if group is None or group.strategy != "partition":
        raise InvalidParameterCombination(
            "The parameter PartitionNumber is only valid with a placement group of the strategy 'partition'."
        )
    if not 1 <= partition <= (group.partition_count or 1):
        raise InvalidParameterValue(
            f"Value ({partition}) for parameter partitionNumber is invalid. The placement group '{group.name}' has "
            f"{group.partition_count} partitions."
        )
    return Grouping(group, partition)


class Seating:
    """Finds places for instances of one launch, or one start, in a zone; the first as good as the group allows."""

    def __init__(self, tx: Transaction, grouping: Grouping, zone: str, but: InstanceId | None = None) -> None:
        """Raises InvalidPlacementGroup.InUse for a cluster that is in another zone."""
        self._tx = tx
        self._grouping = grouping
        self._zone = zone
        self._taken = [] if grouping.group is None else seats(tx, grouping.group, but)
        if grouping.group is not None and grouping.group.strategy == "cluster":
            for seat in self._taken:
                if seat.zone != zone:
                    raise InvalidPlacementGroupInUse(grouping.group.name, seat.zone)

    def reserve(self, vcpus: int, memory_mib: int, on_host: HostId | None = None) -> Place | None:
        """Room for the next instance; None where there is no more."""
        for choice in self._choices():
            host_id = reserve(self._tx, self._zone, vcpus, memory_mib, on_host, choice.hosts)
            if host_id is not None:
                self._taken.append(Seat(self._zone, host_id, choice.partition))
                return Place(host_id, choice.partition)
        return None

    def _choices(self) -> list[Choice]:
        if self._grouping.group is None:
            return [Choice(ANY)]
        return choices(self._grouping.group, self._zone, self._grouping.partition, self._taken)


def no_room(grouping: Grouping, type_name: str, zone: str) -> AwsError:
    """The InsufficientInstanceCapacity that says what there is no room in."""
    if grouping.group is not None:
        return InsufficientGroupCapacity(grouping.group.name)
    return InsufficientInstanceCapacity(type_name, zone)


def zone_of_cluster(tx: Transaction, grouping: Grouping) -> str | None:
    """The zone that the members of a cluster are in; None: there are none, or it is no cluster."""
    if grouping.group is None or grouping.group.strategy != "cluster":
        return None
    return next((seat.zone for seat in seats(tx, grouping.group)), None)


def grouping_of(tx: Transaction, instance: Instance) -> Grouping:
    """Where an instance that is to start belongs."""
    if instance.placement_group_id is None:
        return Grouping()
    group = tx.get(PlacementGroup, instance.placement_group_id)
    return Grouping(group, instance.partition_number)
