"""A host whose agent is started again as soon as it has died, for tests that cut what it does."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from freehold.host.templates.service import WarmStart
from tests.host.cut_agent import DEATH, Cut, Victim, agent
from tests.host.plane import HOST, Plane
from tests.ovn import wait_until

SECONDS_MAX = 90.0
COLD, WARM = WarmStart(0), WarmStart(512, (("t3.nano", 1, 128),))

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.host.cut_agent"])


class Host:
    """`journal` has the effects of all agents since the last `run` began."""

    def __init__(self, data_dir: Path, plane: Plane) -> None:
        self.data_dir = data_dir
        self.plane = plane
        self.journal = data_dir / "effects"

    def run(
        self,
        act: Callable[[], None],
        *cuts: Cut,
        times: int = 1,
        warm: WarmStart = COLD,
        late: float = 0,
        patience: float | None = None,
    ) -> list[str]:
        """Do `act` with an agent that suffers the first cut, then one that suffers the second, and so on, and each does
        each effect `times` times, and its QEMUs answer `late` and have the `patience` (seconds); returns the effects of
        all."""
        self.journal.write_text("")
        self._cuts: Iterator[Cut] = iter(cuts)
        self._times, self._warm, self._late, self._patience = times, warm, late, patience
        self._agent = self._start()
        try:
            act()
        finally:
            self._agent.terminate()
            self._agent.join(20)
        return self.journal.read_text().splitlines()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Until the condition holds, with an agent that is started again when it has died."""
        deadline = time.monotonic() + SECONDS_MAX
        while not condition():
            assert time.monotonic() < deadline, f"not {what}: {self.plane.guests} after {self.journal.read_text()}"
            if self._agent.exitcode is not None:
                assert self._agent.exitcode == DEATH, self.log()[-4000:]
                self._agent = self._start()
            time.sleep(0.01)

    def reach(self, instance_id: str, state: str) -> None:
        self.wait(lambda: self.plane.reached(instance_id, state), f"{instance_id} is {state}")

    def has_template(self) -> None:
        """To be waited for with an agent that suffers no cut: later ones have it from the beginning."""
        wait_until(lambda: "template ready" in self.log(), "a template is ready", 300)

    def log(self) -> str:
        path = self.data_dir / "agent.log"
        return path.read_text() if path.exists() else ""

    def _start(self) -> Any:
        how = (next(self._cuts, None), self._times, self._warm, self._late, self._patience)
        process = _processes.Process(target=agent, args=(self.data_dir, HOST, self.journal, *how))
        process.start()
        return process


ALL = os.environ.get("FREEHOLD_CUTS") == "all"  # `make test-cuts`


def cuts(effects: Sequence[str], *victims: Victim, but_for_all: Sequence[str]) -> list[Cut]:
    """A cut after each of these effects, of each victim; unless all are asked for, after the first of each of these
    names alone."""
    places = range(len(effects)) if ALL else [effects.index(name) + 1 for name in but_for_all]
    return [Cut(place, victim) for place in places for victim in victims]


def again_and_again(seed: int, count: int) -> list[Cut]:
    """Cuts of agents that follow each other, some with all guests, after a few effects each."""
    chance = random.Random(seed)
    return [Cut(chance.randrange(2, 12), chance.choice(("agent", "agent", "host"))) for _ in range(count)]
