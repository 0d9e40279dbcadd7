"""Snapshots of the real host agent's volumes: what is in each is what had been written at its instant."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

from msgspec.structs import replace

from freehold.host.layout import Layout
from freehold.host.wire import GuestSpec, SnapshotSpec, VolumeSpec
from tests.host.disks import SpareMonitor, blocks, check
from tests.host.plane import AgentProcess, Plane, guest_spec, key_of, leftovers
from tests.ovn import Cloud

POOL = IPv4Network("198.18.2.0/28")
SOME = range(100, 104)


def test_a_snapshot_has_what_was_written_before_it(
    plane: Plane, agent: AgentProcess, image_id: str, data_dir: Path, cloud: Cloud
) -> None:
    layout = Layout(plane.paths)
    spec, volume_id = with_data(guest_spec(1, image_id)), data_id(1)
    key = key_of(volume_id)
    first, second, resting = (snapshot_of(volume_id, number) for number in (1, 2, 3))
    plane.assign(spec)
    plane.wait_for_state(spec.instance_id, "running")
    monitor = SpareMonitor(layout, spec.instance_id)
    for block in SOME:
        monitor.write(volume_id, block, 1)
    plane.wait_for_snapshots(first)
    monitor.write(volume_id, 101, 2)
    plane.wait_for_snapshots(second, snapshot_of(spec.volumes[0].volume_id, 4, group=2))
    monitor.write(volume_id, 102, 3)
    monitor.close()
    plane.want(spec.instance_id, "stopped")
    plane.wait_for_state(spec.instance_id, "stopped")
    plane.wait_for_snapshots(resting)

    expected = {first: (1, 1, 1, 1), second: (1, 2, 1, 1), resting: (1, 2, 3, 1)}
    for snapshot, values in expected.items():
        path = layout.layer(snapshot.snapshot_id)
        assert tuple(blocks(layout, path, key, SOME).values()) == values
        check(path, key)
    plane.want(spec.instance_id, "running")
    plane.wait_for_state(spec.instance_id, "running")

    disk = VolumeSpec(
        data_id(2), 2, None, "/dev/sdf", boot=False, encrypted=True, snapshot_id=first.snapshot_id
    )  # larger than what it was made from
    restored = guest_spec(2, image_id, shutdown_grace_seconds=0)
    restored = replace(restored, volumes=(*restored.volumes, disk))
    plane.keys[disk.volume_id] = key
    plane.assign(restored)
    plane.wait_for_state(restored.instance_id, "running")
    monitor = SpareMonitor(layout, restored.instance_id)
    monitor.write(disk.volume_id, 103, 9)
    monitor.write(disk.volume_id, 20000, 9)
    monitor.close()
    plane.want(restored.instance_id, "stopped")  # writes what it has in memory of its file
    plane.wait_for_state(restored.instance_id, "stopped")
    found = blocks(layout, layout.volume(disk.volume_id), key, (*SOME, 20000))
    assert tuple(found.values()) == (1, 1, 1, 9, 9)
    assert tuple(blocks(layout, layout.layer(first.snapshot_id), key, SOME).values()) == (1, 1, 1, 1)

    for each in (spec, restored):
        plane.want(each.instance_id, "absent", delete_volumes=tuple(v.volume_id for v in each.volumes))
        plane.wait_for_state(each.instance_id, "absent")
    for number in (2, 1, 4, 3):
        plane.delete_snapshot(f"snap-{number:017x}")
    assert leftovers(data_dir, cloud.paths.switch) == []


def data_id(number: int) -> str:
    return f"vol-{256 + number:017x}"


def with_data(spec: GuestSpec) -> GuestSpec:
    """The guest with an empty volume beside its boot volume."""
    number = int(spec.instance_id[2:], 16)
    disk = VolumeSpec(data_id(number), 1, None, "/dev/sdf", boot=False, encrypted=True)
    return replace(spec, volumes=(*spec.volumes, disk), shutdown_grace_seconds=0)


def snapshot_of(volume_id: str, number: int, group: int | None = None) -> SnapshotSpec:
    return SnapshotSpec(f"snap-{number:017x}", volume_id, f"group-{group or number}", encrypted=True)
