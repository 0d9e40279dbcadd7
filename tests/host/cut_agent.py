"""A host agent that dies, as by `kill -9`, right after an effect that is named by its number."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from freehold.host.__main__ import run
from freehold.host.effects import Effects
from freehold.host.layout import Layout
from freehold.host.templates.service import WarmStart
from freehold.network import namespace
from freehold.paths import Paths

T = TypeVar("T")
DEATH = 77


class Cut(Effects):
    """Effects that are written down; each is done `times` times, and after number `last` there is nothing more."""

    def __init__(self, journal: Path, last: int | None, times: int) -> None:
        self._journal = journal
        self._last = last
        self._times = times
        self._count = 0

    async def perform(self, name: str, action: Callable[[], Awaitable[T]]) -> T:
        if self._last == 0:
            os._exit(DEATH)
        with self._journal.open("a") as journal:
            journal.write(name + "\n")
        for _ in range(self._times):
            result = await action()
        self._count += 1
        if self._count == self._last:
            os._exit(DEATH)
        return result


def agent(data_dir: Path, host_id: str, journal: Path, last: int | None, times: int, warm: WarmStart) -> None:
    """To be called in a process of its own."""
    log = os.open(data_dir / "agent.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    layout = Layout(Paths(data_dir))
    namespace.enter(layout.paths.namespace)
    layout.prepare()
    asyncio.run(run(layout, host_id, None, Cut(journal, last, times), warm))
