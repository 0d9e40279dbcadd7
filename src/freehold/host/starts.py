"""How many guests boot at once: as many as the machine has cores.

A boot is work for the processor and nothing else, so guests that boot at the same time only delay each other: forty at
once have none ready before the last quarter of the time, two by two the first after seconds, and all no later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from freehold.host.hypervisor.process import demand

_LOOK_SECONDS = 0.1
_BOOTED_CORES = 0.5  # who asks for less than this has booted
_BOOT_SECONDS_MAX = 60.0


class Starts:
    """The slots, given in the order in which they were asked for. `rested` is called when no one holds any."""

    def __init__(self, at_once: int, rested: Callable[[], None] = lambda: None) -> None:
        self._at_once = at_once
        self._rested = rested
        self._holders: dict[str, asyncio.Task[None] | None] = {}
        self._waiting: dict[str, Callable[[], None]] = {}

    @property
    def idle(self) -> bool:
        return not self._holders and not self._waiting

    def take(self, instance_id: str, wake: Callable[[], None]) -> bool:
        """Take a slot, or keep the one held. If there is none, `wake` is called when it may be asked for again."""
        if instance_id in self._holders:
            return True
        self._waiting.setdefault(instance_id, wake)
        if len(self._holders) >= self._at_once or next(iter(self._waiting)) != instance_id:
            return False
        del self._waiting[instance_id]
        self._holders[instance_id] = None
        self._wake_next()
        return True

    def watch(self, instance_id: str, pid: int) -> None:
        """The guest's CPUs run now: take its slot back by itself once it has booted."""
        if instance_id in self._holders and self._holders[instance_id] is None:
            self._holders[instance_id] = asyncio.create_task(self._watch(instance_id, pid))

    def give_back(self, instance_id: str) -> None:
        """Hold no slot, and wait for none."""
        self._waiting.pop(instance_id, None)
        task = self._holders.pop(instance_id, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        self._wake_next()
        if self.idle:
            self._rested()

    def _wake_next(self) -> None:
        if self._waiting and len(self._holders) < self._at_once:
            next(iter(self._waiting.values()))()

    async def _watch(self, instance_id: str, pid: int) -> None:
        before = demand(pid)
        for _ in range(int(_BOOT_SECONDS_MAX / _LOOK_SECONDS)):
            await asyncio.sleep(_LOOK_SECONDS)
            now = demand(pid)
            if now - before < _BOOTED_CORES * _LOOK_SECONDS:
                break
            before = now
        self.give_back(instance_id)
