"""Capacity reservations: room on hosts that an account holds, and pays for, whether instances have it or not.

::

    CreateCapacityReservation ──► active ──CancelCapacityReservation──► cancelled
                                    └───────────its end date──────────► expired

The room of a reservation counts as used on its hosts from its first moment to its last. An instance takes it from the
reservation, and gives it back there (`release`). What no instance has is metered as ``reserved:<type>`` of the
reservation, so that an hour of it costs what an hour of the instance would. When a reservation ends its instances run
on, in room that is their own from then on.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-capacity-reservations.html
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import sqlalchemy as sa

from freehold.records.capacity import ANY, Hosts, free, heard_of, reserve
from freehold.records.compute import CapacitySpecification, Instance, hosts, instances
from freehold.records.ids import AccountId, HostId
from freehold.records.schema import Record, table
from freehold.records.spot import reclaim
from freehold.records.store import Transaction
from freehold.records.usage import close_usage, open_usage


class CapacityReservation(Record, frozen=True):
    """`total` instances of a type in a zone; `vcpus` and `memory_mib` of each as the type had them. `match` ``open``:
    every instance that fits it takes it, unless it asks for another; ``targeted``: those that name it."""

    id: str
    account_id: AccountId
    region: str
    zone: str
    instance_type: str
    vcpus: int
    memory_mib: int
    match: Literal["open", "targeted"]
    state: Literal["active", "expired", "cancelled"]
    total: int
    ebs_optimized: bool
    created_at: dt.datetime
    ends_at: dt.datetime | None
    ended_at: dt.datetime | None = None


class ReservedRoom(Record, frozen=True):
    """What of a reservation is on a host: room for `total` instances, of which `used` are there."""

    reservation_id: str
    host_id: HostId
    account_id: AccountId
    total: int
    used: int


reservations = table(
    "capacity_reservations",
    CapacityReservation,
    key=("id",),
    indexes=(("account_id", "region", "id"), ("state", "ends_at")),
    sparse=("ended_at",),
)
rooms = table("reserved_rooms", ReservedRoom, key=("reservation_id", "host_id"), indexes=(("account_id",),))


def rooms_of(tx: Transaction, reservation_id: str) -> list[ReservedRoom]:
    return tx.select(ReservedRoom, reservation_id=reservation_id)


def used(tx: Transaction, reservation_ids: Sequence[str]) -> Counter[str]:
    """How many instances have room of each reservation."""
    found: Counter[str] = Counter()
    for room in tx.select(ReservedRoom, reservation_id=list(reservation_ids)):
        found[room.reservation_id] += room.used
    return found


def unused_vcpus(tx: Transaction, account_id: AccountId, region: str) -> int:
    """The vCPUs that an account holds and no instance has."""
    held = tx.select(CapacityReservation, account_id=account_id, region=region, state="active")
    in_use = used(tx, [reservation.id for reservation in held])
    return sum((reservation.total - in_use[reservation.id]) * reservation.vcpus for reservation in held)


def take(
    tx: Transaction,
    account_id: AccountId,
    zone: str,
    instance_type: str,
    size: tuple[int, int],
    wanted: CapacitySpecification,
    on_host: HostId | None = None,
    among: Hosts = ANY,
) -> tuple[str, HostId] | None:
    """Room of a reservation that an instance of this size, (vCPUs, MiB), may have: (the reservation, the host). None =
    there is none. The host is chosen as `reserve` does; the oldest reservation comes first."""
    if wanted.preference == "none":
        return None
    vcpus, memory_mib = size
    fits = [
        reservations.c.account_id == account_id,
        reservations.c.zone == zone,
        reservations.c.instance_type == instance_type,
        reservations.c.vcpus == vcpus,
        reservations.c.memory_mib == memory_mib,
        reservations.c.state == "active",
        reservations.c.match == "open" if wanted.target is None else reservations.c.id == wanted.target,
        rooms.c.used < rooms.c.total,
        heard_of(tx),
        *among.conditions(on_host),
    ]
    joined = rooms.join(reservations, reservations.c.id == rooms.c.reservation_id).join(
        hosts, hosts.c.id == rooms.c.host_id
    )
    order = (among.liking(), hosts.c.connected.desc(), reservations.c.created_at, reservations.c.id, hosts.c.id)
    candidates = sa.select(rooms.c.reservation_id, rooms.c.host_id).select_from(joined).where(*fits)
    while (row := tx.connection.execute(candidates.order_by(*order).limit(1)).first()) is not None:
        room = (rooms.c.reservation_id == row.reservation_id, rooms.c.host_id == row.host_id)
        taken = tx.connection.execute(
            sa.update(rooms).where(*room, rooms.c.used < rooms.c.total).values(used=rooms.c.used + 1)
        )
        if taken.rowcount:
            meter(tx, row.reservation_id)
            return row.reservation_id, HostId(row.host_id)
    return None


def release(tx: Transaction, instance: Instance) -> Instance:
    """Give back what the instance holds of its host, to its reservation if it has it from one; nothing if it holds
    nothing. Returns the instance as stored."""
    if not instance.holds_capacity or instance.host_id is None:
        return instance
    if instance.capacity_reservation_id is None:
        free(tx, instance.host_id, instance.vcpus, instance.memory_mib)
    else:
        _add(tx, instance.capacity_reservation_id, instance.account_id, instance.host_id, used=-1)
        meter(tx, instance.capacity_reservation_id)
    return tx.update(instance, holds_capacity=False, capacity_reservation_id=None)


def grow(tx: Transaction, reservation: CapacityReservation, count: int, notice: dt.timedelta) -> bool:
    """Hold room for `count` more instances, of spot instances if need be, which have `notice` to go; false, with
    whatever was held so far, where there is not enough."""
    needed = (reservation.zone, reservation.vcpus, reservation.memory_mib)
    for _ in range(count):
        host_id = reserve(tx, *needed) or reclaim(tx, *needed, notice)
        if host_id is None:
            return False
        _add(tx, reservation.id, reservation.account_id, host_id, total=1)
    return True


def shrink(tx: Transaction, reservation: CapacityReservation, count: int) -> None:
    """Give back room for `count` instances that none has."""
    for room in rooms_of(tx, reservation.id):
        less = min(count, room.total - room.used)
        if less:
            _add(tx, reservation.id, reservation.account_id, room.host_id, total=-less)
            free(tx, room.host_id, reservation.vcpus * less, reservation.memory_mib * less)
            count -= less


def absorb(tx: Transaction, reservation: CapacityReservation, most: int) -> int:
    """Up to `most` running instances that fit an open reservation have its room from now on, which is theirs made the
    reservation's; returns how many.

    "If you have running instances with matching attributes … they automatically run in the Capacity Reservation."
    """
    alike = tx.select(
        Instance,
        instances.c.account_id == reservation.account_id,
        instances.c.region == reservation.region,
        instances.c.state.in_(("pending", "running")),
        instances.c.zone == reservation.zone,
        instances.c.instance_type == reservation.instance_type,
        instances.c.vcpus == reservation.vcpus,
        instances.c.memory_mib == reservation.memory_mib,
        instances.c.holds_capacity,
        instances.c.capacity_reservation_id.is_(None),
        instances.c.spot_request_id.is_(None),
        order_by=(instances.c.launched_at, instances.c.id),
    )
    fitting = [each for each in alike if each.capacity.preference != "none" and each.capacity.target is None][:most]
    for instance in fitting:
        assert instance.host_id is not None  # it holds room there
        _add(tx, reservation.id, reservation.account_id, instance.host_id, total=1, used=1)
        tx.update(instance, capacity_reservation_id=reservation.id)
    return len(fitting)


def end(tx: Transaction, reservation: CapacityReservation, state: Literal["expired", "cancelled"]) -> None:
    """Nobody pays for it from now on; its instances keep what they have."""
    for room in rooms_of(tx, reservation.id):
        unused = room.total - room.used
        free(tx, room.host_id, reservation.vcpus * unused, reservation.memory_mib * unused)
        tx.delete(room)
    for instance in tx.select(Instance, capacity_reservation_id=reservation.id):
        tx.update(instance, capacity_reservation_id=None)
    close_usage(tx, reservation.id)
    tx.update(reservation, state=state, ended_at=tx.now)


def meter(tx: Transaction, reservation_id: str) -> None:
    """The reservation's own usage is what no instance has."""
    reservation = tx.get(CapacityReservation, reservation_id)
    assert reservation is not None  # it goes after its rooms
    unused = sum(room.total - room.used for room in rooms_of(tx, reservation_id))
    close_usage(tx, reservation_id)
    if unused:
        item = f"reserved:{reservation.instance_type}"
        open_usage(tx, reservation.account_id, reservation.region, reservation_id, item, unused)


def _add(
    tx: Transaction, reservation_id: str, account_id: AccountId, host_id: HostId, *, total: int = 0, used: int = 0
) -> None:
    """Change what of a reservation is on a host."""
    room = tx.get(ReservedRoom, reservation_id, host_id) or ReservedRoom(reservation_id, host_id, account_id, 0, 0)
    changed = ReservedRoom(reservation_id, host_id, account_id, room.total + total, room.used + used)
    if changed.total:
        tx.put(changed)
    else:
        tx.delete(changed)
