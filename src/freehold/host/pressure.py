"""What a host does when its memory runs out: guests that have some to spare lend it, until there is enough again.

Hosts may promise more memory than they have (``memory_overcommit``), and a guest that was promised some has it when it
wants it: it takes back what it lent. When all want theirs at once, no more guests are started, and at last the kernel
ends a guest, not a part of Freehold; its instance is impaired then, and the reason is told (`Guest`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from freehold.host.guest import Guest
from freehold.host.host_memory import HostMemory, read_memory
from freehold.host.hypervisor import balloon
from freehold.host.hypervisor.monitor import MonitorError
from freehold.host.worker import Worker

log = structlog.get_logger()

_LOOK_SECONDS = 2.0
_STALLED_PERCENT_MAX = 10.0  # of the time of the last ten seconds
_KEPT_PART = 8  # of a guest's memory is left to it beside what it uses
_RETURN_PART = 4  # of a guest's memory is given back at a time


class Pressure(Worker):
    """Has guests lend memory and gives it back, until it is closed."""

    def __init__(self, guests: Mapping[str, Guest], look: Callable[[], HostMemory] = read_memory) -> None:
        super().__init__("memory pressure", _LOOK_SECONDS)
        self._guests = guests
        self._look = look
        self._lends: set[str] = set()

    def start(self) -> None:
        # An agent before this one may have had them lend something.
        self._lends = set(self._guests)
        super().start()

    async def _round(self) -> float | None:
        now = self._look()
        if now.available < now.low or now.stalled > _STALLED_PERCENT_MAX:
            await self._borrow(2 * now.low - now.available)
        elif self._lends and now.available > 2 * now.low:
            await self._give_back(now.available - 2 * now.low)
        return _LOOK_SECONDS

    async def _borrow(self, wanted: int) -> None:
        """From those that have most to spare."""
        found = [(guest, read) for guest in self._running() if (read := await _read(guest)) is not None]
        for guest, now in sorted(found, key=lambda each: each[1].spare or 0, reverse=True):
            size = guest.spec.memory_mib << 20
            lent = min(wanted, (now.spare or 0) - size // _KEPT_PART)
            if lent > 0 and await _set_target(guest, now.actual - lent):
                log.info("guest lends memory", instance=guest.spec.instance_id, mib=lent >> 20)
                self._lends.add(guest.spec.instance_id)
                wanted -= lent

    async def _give_back(self, left: int) -> None:
        running = {guest.spec.instance_id: guest for guest in self._running()}
        for instance_id in sorted(self._lends):
            guest = running.get(instance_id)
            now = None if guest is None else await _read(guest)
            if guest is None or now is None or now.actual >= guest.spec.memory_mib << 20:
                self._lends.discard(instance_id)
                continue
            size = guest.spec.memory_mib << 20
            more = min(size - now.actual, size // _RETURN_PART)
            if more <= left and await _set_target(guest, now.actual + more):
                left -= more

    def _running(self) -> list[Guest]:
        return [guest for guest in self._guests.values() if guest.record.state == "running" and guest.monitor]


async def _read(guest: Guest) -> balloon.Balloon | None:
    try:
        return None if guest.monitor is None else await balloon.read(guest.monitor)
    except MonitorError:
        return None  # it is on its way down


async def _set_target(guest: Guest, size: int) -> bool:
    try:
        if guest.monitor is not None:
            await balloon.set_target(guest.monitor, size)
    except MonitorError as error:
        log.warning("balloon not moved", instance=guest.spec.instance_id, error=str(error))
        return False
    return True
