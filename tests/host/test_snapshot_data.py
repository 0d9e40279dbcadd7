"""The data test: a guest writes known blocks while snapshots are taken, deleted and copied, agents and QEMUs are
killed, and its volumes are deleted; every snapshot has exactly the blocks of its instant, whatever else has gone."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from msgspec.structs import replace

from freehold.host.layout import Layout
from freehold.host.volumes.layers import Layers
from freehold.host.wire import CopySpec, SnapshotSpec, VolumeSpec
from freehold.processes import guests
from tests.host.disks import SpareMonitor, blocks, check
from tests.host.plane import AgentProcess, Plane, guest_spec, key_of, leftovers
from tests.host.test_snapshots import data_id, with_data
from tests.ovn import Cloud, wait_until

POOL = IPv4Network("198.18.2.16/28")
BLOCKS = range(200, 216)


class History:
    """A volume, what has been written to it, and what each of its snapshots is to have."""

    def __init__(self, plane: Plane, agent: AgentProcess, image_id: str, seed: int) -> None:
        self.chance = random.Random(seed)
        self.plane = plane
        self.agent = agent
        self.layout = Layout(plane.paths)
        self.spec = with_data(guest_spec(seed, image_id))
        self.volume_id = data_id(seed)
        self.key = key_of(self.volume_id)
        self.now = dict.fromkeys(BLOCKS, 0)
        self.snapshots: dict[str, dict[int, int]] = {}
        self.count = 0
        self.first = seed << 16
        plane.assign(self.spec)
        plane.wait_for_state(self.spec.instance_id, "running")

    def write(self) -> None:
        """And flush: what a guest has not flushed may be lost with its QEMU."""
        self.plane.wait_for_disks(self.spec.instance_id)
        monitor = SpareMonitor(self.layout, self.spec.instance_id)
        for block in self.chance.sample(BLOCKS, 3):
            self.now[block] = self.chance.randrange(1, 256)
            monitor.write(self.volume_id, block, self.now[block])
        monitor.flush(self.volume_id)
        monitor.close()

    def snapshot(self) -> None:
        self.count += 1
        snapshot_id = f"snap-{self.first + self.count:017x}"
        self.plane.keys[snapshot_id] = self.key
        self.plane.snapshot(SnapshotSpec(snapshot_id, self.volume_id, snapshot_id, encrypted=True))
        self.snapshots[snapshot_id] = dict(self.now)

    def settle(self) -> None:
        self.plane.wait_for(lambda: not self.plane.snapshots, "snapshots are taken")

    def snapshot_and_kill(self, *victims: str) -> None:
        """The agent, the guest's QEMU or both, at some moment of their work; nothing is written until the snapshot is
        taken."""
        pid = guests(self.plane.paths.tag)[self.spec.instance_id].pid
        self.snapshot()
        time.sleep(self.chance.random() / 10)
        if "agent" in victims:
            self.agent.end(signal.SIGKILL)
        if "guest" in victims:
            os.kill(pid, signal.SIGKILL)
        if "agent" in victims:
            self.agent.start()
        if "guest" in victims:
            self.wait_for_another(pid)
        self.settle()

    def take(self) -> None:
        self.snapshot()
        self.settle()

    def delete(self) -> None:
        if self.snapshots:
            snapshot_id = self.chance.choice(sorted(self.snapshots))
            del self.snapshots[snapshot_id]
            self.plane.delete_snapshot(snapshot_id)

    def copy(self) -> None:
        if self.snapshots:
            self.count += 1
            source, copy = self.chance.choice(sorted(self.snapshots)), f"snap-{self.first + self.count:017x}"
            self.plane.keys[copy] = self.key
            self.plane.copy_snapshot(CopySpec(copy, source, rewritten=self.chance.random() < 0.5, encrypted=True))
            self.snapshots[copy] = dict(self.snapshots[source])

    def kill_guest(self) -> None:
        """Its QEMU; the agent starts another one."""
        pid = guests(self.plane.paths.tag)[self.spec.instance_id].pid
        os.kill(pid, signal.SIGKILL)
        self.wait_for_another(pid)

    def wait_for_another(self, pid: int) -> None:
        """Until a QEMU that is not this one has the guest."""

        def another() -> bool:
            found = guests(self.plane.paths.tag).get(self.spec.instance_id)
            return found is not None and found.pid != pid

        wait_until(another, "another QEMU runs")
        self.plane.want(self.spec.instance_id, "running")
        self.plane.wait_for_state(self.spec.instance_id, "running")

    def merged(self) -> bool:
        layers = Layers(self.layout)
        return all(len(layers.children(doomed)) > 1 for doomed in layers.dooms())

    def check(self) -> None:
        wait_until(self.merged, "layers are merged")
        for snapshot_id, content in self.snapshots.items():
            path = self.layout.layer(snapshot_id)
            assert blocks(self.layout, path, self.key, BLOCKS) == content, snapshot_id
            check(path, self.key)


@pytest.mark.parametrize("seed", [7])
def test_every_snapshot_has_the_blocks_of_its_instant(
    plane: Plane, agent: AgentProcess, image_id: str, data_dir: Path, cloud: Cloud, seed: int
) -> None:
    history = History(plane, agent, image_id, seed)
    killed = (("agent",), ("agent",), ("guest",), ("guest", "agent"))
    steps: list[Callable[[], None]] = [partial(history.snapshot_and_kill, *victims) for victims in killed]
    steps += [history.write] * 7 + [history.take] * 3 + [history.delete] * 3 + [history.copy] * 2 + [history.kill_guest]
    history.chance.shuffle(steps)
    for step in steps:
        step()
    history.take()
    history.check()

    # The volume goes; then one is restored, and written to, and each snapshot is what it was.
    plane.want(history.spec.instance_id, "absent", delete_volumes=tuple(v.volume_id for v in history.spec.volumes))
    plane.wait_for_state(history.spec.instance_id, "absent")
    history.check()
    source = sorted(history.snapshots)[-1]
    restored = guest_spec(seed + 1, image_id, shutdown_grace_seconds=0)
    disk = VolumeSpec(data_id(seed + 1), 1, None, "/dev/sdf", boot=False, encrypted=True, snapshot_id=source)
    plane.keys[disk.volume_id] = history.key
    plane.assign(replace(restored, volumes=(*restored.volumes, disk)))
    plane.wait_for_disks(restored.instance_id)
    pid = guests(plane.paths.tag)[restored.instance_id].pid
    monitor = SpareMonitor(history.layout, restored.instance_id)
    for block in BLOCKS:
        monitor.write(disk.volume_id, block, 255)
    monitor.close()
    while history.snapshots:
        history.check()
        history.delete()
    assert guests(plane.paths.tag)[restored.instance_id].pid == pid
    spec = plane.want(restored.instance_id, "stopped")
    plane.wait_for_state(restored.instance_id, "stopped")
    wait_until(history.merged, "layers are merged")
    tip = history.layout.volume(disk.volume_id)
    assert blocks(history.layout, tip, history.key, BLOCKS) == dict.fromkeys(BLOCKS, 255)
    check(tip, history.key)
    plane.want(restored.instance_id, "absent", delete_volumes=tuple(v.volume_id for v in spec.volumes))
    plane.wait_for_state(restored.instance_id, "absent")
    wait_until(lambda: leftovers(data_dir, cloud.paths.switch) == [], "nothing is left")
