"""What hosts have left for guests: reserved when an instance is to run, given back when it has stopped or is gone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from freehold.records.compute import Host, hosts
from freehold.records.ids import HostId
from freehold.records.store import Transaction

_SILENCE_MAX = dt.timedelta(seconds=60)  # hosts report far more often; an agent that is upgraded is back before


@dataclass(frozen=True, slots=True)
class Hosts:
    """Which hosts will do: none of `never`, those of `first` before others, those of `last` after them."""

    never: frozenset[HostId] = frozenset()
    first: frozenset[HostId] = frozenset()
    last: frozenset[HostId] = frozenset()

    def conditions(self, on_host: HostId | None) -> list[sa.ColumnElement[bool]]:
        """What hosts must meet; `on_host` and no other if it is given."""
        return [
            *([hosts.c.id == on_host] if on_host is not None else []),
            *([hosts.c.id.not_in(self.never)] if self.never else []),
        ]

    def liking(self) -> sa.ColumnElement[int]:
        """The less, the better."""
        return sa.case((hosts.c.id.in_(self.first), 0), (hosts.c.id.in_(self.last), 2), else_=1)


ANY = Hosts()


def heard_of(tx: Transaction) -> sa.ColumnElement[bool]:
    """Whether a host reported lately."""
    return hosts.c.reported_at >= tx.now - _SILENCE_MAX


def reserve(
    tx: Transaction, zone: str, vcpus: int, memory_mib: int, on_host: HostId | None = None, among: Hosts = ANY
) -> HostId | None:
    """Reserve room on the host of `zone` with the most free memory that was heard of lately, connected ones first; or
    on `on_host` and no other. Of the hosts that `among` allows, those that it likes best come before all others.

    None = it fits nowhere. The caller records the host, and `holds_capacity`, in the instance.
    """
    fits = [
        heard_of(tx),
        sa.or_(hosts.c.zone.is_(None), hosts.c.zone == zone),
        hosts.c.vcpus_used + vcpus <= hosts.c.vcpus,
        hosts.c.memory_used_mib + memory_mib <= hosts.c.memory_mib,
        *among.conditions(on_host),
    ]
    free_memory = hosts.c.memory_mib - hosts.c.memory_used_mib
    order = (among.liking(), hosts.c.connected.desc(), free_memory.desc(), hosts.c.id)
    candidates = sa.select(hosts.c.id).where(*fits).order_by(*(order if among != ANY else order[1:])).limit(1)
    while (candidate := tx.connection.execute(candidates).scalar()) is not None:
        # The conditions are checked again by the update: on PostgreSQL another launch may have taken the room since.
        taken = tx.connection.execute(
            sa.update(hosts)
            .where(hosts.c.id == candidate, *fits)
            .values(vcpus_used=hosts.c.vcpus_used + vcpus, memory_used_mib=hosts.c.memory_used_mib + memory_mib)
        )
        if taken.rowcount:
            return HostId(candidate)
    return None


def has_room(tx: Transaction, vcpus: int, memory_mib: int) -> bool:
    """Whether some host could take an instance of this size now."""
    fits = (hosts.c.vcpus_used + vcpus <= hosts.c.vcpus, hosts.c.memory_used_mib + memory_mib <= hosts.c.memory_mib)
    return tx.find(Host, heard_of(tx), *fits) is not None


def zones_that_hold(
    tx: Transaction, zones: Sequence[str], sizes: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], list[str]]:
    """For each size, (vCPUs, MiB), the zones with a host that could hold it, were it empty."""
    known = tx.select(Host)
    return {
        (vcpus, memory_mib): [
            zone
            for zone in zones
            if any(
                host.zone in (None, zone) and host.vcpus >= vcpus and host.memory_mib >= memory_mib for host in known
            )
        ]
        for vcpus, memory_mib in sizes
    }


def host_for_volume(tx: Transaction, zone: str) -> HostId | None:
    """The host of `zone` that a volume of no instance is made on; None: there is none that was heard of lately."""
    usable = (hosts.c.reported_at >= tx.now - _SILENCE_MAX, sa.or_(hosts.c.zone.is_(None), hosts.c.zone == zone))
    free_memory = hosts.c.memory_mib - hosts.c.memory_used_mib
    order = (hosts.c.connected.desc(), free_memory.desc(), hosts.c.id)
    return tx.connection.execute(sa.select(hosts.c.id).where(*usable).order_by(*order).limit(1)).scalar()


def free(tx: Transaction, host_id: HostId, vcpus: int, memory_mib: int) -> None:
    """Give back what `reserve` reserved."""
    tx.connection.execute(
        sa.update(hosts)
        .where(hosts.c.id == host_id)
        .values(vcpus_used=hosts.c.vcpus_used - vcpus, memory_used_mib=hosts.c.memory_used_mib - memory_mib)
    )
