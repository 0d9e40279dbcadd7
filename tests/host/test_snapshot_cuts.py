"""Wherever agents are killed, or QEMUs, or both, while snapshots of a guest's disks are taken, copied, restored and
deleted, and its disks come, grow and go: all of it is finished, every snapshot and volume has the blocks that it is to
have, `qemu-img check` finds nothing wrong, and nothing is left, neither in the pool nor in QEMU."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from msgspec.structs import replace

from freehold.host.layout import Layout
from freehold.host.volumes.layers import Layers
from freehold.host.wire import CopySpec, DiskLimits, SnapshotSpec, VolumeSpec
from freehold.processes import guests
from tests.host.cut_host import WARM, Host, again_and_again, cuts
from tests.host.disks import SpareMonitor, blocks, check
from tests.host.plane import Plane, guest_spec, key_of, leftovers
from tests.ovn import Cloud

POOL = IPv4Network("198.18.13.64/28")
FAR = 20000  # beyond the first GiB


class Disks:
    """The disks of one guest, a clone, which runs on while other disks come and go."""

    def __init__(self, host: Host, image_id: str) -> None:
        self.host = host
        self.plane = host.plane
        self.layout = Layout(host.plane.paths)
        self.guest = guest_spec(1, image_id, shutdown_grace_seconds=0)
        (self.root,) = self.guest.volumes
        self._count = 0

    def launch(self) -> None:
        self.host.has_template()
        self.plane.assign(self.guest)
        self.host.reach(self.guest.instance_id, "running")

    def live(self) -> None:
        data = self._new_volume()
        self._have(data)
        self._write(data, {0: 1, 1: 1})
        first, of_root = self._snapshot(data, self.root)
        self._write(data, {1: 2})
        (second,) = self._snapshot(data)
        data = replace(data, size_gib=2, limits=DiskLimits(iops=1000))
        self._have(data)
        self._write(data, {2: 3, FAR: 3})
        (third,) = self._snapshot(data)
        self._write(data, {3: 4})
        (fourth,) = self._snapshot(data)
        self._delete(second)  # what it has goes into the layer above
        self._has(self.layout.layer(third), data, {0: 1, 1: 2, 2: 3, 3: 0, FAR: 3})
        self._delete(fourth)  # into the tip, which QEMU writes to
        self._delete(third)
        copy = self._copy(data, first)
        self._let_go_of(data)
        (resting,) = self._snapshot(data)
        self._delete(resting)  # into the tip, at rest
        self._has(self.layout.volume(data.volume_id), data, {0: 1, 1: 2, 2: 3, 3: 4, FAR: 3})

        restored = replace(self._new_volume(), snapshot_id=first)
        self.plane.keys[restored.volume_id] = key_of(data.volume_id)
        self._have(restored)
        self._delete(first)  # three lie on it: it stays
        self._write(restored, {0: 9})
        self._let_go_of(restored)
        self._has(self.layout.volume(restored.volume_id), data, {0: 9, 1: 1, 2: 0})
        self._has(self.layout.layer(copy), data, {0: 1, 1: 1, 2: 0})
        for volume in (data, restored):
            self.plane.delete_volume(volume.volume_id)
        self.host.wait(lambda: not self.plane.doomed, "volumes are deleted")
        self._has(self.layout.layer(copy), data, {0: 1, 1: 1, 2: 0})
        self._delete(copy, of_root)
        root = self.layout.volume(self.root.volume_id)
        assert self._files() == {root.name, root.with_suffix(".parent").name}
        check(root, key_of(self.root.volume_id))
        self._nothing_is_left_in_qemu()

    def end(self) -> None:
        self.plane.want(self.guest.instance_id, "absent")
        self.host.reach(self.guest.instance_id, "absent")

    def _new_volume(self) -> VolumeSpec:
        self._count += 1
        return VolumeSpec(f"vol-{256 + self._count:017x}", 1, None, "/dev/sdf", boot=False, encrypted=True)

    def _new_snapshot(self) -> str:
        self._count += 1
        return f"snap-{self._count:017x}"

    def _held(self) -> set[str]:
        """The volumes that the guest has, if they are as they are to be."""
        report = self.plane.guests.get(self.guest.instance_id)
        current = self.plane.specs[self.guest.instance_id].generation
        if report is None or report.generation != current or report.state != "running" or not report.disks_fit:
            return set()
        return set(report.volumes or ())

    def _have(self, data: VolumeSpec) -> None:
        self.plane.want(self.guest.instance_id, "running", volumes=(self.root, data))
        self.host.wait(lambda: self._held() == {self.root.volume_id, data.volume_id}, "the disk is there")

    def _let_go_of(self, data: VolumeSpec) -> None:
        for detach in ((data.volume_id,), ()):
            self.plane.want(self.guest.instance_id, "running", volumes=(self.root,), detach=detach)
            self.host.wait(lambda: self._held() == {self.root.volume_id}, "the disk is gone")

    def _write(self, data: VolumeSpec, values: Mapping[int, int]) -> None:
        """And flush: what a guest has not flushed may be lost with its QEMU."""

        def written() -> bool:
            try:
                with closing(SpareMonitor(self.layout, self.guest.instance_id)) as monitor:
                    for block, value in values.items():
                        monitor.write(data.volume_id, block, value)
                    monitor.flush(data.volume_id)
            except (OSError, ValueError, LookupError):
                return False  # QEMU was killed just now, or has not got the disk again
            return True

        self.host.wait(written, "blocks are written")

    def _snapshot(self, *volumes: VolumeSpec) -> list[str]:
        """Of one instant."""
        ids = [self._new_snapshot() for _ in volumes]
        for snapshot_id, volume in zip(ids, volumes, strict=True):
            self.plane.keys[snapshot_id] = key_of(volume.volume_id)
        self.plane.snapshot(
            *(
                SnapshotSpec(snapshot_id, volume.volume_id, ids[0], encrypted=True)
                for snapshot_id, volume in zip(ids, volumes, strict=True)
            )
        )
        self.host.wait(lambda: not self.plane.snapshots, "snapshots are taken")
        return ids

    def _copy(self, data: VolumeSpec, source: str) -> str:
        copy = self._new_snapshot()
        self.plane.keys[copy] = key_of(data.volume_id)
        self.plane.want_copies(CopySpec(copy, source, rewritten=True, encrypted=True))
        self.host.wait(lambda: not self.plane.copies, "the copy is made")
        return copy

    def _delete(self, *snapshot_ids: str) -> None:
        for snapshot_id in snapshot_ids:
            self.plane.doom_snapshot(snapshot_id)
        self.host.wait(lambda: not self.plane.doomed_snapshots, "snapshots are deleted")
        layers = Layers(self.layout)
        self.host.wait(lambda: all(len(layers.children(each)) > 1 for each in layers.dooms()), "layers are merged")

    def _has(self, path: Path, data: VolumeSpec, content: Mapping[int, int]) -> None:
        key = key_of(data.volume_id)
        assert blocks(self.layout, path, key, content) == content
        for each in Layers(self.layout).chain(path):
            check(each, key)

    def _files(self) -> set[str]:
        return {path.name for path in self.layout.volumes.iterdir()}

    def _nothing_is_left_in_qemu(self) -> None:
        """It has open the root volume's file and the image below it, and nothing else."""

        def clean() -> bool:
            try:
                with closing(SpareMonitor(self.layout, self.guest.instance_id)) as monitor:
                    nodes = monitor.execute("query-named-block-nodes", flat=True)
                    sets = {f"/dev/fdset/{each['fdset-id']}" for each in monitor.execute("query-fdsets")}
                    jobs = monitor.execute("query-jobs")
                    objects = [each["name"] for each in monitor.execute("qom-list", path="/objects")]
            except (OSError, ValueError):
                return False  # QEMU was killed just now, and is started again
            files = {node["file"] for node in nodes if node["drv"] == "file"}
            mine = (f"limit-{self.root.volume_id}", f"key-{self.root.volume_id}")
            extra = {name for name in objects if name.startswith(("limit-", "key-")) and not name.startswith(mine)}
            return (len(nodes), files, jobs, extra) == (5, sets, [], set())

        self.host.wait(clean, "QEMU has what it had before")


