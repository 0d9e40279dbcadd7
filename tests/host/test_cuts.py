"""The cut test: whatever the last thing was that an agent did before it was killed, the next one makes all well.

A guest's life (launch, reboot, hibernate, start, terminate, with snapshots of its disk while it runs and while it
sleeps; then its disk, which was kept, is deleted) is lived once to learn its effects, once with each effect done twice,
and then with agents that die again and again, in each life after other effects; when all cuts are asked for, there is a
life for each effect, too. To be cut before an effect is to be cut after the one before it.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest
from msgspec.structs import replace

from freehold.host.layout import Layout
from freehold.host.wire import GuestSpec, SnapshotSpec
from freehold.processes import guests, standbys
from tests.host.cut_agent import Cut
from tests.host.cut_host import ALL, COLD, WARM, Host, again_and_again, cuts
from tests.host.disks import check
from tests.host.plane import Plane, guest_spec, key_of, leftovers
from tests.ovn import Cloud

_EVERY = 14  # an agent that starts does some seven things before it goes on with what another was at
POOL = IPv4Network("203.0.113.32/28")


class Lives:
    def __init__(self, host: Host, cloud: Cloud, image_id: str) -> None:
        self.host = host
        self.plane = host.plane
        self.cloud = cloud
        self.image_id = image_id
        self.count = 0

    def live(self, *suffered: Cut, times: int = 1, warm: bool = False) -> list[str]:
        """One life of a guest; returns the effects of all agents. `warm` = it begins as a clone of a template."""
        self.count += 1
        killed = any(cut.victim != "agent" for cut in suffered)
        self._first = not suffered
        act = self._warm if warm else self._live
        return self.host.run(lambda: act(sleeps=not killed), *suffered, times=times, warm=WARM if warm else COLD)

    def _warm(self, *, sleeps: bool) -> None:
        if self._first:
            self.host.has_template()
        self._live(sleeps=sleeps)

    def _live(self, *, sleeps: bool) -> None:
        """`sleeps`: its QEMU is not killed, so that it hibernates."""
        spec = guest_spec(self.count, self.image_id, shutdown_grace_seconds=0, delete_volumes=())
        (volume,) = spec.volumes
        first, second = (f"snap-{2 * self.count + each:017x}" for each in range(2))
        layout = Layout(self.plane.paths)
        for snapshot_id in (first, second):
            self.plane.keys[snapshot_id] = key_of(volume.volume_id)
        self.plane.assign(spec)
        self._reach(spec.instance_id, "running")
        self._snapshot(volume.volume_id, first)
        self.plane.want(spec.instance_id, "running", reboots=1)
        self._reach(spec.instance_id, "running")
        self.plane.want(spec.instance_id, "stopped", hibernate=True)
        self._reach(spec.instance_id, "stopped")
        assert self.plane.guests[spec.instance_id].hibernated or not sleeps, self.host.log()
        self._snapshot(volume.volume_id, second)
        for desired in ("running", "absent"):
            self.plane.want(spec.instance_id, desired, hibernate=False)
            self._reach(spec.instance_id, desired)
        files = [layout.layer(first), layout.layer(second), layout.volume(volume.volume_id)]
        kept = [f"file {path}" for file in files for path in (file.with_suffix(".parent"), file)]
        self.host.wait(lambda: leftovers(self.host.data_dir, self.cloud.paths.switch) == kept, "disks are left")
        for file in files:
            check(file, key_of(volume.volume_id))
        self.plane.delete_volume(volume.volume_id)
        for snapshot_id in (first, second):
            self.plane.doom_snapshot(snapshot_id)
        self.host.wait(lambda: not self.plane.doomed and not self.plane.doomed_snapshots, "disks are deleted")
        # The VPC's metadata link goes after the VPC's last guest.
        self.host.wait(lambda: leftovers(self.host.data_dir, self.cloud.paths.switch) == [], "nothing is left")
        self.plane.forget(spec.instance_id)

    def take(self, *suffered: Cut) -> list[str]:
        """A guest takes the clone that stands ready since another one was launched, which is when the cuts begin;
        returns the effects from then on."""
        before: list[int] = []
        effects = self.host.run(lambda: self._take(before, cut=bool(suffered)), *suffered, warm=WARM)
        return effects[before[0] :]

    def _take(self, before: list[int], *, cut: bool) -> None:
        armed = self.host.data_dir / "armed"
        armed.unlink(missing_ok=True)
        self.count += 2
        first, second = (guest_spec(self.count + each, self.image_id, shutdown_grace_seconds=0) for each in range(2))
        self.plane.assign(first)
        self._reach(first.instance_id, "running")
        self._end(first)
        self.plane.wait_for(lambda: self.plane.ready is not None, "a clone stands ready")
        assert self.plane.ready is not None
        second = replace(second, instance_id=self.plane.ready.instance_id)
        (process,) = standbys(self.plane.paths.tag).values()
        armed.touch()
        before.append(len(self.host.journal.read_text().splitlines()))
        self.plane.assign(second)
        self._reach(second.instance_id, "running")
        assert cut or guests(self.plane.paths.tag) == {second.instance_id: process}
        assert second.instance_id not in standbys(self.plane.paths.tag)
        self._end(second)

    def _end(self, spec: GuestSpec) -> None:
        self.plane.want(spec.instance_id, "absent")
        self._reach(spec.instance_id, "absent")
        self.host.wait(lambda: leftovers(self.host.data_dir, self.cloud.paths.switch) == [], "nothing is left")
        self.plane.forget(spec.instance_id)

    def _snapshot(self, volume_id: str, snapshot_id: str) -> None:
        self.plane.snapshot(SnapshotSpec(snapshot_id, volume_id, snapshot_id, encrypted=True))
        self.host.wait(lambda: not self.plane.snapshots, "the snapshot is taken")

    def _reach(self, instance_id: str, state: str) -> None:
        count = 1 if state == "running" else 0
        self.host.reach(instance_id, state)
        self.host.wait(lambda: len(guests(self.plane.paths.tag)) == count, f"it is {state}")


@pytest.fixture(scope="module")
def lives(data_dir: Path, plane: Plane, cloud: Cloud, image_id: str) -> Lives:
    return Lives(Host(data_dir, plane), cloud, image_id)


def test_every_effect_may_be_done_twice(lives: Lives) -> None:
    lives.live(times=2)


def test_agents_and_guests_may_die_after_any_effect(lives: Lives) -> None:
    effects = lives.live()
    assert {"make volume", "make tap", "plug port", "start process", "reset", "kill", "remove files"} <= set(effects)
    assert {"keep memory", "load memory", "make next tip", "go over", "freeze", "delete volume"} <= set(effects)
    for first in range(_EVERY):
        lives.live(Cut(first), *[Cut(_EVERY)] * len(effects))  # more than there can be
    if ALL:
        for last in range(len(effects)):
            lives.live(Cut(last))
    for cut in cuts(effects, "guests", "host", but_for_all=("save memory", "load memory")):
        lives.live(cut)
    lives.live(*again_and_again(2, 20))


def test_an_agent_may_die_while_it_makes_a_clone(lives: Lives) -> None:
    """What was half made is thrown away, and the next agent starts the guest, as a clone or not."""
    effects = lives.live(warm=True)
    making = {"start process", "load state", "plug device"}
    assert making <= set(effects)
    before_the_stop = effects[: effects.index("reset")]
    for last in (number for number, name in enumerate(before_the_stop, start=1) if name in making):
        lives.live(Cut(last), warm=True)
    lives.live(times=2, warm=True)
    lives.live(*again_and_again(3, 20), warm=True)


def test_an_agent_or_its_qemu_may_die_while_a_guest_takes_what_stood_ready(lives: Lives) -> None:
    effects = lives.take()
    assert "start process" not in effects
    taking = effects[: effects.index("start cpus") + 1]
    for last in range(len(taking) + 1):
        lives.take(Cut(last, waits=True))
        lives.take(Cut(last, "guests", waits=True))
