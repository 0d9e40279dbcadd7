"""The cut test: whatever the last thing was that an agent did before it was killed, the next one makes all well.

A guest's life (launch, reboot, hibernate, start, terminate; then its disk, which was kept, is deleted) is lived once to
learn its effects, once with each effect done twice, and then once for each effect with an agent that dies after it. To
be cut before an effect is to be cut after the one before it.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from ipaddress import IPv4Network
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from freehold.host.layout import Layout
from freehold.host.templates.service import WarmStart
from freehold.processes import guests
from tests.host.cut_agent import DEATH, agent
from tests.host.plane import HOST, Plane, guest_spec, leftovers
from tests.ovn import Cloud, wait_until

POOL = IPv4Network("203.0.113.32/28")

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.host.cut_agent"])


class Host:
    """A host whose agent is started again as soon as it has died."""

    def __init__(self, data_dir: Path, plane: Plane, cloud: Cloud, image_id: str) -> None:
        self.data_dir = data_dir
        self.plane = plane
        self.cloud = cloud
        self.image_id = image_id
        self._lives = 0

    def live(self, last: int | None = None, times: int = 1, *, warm: bool = False) -> list[str]:
        """One life of a guest, with an agent that dies after effect `last`; returns the effects of all agents. `warm` =
        it begins as a clone of a template."""
        self._lives += 1
        self._warm = WarmStart(512, (("t3.nano", 1, 128),)) if warm else WarmStart(0)
        ready = self._log().count("template ready")
        journal = self.data_dir / f"effects-{self._lives}"
        spec = guest_spec(self._lives, self.image_id, shutdown_grace_seconds=0, delete_volumes=())
        (volume,) = spec.volumes
        self._agent = self._start(journal, last, times)
        try:
            if warm:
                wait_until(lambda: self._log().count("template ready") > ready, "a template is ready", 120)
            self.plane.assign(spec)
            self._reach(spec.instance_id, "running", journal)
            self.plane.want(spec.instance_id, "running", reboots=1)
            self._reach(spec.instance_id, "running", journal)
            self.plane.want(spec.instance_id, "stopped", hibernate=True)
            self._reach(spec.instance_id, "stopped", journal)
            assert self.plane.guests[spec.instance_id].hibernated, self._log()
            for desired in ("running", "absent"):
                self.plane.want(spec.instance_id, desired, hibernate=False)
                self._reach(spec.instance_id, desired, journal)
            disk = self._disk(volume.volume_id)
            kept = [f"file {disk.with_suffix('.parent')}", f"file {disk}"]
            assert leftovers(self.data_dir, self.cloud.paths.switch) == kept
            self.plane.delete_volume(volume.volume_id)
            self._wait(lambda: not self.plane.doomed, "volume is deleted", journal)
            # The VPC's metadata link goes after the VPC's last guest.
            wait_until(lambda: leftovers(self.data_dir, self.cloud.paths.switch) == [], "nothing is left")
        finally:
            self._agent.terminate()
            self._agent.join(20)
        self.plane.forget(spec.instance_id)
        return journal.read_text().splitlines()

    def _reach(self, instance_id: str, state: str, journal: Path) -> None:
        self._wait(lambda: self.plane.reached(instance_id, state), state, journal)
        assert len(guests(self.plane.paths.tag)) == (1 if state == "running" else 0)

    def _wait(self, condition: Callable[[], bool], what: str, journal: Path) -> None:
        """Until the condition holds, with an agent that is started again when it has died."""
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, f"not {what}: {self.plane.guests} after {journal.read_text()}"
            if self._agent.exitcode is not None:
                assert self._agent.exitcode == DEATH, self._log()[-4000:]
                self._agent = self._start(journal, None, 1)
            time.sleep(0.01)

    def _disk(self, volume_id: str) -> Path:
        return Layout(self.plane.paths).volume(volume_id)

    def _log(self) -> str:
        path = self.data_dir / "agent.log"
        return path.read_text() if path.exists() else ""

    def _start(self, journal: Path, last: int | None, times: int) -> BaseProcess:
        process = _processes.Process(target=agent, args=(self.data_dir, HOST, journal, last, times, self._warm))
        process.start()
        return process


@pytest.fixture(scope="module")
def host(data_dir: Path, plane: Plane, cloud: Cloud, image_id: str) -> Host:
    return Host(data_dir, plane, cloud, image_id)


def test_every_effect_may_be_done_twice(host: Host) -> None:
    host.live(times=2)


def test_an_agent_may_die_after_any_effect(host: Host) -> None:
    effects = host.live()
    assert {
        "make volume",
        "make tap",
        "plug port",
        "start process",
        "reset",
        "keep memory",
        "load memory",
        "kill",
        "remove files",
        "delete volume",
    } <= set(effects)
    for last in range(len(effects)):
        host.live(last)


def test_an_agent_may_die_while_it_makes_a_clone(host: Host) -> None:
    """What was half made is thrown away, and the next agent starts the guest, as a clone or not."""
    effects = host.live(warm=True)
    making = {"start process", "load state", "plug device"}
    assert making <= set(effects)
    before_the_stop = effects[: effects.index("reset")]
    for last in (number for number, name in enumerate(before_the_stop, start=1) if name in making):
        host.live(last, warm=True)
    host.live(times=2, warm=True)
