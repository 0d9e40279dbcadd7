"""A guest that reboots for an image of its disk, and onto another root volume, with agents that die on the way."""

from __future__ import annotations

import time
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from msgspec.structs import replace

from freehold.host.layout import Layout
from freehold.host.wire import SnapshotSpec
from freehold.processes import guests
from tests.host.cut_agent import Cut
from tests.host.cut_host import Host
from tests.host.disks import check
from tests.host.plane import Plane, guest_spec, key_of, leftovers
from tests.ovn import Cloud

POOL = IPv4Network("198.18.3.64/28")


class Rebooting:
    def __init__(self, host: Host, cloud: Cloud, image_id: str) -> None:
        self.host = host
        self.plane = host.plane
        self.cloud = cloud
        self.image_id = image_id
        self._lives = 0

    def live(self, *cuts: Cut, times: int = 1, late: float = 0) -> list[str]:
        """Returns the effects of all agents."""
        self._late = late
        return self.host.run(self._replace_root, *cuts, times=times, late=late)

    def _replace_root(self) -> None:
        """The root volume is frozen while the guest is at rest, then it boots from another one."""
        self._lives += 1
        spec = guest_spec(self._lives, self.image_id, shutdown_grace_seconds=0)
        (old,) = spec.volumes
        new = replace(old, volume_id=f"vol-{4096 + self._lives:017x}")
        snapshot = SnapshotSpec(f"snap-{self._lives:017x}", old.volume_id, "group", encrypted=True, at_rest=True)
        self.plane.assign(spec)
        self.host.reach(spec.instance_id, "running")
        before = guests(self.plane.paths.tag)[spec.instance_id]
        self.plane.snapshot(snapshot)
        if self._late:  # it is being looked at when it gets the other volume
            self.plane.want(spec.instance_id, "running")
            time.sleep(self._late / 2)
        self.plane.want(
            spec.instance_id,
            "running",
            reboots=1,
            volumes=(new,),
            delete_volumes=(new.volume_id,),
            snapshots_at_rest=(snapshot.snapshot_id,),
        )
        self.host.wait(lambda: self._holds(spec.instance_id) == (new.volume_id,), "another root volume")
        self.host.reach(spec.instance_id, "running")
        assert guests(self.plane.paths.tag)[spec.instance_id] != before
        self.host.wait(lambda: not self.plane.snapshots, "the snapshot is taken")
        assert self.plane.taken[snapshot.snapshot_id].message is None
        layout = Layout(self.plane.paths)
        check(layout.layer(snapshot.snapshot_id), key_of(old.volume_id))
        check(layout.volume(old.volume_id), key_of(old.volume_id))
        self.plane.want(spec.instance_id, "absent", snapshots_at_rest=())
        self.host.reach(spec.instance_id, "absent")
        self.plane.delete_volume(old.volume_id)
        self.host.wait(lambda: not self.plane.doomed, "the old volume is deleted")
        self.plane.doom_snapshot(snapshot.snapshot_id)
        self.host.wait(lambda: not self.plane.doomed_snapshots, "the snapshot is deleted")
        self.host.wait(lambda: leftovers(self.host.data_dir, self.cloud.paths.switch) == [], "nothing is left")
        self.plane.forget(spec.instance_id)

    def _holds(self, instance_id: str) -> tuple[str, ...] | None:
        report = self.plane.guests.get(instance_id)
        return None if report is None else report.volumes


@pytest.fixture(scope="module")
def rebooting(data_dir: Path, plane: Plane, cloud: Cloud, image_id: str) -> Rebooting:
    return Rebooting(Host(data_dir, plane), cloud, image_id)


def test_an_agent_may_die_while_a_guest_gets_another_root_volume(rebooting: Rebooting) -> None:
    effects = rebooting.live()
    begins = effects.index("start cpus") + 1
    ends = effects.index("start cpus", begins) + 1
    between = ("make next tip", "freeze", "kill", "make volume")
    assert {*between, "start process"} <= set(effects[begins:ends])
    rebooting.live(times=2)
    for name in between:
        rebooting.live(Cut(effects.index(name, begins) + 1))


def test_a_guest_that_is_being_looked_at_gets_another_root_volume_by_a_reboot_too(rebooting: Rebooting) -> None:
    rebooting.live(late=0.3)