@pytest.fixture(scope="module")
def disks(data_dir: Path, plane: Plane, cloud: Cloud, image_id: str) -> Disks:
    host = Host(data_dir, plane)
    disks = Disks(host, image_id)
    host.run(disks.launch, warm=WARM)
    return disks


def test_disks_and_snapshots_come_and_go_whatever_is_killed(disks: Disks, data_dir: Path, cloud: Cloud) -> None:
    host, tag = disks.host, disks.plane.paths.tag
    pid = guests(tag)[disks.guest.instance_id].pid
    effects = host.run(disks.live, warm=WARM)
    assert {"go over", "freeze", "delete snapshot", "plug disk", "adjust disk", "unplug disk"} <= set(effects)
    assert {"begin merging", "replace layer", "drop layer", "follow layers", "close layer"} <= set(effects)
    for cut in cuts(effects, "agent", but_for_all=("drop layer",)):
        host.run(disks.live, cut, warm=WARM)
    assert guests(tag)[disks.guest.instance_id].pid == pid
    host.run(disks.live, times=2, warm=WARM)
    for cut in cuts(effects, "guests", "host", but_for_all=("begin merging",)):
        host.run(disks.live, cut, warm=WARM)
    host.run(disks.live, *again_and_again(1, 20), warm=WARM)
    host.run(disks.end, warm=WARM)
    assert leftovers(data_dir, cloud.paths.switch) == []
