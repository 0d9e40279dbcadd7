"""Room for the instances of a launch: in a capacity reservation or not, on hosts that their placement group allows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freehold.instance_types import is_burstable
from freehold.records.capacity import ANY, reserve
from freehold.records.compute import CapacitySpecification, Instance
from freehold.records.ids import AccountId, HostId, InstanceId
from freehold.records.placement import Choice, PlacementGroup, Seat, choices, seats
from freehold.records.reservations import take
from freehold.records.spot import reclaim
from freehold.records.store import Transaction
from freehold.services.ec2.capacity_errors import ReservationCapacityExceeded
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
    capacity_reservation_id: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an instance needs room for, and which room it may have."""

    type_name: str
    vcpus: int
    memory_mib: int
    capacity: CapacitySpecification
    grouping: Grouping
    spot: bool = False

    @property
    def may_reclaim(self) -> bool:
        """Whether room may be that of spot instances."""
        return not self.spot and not only_reserved(self.capacity)


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

    def __init__(
        self, tx: Transaction, account_id: AccountId, wanted: Wanted, zone: str, but: InstanceId | None = None
    ) -> None:
        """`but` is the instance itself, if it starts. Raises InvalidPlacementGroup.InUse for a cluster in another
        zone."""
        self._tx = tx
        self._account_id = account_id
        self._wanted = wanted
        self._zone = zone
        grouping = wanted.grouping
        self._taken = [] if grouping.group is None else seats(tx, grouping.group, but)
        _check_cluster(grouping, zone, self._taken)

    def reserve(self, on_host: HostId | None = None, reclaiming: dt.timedelta | None = None) -> Place | None:
        """Room for the next instance, of a reservation if it may be; if there is none else and `reclaiming` is the
        notice that they have, that of spot instances. None where there is no more."""
        possible = self._choices()
        place = self._in_reservation(possible, on_host) or self._on_host(possible, on_host)
        if place is None and reclaiming is not None and self._wanted.may_reclaim:
            place = self._reclaimed(possible, on_host, reclaiming)
        if place is not None:
            self._taken.append(Seat(self._zone, place.host_id, place.partition))
        return place

    def _in_reservation(self, possible: Sequence[Choice], on_host: HostId | None) -> Place | None:
        wanted = self._wanted
        size = (wanted.vcpus, wanted.memory_mib)
        for choice in () if wanted.spot else possible:
            of = (self._account_id, self._zone, wanted.type_name, size, wanted.capacity)
            taken = take(self._tx, *of, on_host, choice.hosts)
            if taken is not None:
                reservation_id, host_id = taken
                return Place(host_id, choice.partition, reservation_id)
        return None

    def _on_host(self, possible: Sequence[Choice], on_host: HostId | None) -> Place | None:
        wanted = self._wanted
        if only_reserved(wanted.capacity):
            return None
        for choice in possible:
            host_id = reserve(self._tx, self._zone, wanted.vcpus, wanted.memory_mib, on_host, choice.hosts)
            if host_id is not None:
                return Place(host_id, choice.partition)
        return None

    def _reclaimed(self, possible: Sequence[Choice], on_host: HostId | None, notice: dt.timedelta) -> Place | None:
        needed = (self._zone, self._wanted.vcpus, self._wanted.memory_mib)
        for choice in possible:
            host_id = reclaim(self._tx, *needed, notice, on_host, choice.hosts)
            if host_id is not None:
                return Place(host_id, choice.partition)
        return None

    def _choices(self) -> list[Choice]:
        grouping = self._wanted.grouping
        if grouping.group is None:
            return [Choice(ANY)]
        return choices(grouping.group, self._zone, grouping.partition, self._taken)


def check_zone(tx: Transaction, grouping: Grouping, instance: Instance) -> None:
    """Raises InvalidPlacementGroup.InUse for an instance that can not be in a cluster in another zone."""
    if grouping.group is not None:
        _check_cluster(grouping, instance.zone, seats(tx, grouping.group, instance.id))


def _check_cluster(grouping: Grouping, zone: str, taken: Sequence[Seat]) -> None:
    if grouping.group is not None and grouping.group.strategy == "cluster":
        for seat in taken:
            if seat.zone != zone:
                raise InvalidPlacementGroupInUse(grouping.group.name, seat.zone)


def only_reserved(capacity: CapacitySpecification) -> bool:
    """Whether an instance may have no other room than a reservation's."""
    return capacity.target is not None or capacity.preference == "capacity-reservations-only"


def no_room(wanted: Wanted, zone: str) -> AwsError:
    """The error that says what there is no room in."""
    if only_reserved(wanted.capacity):
        return ReservationCapacityExceeded(wanted.capacity.target)
    if wanted.grouping.group is not None:
        return InsufficientGroupCapacity(wanted.grouping.group.name)
    return InsufficientInstanceCapacity(wanted.type_name, zone)


def zone_of_cluster(tx: Transaction, grouping: Grouping) -> str | None:
    """The zone that the members of a cluster are in; None: there are none, or it is no cluster."""
    if grouping.group is None or grouping.group.strategy != "cluster":
        return None
    return next((seat.zone for seat in seats(tx, grouping.group)), None)


def to_start(tx: Transaction, instance: Instance) -> Wanted:
    """What an instance that is to start needs."""
    grouping = Grouping()
    if instance.placement_group_id is not None:
        grouping = Grouping(tx.get(PlacementGroup, instance.placement_group_id), instance.partition_number)
    size = (instance.vcpus, instance.memory_mib)
    spot = instance.spot_request_id is not None
    return Wanted(instance.instance_type, *size, instance.capacity, grouping, spot)
