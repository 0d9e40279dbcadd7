"""A guest that reboots for an image of its disk, and onto another root volume, with agents that die on the way."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest
from msgspec.structs import replace

from freehold.host.layout import Layout
from freehold.host.templates.service import WarmStart
from freehold.host.wire import SnapshotSpec
from freehold.processes import guests
from tests.host.disks import check
from tests.host.plane import Plane, guest_spec, key_of, leftovers
from tests.host.test_cuts import Host
from tests.ovn import Cloud, wait_until

POOL = IPv4Network("198.18.3.64/28")


class Rebooting(Host):
    def replace_root(self, last: int | None = None, times: int = 1) -> list[str]:
        """The root volume is frozen while the guest is at rest, then it boots from another one. Returns the effects of
        all agents."""
        self._lives += 1
        self._warm = WarmStart(0)
        journal = self.data_dir / f"effects-{self._lives}"
        spec = guest_spec(self._lives, self.image_id, shutdown_grace_seconds=0)
        (old,) = spec.volumes
        new = replace(old, volume_id=f"vol-{4096 + self._lives:017x}")
        snapshot = SnapshotSpec(f"snap-{self._lives:017x}", old.volume_id, "group", encrypted=True, at_rest=True)
        self._agent = self._start(journal, last, times)
        try:
            self.plane.assign(spec)
            self._reach(spec.instance_id, "running", journal)
            before = guests(self.plane.paths.tag)[spec.instance_id]
            self.plane.snapshot(snapshot)
            self.plane.want(
                spec.instance_id,
                "running",
                reboots=1,
                volumes=(new,),
                delete_volumes=(new.volume_id,),
                snapshots_at_rest=(snapshot.snapshot_id,),
            )
            self._wait(lambda: self._holds(spec.instance_id) == (new.volume_id,), "another root volume", journal)
            self._reach(spec.instance_id, "running", journal)
            assert guests(self.plane.paths.tag)[spec.instance_id] != before, journal.read_text()
            self._wait(lambda: not self.plane.snapshots, "the snapshot is taken", journal)
            assert self.plane.taken[snapshot.snapshot_id].message is None
            layout = Layout(self.plane.paths)
            check(layout.layer(snapshot.snapshot_id), key_of(old.volume_id))
            check(layout.volume(old.volume_id), key_of(old.volume_id))
            self.plane.want(spec.instance_id, "absent", snapshots_at_rest=())
            self._reach(spec.instance_id, "absent", journal)
            self.plane.delete_volume(old.volume_id)
            self._wait(lambda: not self.plane.doomed, "the old volume is deleted", journal)
            self.plane.doomed_snapshots.add(snapshot.snapshot_id)
            self.plane.disconnect()  # it is told again
            self._wait(lambda: not self.plane.doomed_snapshots, "the snapshot is deleted", journal)
            wait_until(lambda: leftovers(self.data_dir, self.cloud.paths.switch) == [], "nothing is left")
        finally:
            self._agent.terminate()
            self._agent.join(20)
        self.plane.forget(spec.instance_id)
        return journal.read_text().splitlines()

    def _holds(self, instance_id: str) -> tuple[str, ...] | None:
        report = self.plane.guests.get(instance_id)
        return None if report is None else report.volumes


@pytest.fixture(scope="module")
def host(data_dir: Path, plane: Plane, cloud: Cloud, image_id: str) -> Rebooting:
    return Rebooting(data_dir, plane, cloud, image_id)


def test_an_agent_may_die_while_a_guest_gets_another_root_volume(host: Rebooting) -> None:
    effects = host.replace_root()
    begins = effects.index("start cpus") + 1
    ends = effects.index("start cpus", begins) + 1
    rebooting = effects[begins:ends]
    between = ("make next tip", "freeze", "kill", "make volume")
    assert {*between, "start process"} <= set(rebooting)
    host.replace_root(times=2)
    for name in between:
        host.replace_root(begins + rebooting.index(name) + 1)
