"""Placement groups, and which hosts their members may be on.

Each host counts as hardware of its own: a rack of AWS's, as far as Freehold knows of racks. Members count while they
have room on a host; a stopped one's host is only taken last, since it can start there and nowhere else.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/placement-strategies.html
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from freehold.records.capacity import Hosts
from freehold.records.compute import Instance, instances
from freehold.records.ids import AccountId, HostId, InstanceId
from freehold.records.schema import Record, table
from freehold.records.store import Transaction

Strategy = Literal["cluster", "partition", "spread"]

SPREAD_MAX = 7
"""Running members of a rack level spread group in a zone."""


class PlacementGroup(Record, frozen=True):
    """`partition_count` is of a partition group, in each zone; `spread_level` of a spread group."""

    id: str
    account_id: AccountId
    region: str
    name: str
    strategy: Strategy
    partition_count: int | None
    spread_level: Literal["host", "rack"] | None
    created_at: dt.datetime


placement_groups = table(
    "placement_groups",
    PlacementGroup,
    key=("id",),
    unique=(("account_id", "region", "id"), ("account_id", "region", "name")),
)


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a member of a group is. `runs`: it has room there, and is not merely stopped."""

    zone: str
    host_id: HostId
    partition: int | None
    runs: bool = True


@dataclass(frozen=True, slots=True)
class Choice:
    """Hosts that a new member may be on, and the partition that it then is in."""

    hosts: Hosts
    partition: int | None = None


def seats(tx: Transaction, group: PlacementGroup, but: InstanceId | None = None) -> list[Seat]:
    """Where the members of a group are, but for one of them."""
    members = tx.select(Instance, instances.c.placement_group_id == group.id, instances.c.state != "terminated")
    return [
        Seat(member.zone, member.host_id, member.partition_number, member.state != "stopped")
        for member in members
        if member.id != but and member.host_id is not None
    ]


def choices(group: PlacementGroup, zone: str, partition: int | None, taken: Sequence[Seat]) -> list[Choice]:
    """What a new member may have, the best first; none where the group is full. `partition` None = whichever."""
    running = [seat for seat in taken if seat.runs]
    waiting = frozenset(seat.host_id for seat in taken if not seat.runs)
    match group.strategy:
        case "cluster":
            return [Choice(Hosts(first=frozenset(seat.host_id for seat in taken)))]
        case "spread":
            if group.spread_level == "rack" and sum(seat.zone == zone for seat in running) >= SPREAD_MAX:
                return []
            return [Choice(Hosts(never=frozenset(seat.host_id for seat in running), last=waiting))]
        case "partition":
            numbers = range(1, (group.partition_count or 1) + 1)
            members = Counter(seat.partition for seat in taken if seat.zone == zone)
            wanted = [partition] if partition is not None else sorted(numbers, key=lambda number: members[number])
            return [Choice(_of_partition(number, zone, taken), number) for number in wanted]


def _of_partition(number: int, zone: str, taken: Sequence[Seat]) -> Hosts:
    """No host of another partition, and rather one that has this partition already: others then stay free for them."""
    mine = frozenset(seat.host_id for seat in taken if (seat.zone, seat.partition) == (zone, number))
    others = [seat for seat in taken if (seat.zone, seat.partition) != (zone, number)]
    return Hosts(
        never=frozenset(seat.host_id for seat in others if seat.runs),
        first=mine,
        last=frozenset(seat.host_id for seat in others if not seat.runs),
    )
