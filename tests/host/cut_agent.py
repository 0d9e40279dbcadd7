"""A host agent that dies, as by `kill -9`, right after an effect that is named by its number; or guests' QEMUs do."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from freehold.host.__main__ import run
from freehold.host.effects import Effects
from freehold.host.hypervisor import monitor
from freehold.host.hypervisor.monitor import Monitor
from freehold.host.layout import Layout
from freehold.host.templates.service import WarmStart
from freehold.network import namespace
from freehold.paths import Paths
from freehold.processes import guests

T = TypeVar("T")
DEATH = 77
Victim = Literal["agent", "guests", "host"]


@dataclass(frozen=True)
class Cut:
    """After an agent's effect number `after` (0: before the first), it is killed, or all guests' QEMUs are, or both.
    `waits`: its effects count once there is the file `armed` (`Gate`)."""

    after: int
    victim: Victim = "agent"
    waits: bool = False


class Gate(Effects):
    """Effects that are written down; each is done `times` times. `armed` is beside the journal."""

    def __init__(self, layout: Layout, journal: Path, cut: Cut | None, times: int) -> None:
        self._layout = layout
        self._journal = journal
        self._armed = journal.with_name("armed")
        self._cut = cut
        self._times = times
        self._count = 0

    async def perform(self, name: str, action: Callable[[], Awaitable[T]]) -> T:
        counts = self._cut is not None and (not self._cut.waits or self._armed.exists())
        if counts:
            self._strike(0)
        with self._journal.open("a") as journal:
            journal.write(name + "\n")
        for _ in range(self._times):
            result = await action()
        if counts:
            self._count += 1
            self._strike(self._count)
        return result

    def _strike(self, count: int) -> None:
        if self._cut is None or count != self._cut.after:
            return
        if self._cut.victim != "agent":
            self._cut = None if self._cut.victim == "guests" else self._cut
            for each in guests(self._layout.tag).values():
                os.kill(each.pid, signal.SIGKILL)
        if self._cut is not None:
            os._exit(DEATH)


def agent(
    data_dir: Path,
    host_id: str,
    journal: Path,
    cut: Cut | None,
    times: int,
    warm: WarmStart,
    late: float = 0,
    patience: float | None = None,
) -> None:
    """To be called in a process of its own. `late`: seconds that QEMUs take to say how they are; `patience`: those that
    they have to answer, if not as many as usual."""
    log = os.open(data_dir / "agent.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    layout = Layout(Paths(data_dir))
    namespace.enter(layout.paths.namespace)
    layout.prepare()
    ask = Monitor.status

    async def ask_and_wait(of: Monitor) -> str:
        status = await ask(of)
        await asyncio.sleep(late)
        return status

    if patience is not None:
        monitor._ANSWER_SECONDS_MAX = patience
    if late:
        Monitor.status = ask_and_wait  # type: ignore[method-assign]
    asyncio.run(run(layout, host_id, None, Gate(layout, journal, cut, times), warm))
