"""Wherever an agent is killed while a disk is plugged into a guest, or out of it, the next one finishes it."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from freehold.host.layout import Layout
from freehold.host.templates.service import WarmStart
from freehold.host.wire import VolumeSpec
from freehold.processes import guests
from tests.host.cut_agent import DEATH, Cut, agent
from tests.host.disks import SpareMonitor
from tests.host.plane import HOST, READY, AgentProcess, Plane, guest_spec, key_of
from tests.host.test_luks import qemu
from tests.ovn import Cloud, wait_until

POOL = IPv4Network("198.18.1.64/28")
DATA = VolumeSpec("vol-0123456789abcdef0", 1, None, "/dev/sdf", boot=False, encrypted=True)

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.host.cut_agent"])


class Agents:
    """An agent that dies after an effect, and those that follow it."""

    def __init__(self, data_dir: Path, plane: Plane) -> None:
        self._data_dir = data_dir
        self._plane = plane
        self.journal = data_dir / "effects"

    def run(self, last: int | None, times: int, act: Callable[[], None]) -> list[str]:
        """Do `act` with an agent that dies after effect `last`; returns the effects of all."""
        self.journal.write_text("")
        self._process = self._start(last, times)
        try:
            act()
        finally:
            self._process.terminate()
            self._process.join(20)
        return self.journal.read_text().splitlines()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, f"not {what}: {self._plane.guests} after {self.journal.read_text()}"
            if self._process.exitcode is not None:
                assert self._process.exitcode == DEATH, (self._data_dir / "agent.log").read_text()[-3000:]
                self._process = self._start(None, 1)
            time.sleep(0.01)

    def _start(self, last: int | None, times: int) -> Any:
        cut = None if last is None else Cut(last)
        arguments = (self._data_dir, HOST, self.journal, cut, times, WarmStart(0))
        process = _processes.Process(target=agent, args=arguments)
        process.start()
        return process


def test_a_disk_comes_and_goes_whenever_agents_die(data_dir: Path, plane: Plane, cloud: Cloud, image_id: str) -> None:
    spec = guest_spec(1, image_id, shutdown_grace_seconds=0)
    (root,) = spec.volumes
    agents = Agents(data_dir, plane)
    layout = Layout(plane.paths)
    path = layout.volume(DATA.volume_id)

    def held() -> set[str]:
        report = plane.guests.get(spec.instance_id)
        current = plane.specs[spec.instance_id].generation
        return set(report.volumes or ()) if report is not None and report.generation == current else set()

    def come_and_go() -> None:
        plane.want(spec.instance_id, "running", volumes=(root, DATA), detach=())
        agents.wait(lambda: DATA.volume_id in held(), "the disk is there")
        go()

    def go() -> None:
        plane.want(spec.instance_id, "running", volumes=(root,), detach=(DATA.volume_id,))
        agents.wait(lambda: held() == {root.volume_id}, "the disk is gone")
        agents.wait(lambda: not any(layout.shares.iterdir()), "nobody has it open for several guests")
        checked = qemu(path, key_of(DATA.volume_id), ("qemu-img", "check"))  # which a QEMU that has it would forbid
        assert "No errors were found" in checked.stdout, checked

    sizes = iter(range(DATA.size_gib + 1, 1 << 14))

    def come_grow_and_go() -> None:
        shared = replace(DATA, size_gib=next(sizes), shared=True)
        plane.want(spec.instance_id, "running", volumes=(root, shared), detach=())
        agents.wait(lambda: DATA.volume_id in held(), "the shared disk is there")
        plane.want(spec.instance_id, "running", volumes=(root, replace(shared, size_gib=next(sizes))))
        agents.wait(lambda: plane.guests[spec.instance_id].disks_fit and bool(held()), "the shared disk is larger")
        go()

    def boot() -> None:
        plane.assign(spec)
        agents.wait(lambda: plane.reached(spec.instance_id, "running"), "running")
        come_and_go()  # the guest lets go of a disk: its system is up

    agents.run(None, 1, boot)
    pid = guests(plane.paths.tag)[spec.instance_id].pid
    agents.run(None, 2, come_and_go)
    effects = agents.run(None, 1, come_and_go)
    assert {"make volume", "plug disk", "adjust disk", "unplug disk"} <= set(effects)
    for last in range(len(effects)):
        agents.run(last, 1, come_and_go)

    # The same of one that several guests may have: it is open in a QEMU of its own, and grows there.
    agents.run(None, 2, come_grow_and_go)
    effects = agents.run(None, 1, come_grow_and_go)
    own = {"start share", "open share", "serve share", "plug disk", "grow share", "see size", "quit", "remove share"}
    assert own <= set(effects)
    for last, name in enumerate(effects):
        if name in own:  # the others are cut above
            agents.run(last, 1, come_grow_and_go)
    assert guests(plane.paths.tag)[spec.instance_id].pid == pid

    def end() -> None:
        plane.want(spec.instance_id, "absent", detach=(), delete_volumes=(root.volume_id,))
        agents.wait(lambda: plane.reached(spec.instance_id, "absent"), "absent")
        plane.delete_volume(DATA.volume_id)
        agents.wait(lambda: not plane.doomed, "the volume is deleted")

    agents.run(None, 1, end)
    assert not path.exists()


def test_a_disk_that_is_half_there_is_not_said_to_be_there(
    plane: Plane, agent: AgentProcess, image_id: str, cloud: Cloud
) -> None:
    """An agent was cut when it had opened a disk's files and not plugged it in; the next can not yet, and says so."""
    disk = replace(DATA, volume_id="vol-0123456789abcdef1")
    spec = guest_spec(2, image_id, shutdown_grace_seconds=0)
    (root,) = spec.volumes
    spec = replace(spec, volumes=(root, disk))

    def plugged() -> bool:
        found = monitor.execute("qom-list", path="/machine/peripheral")
        return disk.volume_id in {each["name"] for each in found}

    plane.assign(spec)
    plane.wait_for_disks(spec.instance_id)
    plane.wait_for_console(spec.instance_id, READY)
    monitor = SpareMonitor(Layout(plane.paths), spec.instance_id)
    agent.end()
    monitor.execute("device_del", id=disk.volume_id)
    wait_until(lambda: not plugged(), "the guest has let go of the disk")
    plane.withheld.add(disk.volume_id)
    agent.start()
    plane.want(spec.instance_id, "running")
    plane.wait_for_state(spec.instance_id, "running")
    plane.wait_for(lambda: plane.guests[spec.instance_id].disks_fit, "its disks fit")
    assert plane.guests[spec.instance_id].volumes == (root.volume_id,)
    assert not plugged()
    plane.withheld.clear()
    plane.want(spec.instance_id, "running")
    plane.wait_for_disks(spec.instance_id)
    assert plugged()
    monitor.close()
    plane.want(spec.instance_id, "absent", delete_volumes=(root.volume_id, disk.volume_id))
    plane.wait_for_state(spec.instance_id, "absent")
