"""Guests that hold still: their file systems are frozen by the agent in them while a snapshot of their disks is taken.

    held ─► frozen, or not within the agent's limits ─► released ─► thawed

A guest that has no agent, or whose agent fails, is taken as it is: its disks are then as after a power cut. A mark in
the guest's directory, made before it is told to freeze and removed when it has said that it is thawed, says what a new
agent of the host has to thaw.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from freehold.host.errors import HostError
from freehold.host.machine import Machine

log = structlog.get_logger()

_HOLD_SECONDS = 10.0  # whatever becomes of the snapshot
_RETRY_SECONDS = 5.0
_CLOSE_SECONDS = 3.0


@dataclass(slots=True)
class _Hold:
    """`settled`: a snapshot waits for nothing more. `over`: it has been taken, or will not be."""

    settled: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Freezing:
    """`settled` is called when a guest that was not yet held is, and when it may be held anew."""

    def __init__(self, machine: Machine, settled: Callable[[], None]) -> None:
        self._machine = machine
        self._settled = settled
        self._holds: dict[str, _Hold] = {}

    def start(self) -> None:
        """Thaw what an agent that was cut has left frozen."""
        for directory in self._machine.layout.guests.glob("i-*"):
            if self._machine.layout.guest(directory.name).frozen.exists():
                self._begin(directory.name).over.set()

    def hold(self, instance_id: str) -> bool:
        """Have a guest whose agent is there hold still until `release`, or for some seconds at most. Whether a snapshot
        may be taken now: it holds still, or can not be had to. It takes no longer than an agent may take."""
        hold = self._holds.get(instance_id) or self._begin(instance_id)
        return hold.settled

    def release(self, instance_id: str) -> None:
        """Let it go on, if it was held."""
        hold = self._holds.get(instance_id)
        if hold is not None and not hold.over.is_set():
            hold.settled = False
            hold.over.set()

    async def close(self) -> None:
        """Let all go on; those that do not thaw in time are left to the next agent."""
        for instance_id in self._holds:
            self.release(instance_id)
        tasks = [hold.task for hold in self._holds.values() if hold.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, instance_id: str) -> _Hold:
        self._holds[instance_id] = hold = _Hold()
        hold.task = asyncio.create_task(self._hold(instance_id, hold))
        return hold

    async def _hold(self, instance_id: str, hold: _Hold) -> None:
        try:
            if not hold.over.is_set():
                await self._freeze(instance_id)
                hold.settled = True
                self._settled()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_HOLD_SECONDS):
                        await hold.over.wait()
                self.release(instance_id)
            await self._thaw(instance_id, hold)
        finally:
            del self._holds[instance_id]
            self._settled()

    async def _freeze(self, instance_id: str) -> None:
        paths, perform = self._machine.layout.guest(instance_id), self._machine.effects.perform

        async def mark() -> None:
            paths.frozen.touch(mode=0o600)

        try:
            agent = await self._machine.agents.get(instance_id, paths.guest_agent)
            await agent.sync()
            await perform("mark frozen", mark)
            await perform("freeze guest", agent.freeze)
        except (HostError, OSError) as error:
            self._machine.agents.drop(instance_id)
            log.warning("guest not frozen, its disks are taken as they are", instance=instance_id, error=str(error))

    async def _thaw(self, instance_id: str, hold: _Hold) -> None:
        """Only the guest can say that it is thawed: it is asked until it has, or is no more."""
        paths, perform = self._machine.layout.guest(instance_id), self._machine.effects.perform

        async def unmark() -> None:
            paths.frozen.unlink(missing_ok=True)

        while paths.frozen.exists():
            try:
                agent = await self._machine.agents.get(instance_id, paths.guest_agent)
                await agent.sync()
                await perform("thaw guest", agent.thaw)
            except HostError as error:
                self._machine.agents.drop(instance_id)
                if self._machine.find(instance_id) is not None or self._machine.memories.has(instance_id):
                    log.warning("guest not thawed, it is tried again", instance=instance_id, error=str(error))
                    hold.settled = True  # snapshots do not wait for that
                    self._settled()
                    await asyncio.sleep(_RETRY_SECONDS)
                    continue
            await perform("unmark frozen", unmark)
