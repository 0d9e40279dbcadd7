"""Snapshots of the real host agent's volumes: what is in each is what had been written at its instant."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

from msgspec.structs import replace

from freehold.host.layout import Layout
from freehold.host.wire import CopySpec, GuestSpec, SnapshotSpec, VolumeSpec
from tests.host.disks import SpareMonitor, blocks, check
from tests.host.plane import AgentProcess, Plane, guest_spec, key_of, leftovers
from tests.ovn import Cloud, wait_until

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
    plane.wait_for_disks(spec.instance_id)
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
    plane.wait_for_disks(restored.instance_id)
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
    wait_until(lambda: leftovers(data_dir, cloud.paths.switch) == [], "nothing is left")


def data_id(number: int) -> str:
    return f"vol-{256 + number:017x}"


def with_data(spec: GuestSpec) -> GuestSpec:
    """The guest with an empty volume beside its boot volume."""
    number = int(spec.instance_id[2:], 16)
    disk = VolumeSpec(data_id(number), 1, None, "/dev/sdf", boot=False, encrypted=True)
    return replace(spec, volumes=(*spec.volumes, disk), shutdown_grace_seconds=0)


def snapshot_of(volume_id: str, number: int, group: int | None = None) -> SnapshotSpec:
    return SnapshotSpec(f"snap-{number:017x}", volume_id, f"group-{group or number}", encrypted=True)


def files(layout: Layout) -> set[str]:
    return {path.name for path in layout.volumes.glob("*.qcow2")}


def test_what_no_snapshot_needs_is_merged_into_what_lies_on_it(
    plane: Plane, agent: AgentProcess, image_id: str, data_dir: Path, cloud: Cloud
) -> None:
    """While the guest runs, and when it is at rest."""
    layout, spec, volume_id = Layout(plane.paths), with_data(guest_spec(3, image_id)), data_id(3)
    key = key_of(volume_id)
    root, tip = (f"{volume.volume_id}.qcow2" for volume in spec.volumes)
    plane.assign(spec)
    plane.wait_for_disks(spec.instance_id)
    monitor = SpareMonitor(layout, spec.instance_id)
    history = [snapshot_of(volume_id, number) for number in range(10, 16)]
    written = dict.fromkeys(range(100, 108), 0)
    expected = {}
    for number, snapshot in enumerate(history, start=1):
        for block in (100, 100 + number):
            monitor.write(volume_id, block, number)
            written[block] = number
        plane.wait_for_snapshots(snapshot)
        expected[snapshot.snapshot_id] = dict(written)
    layers = [f"{snapshot.snapshot_id}.qcow2" for snapshot in history]
    assert files(layout) == {root, tip, *layers}

    def unless(*gone: int) -> set[str]:
        return {root, tip, *(layer for number, layer in enumerate(layers) if number not in gone)}

    def delete(number: int) -> None:
        plane.delete_snapshot(history[number].snapshot_id)
        del expected[history[number].snapshot_id]

    def all_is_there() -> None:
        for snapshot_id, content in expected.items():
            path = layout.layer(snapshot_id)
            assert blocks(layout, path, key, content) == content, snapshot_id
            check(path, key)

    delete(2)  # a layer in the midst
    wait_until(lambda: files(layout) == unless(2), "merged into the next layer")
    all_is_there()
    delete(0)  # the lowest
    wait_until(lambda: files(layout) == unless(0, 2), "merged into the next layer")
    all_is_there()
    delete(5)  # what the tip lies on
    wait_until(lambda: files(layout) == unless(0, 2, 5), "merged into the tip")
    all_is_there()
    on_disk = blocks(layout, layout.volume(volume_id), key, written)  # QEMU has it open, and may be killed
    assert on_disk == written
    assert plane.taken[history[3].snapshot_id].bytes_added >= 3 * 65536
    used = {node["file"] for node in monitor.execute("query-named-block-nodes", flat=True) if node["drv"] == "file"}
    sets = {f"/dev/fdset/{each['fdset-id']}" for each in monitor.execute("query-fdsets")}
    assert used == sets
    assert len(used) == 2 + 4  # the root volume and its image, the tip and three layers
    monitor.write(volume_id, 107, 77)
    written[107] = 77
    monitor.close()

    plane.want(spec.instance_id, "stopped")
    plane.wait_for_state(spec.instance_id, "stopped")
    delete(4)  # what the tip lies on now
    wait_until(lambda: files(layout) == unless(0, 2, 4, 5), "merged into the tip")
    all_is_there()
    assert blocks(layout, layout.volume(volume_id), key, written) == written
    check(layout.volume(volume_id), key)
    plane.want(spec.instance_id, "running")
    plane.wait_for_state(spec.instance_id, "running")

    plane.want(spec.instance_id, "absent", delete_volumes=tuple(v.volume_id for v in spec.volumes))
    plane.wait_for_state(spec.instance_id, "absent")
    all_is_there()
    for number in (3, 1):
        delete(number)
    wait_until(lambda: leftovers(data_dir, cloud.paths.switch) == [], "nothing is left")


def test_copies_need_nothing_of_what_they_are_copies_of(
    plane: Plane, agent: AgentProcess, image_id: str, data_dir: Path, cloud: Cloud
) -> None:
    """Under the same key, under another one, and under none; of a snapshot whose guest runs on."""
    layout, spec, volume_id = Layout(plane.paths), with_data(guest_spec(4, image_id)), data_id(4)
    source = snapshot_of(volume_id, 20)
    plane.assign(spec)
    plane.wait_for_disks(spec.instance_id)
    monitor = SpareMonitor(layout, spec.instance_id)
    for block in SOME:
        monitor.write(volume_id, block, block)
    plane.wait_for_snapshots(source)
    monitor.write(volume_id, 100, 7)
    same, other, plain = (f"snap-{number:017x}" for number in (21, 22, 23))
    plane.keys |= {each: key_of(volume_id) for each in (source.snapshot_id, same)} | {other: key_of(other)}
    plane.copy_snapshot(
        CopySpec(same, source.snapshot_id, rewritten=False, encrypted=True),
        CopySpec(other, source.snapshot_id, rewritten=True, encrypted=True),
        CopySpec(plain, source.snapshot_id, rewritten=True, encrypted=False),
    )
    plane.delete_snapshot(source.snapshot_id)
    for snapshot_id, key in ((same, key_of(volume_id)), (other, key_of(other)), (plain, None)):
        path = layout.layer(snapshot_id)
        assert blocks(layout, path, key, (*SOME, 50)) == {each: each for each in SOME} | {50: 0}
        check(path, key)
    assert plane.taken[other].bytes_added < 4 << 20
    monitor.close()
    plane.want(spec.instance_id, "absent", delete_volumes=tuple(v.volume_id for v in spec.volumes))
    plane.wait_for_state(spec.instance_id, "absent")
    for snapshot_id in (same, other, plain):
        plane.delete_snapshot(snapshot_id)
    wait_until(lambda: leftovers(data_dir, cloud.paths.switch) == [], "nothing is left")


def test_a_volume_under_another_key_lies_over_its_snapshot(
    plane: Plane, agent: AgentProcess, image_id: str, data_dir: Path, cloud: Cloud
) -> None:
    """Nothing is copied: what was written before is opened by the old key until layers are merged, all else by the new
    one. Plugged in while the guest runs, there when it starts, and merged while it runs and at rest."""
    layout, source, other = Layout(plane.paths), with_data(guest_spec(5, image_id)), guest_spec(6, image_id)
    other = replace(other, shutdown_grace_seconds=0)
    first = snapshot_of(data_id(5), 30)
    disk = VolumeSpec(data_id(6), 1, None, "/dev/sdf", boot=False, encrypted=True, snapshot_id=first.snapshot_id)
    second = snapshot_of(disk.volume_id, 31)
    old, new = key_of(data_id(5)), key_of(disk.volume_id)
    plane.keys_below |= dict.fromkeys((disk.volume_id, second.snapshot_id), (old,))

    def have(path: Path, *values: int, below: tuple[bytes, ...] = (old,)) -> None:
        assert tuple(blocks(layout, path, new, SOME, *below).values()) == values
        check(path, new)

    plane.assign(source, other)
    for spec in (source, other):
        plane.wait_for_disks(spec.instance_id)
    monitor = SpareMonitor(layout, source.instance_id)
    for block in SOME:
        monitor.write(data_id(5), block, 1)
    monitor.close()
    plane.wait_for_snapshots(first)
    plane.want(other.instance_id, "running", volumes=(*other.volumes, disk))
    plane.wait_for_disks(other.instance_id)
    assert layout.volume(disk.volume_id).stat().st_blocks * 512 < 4 << 20
    monitor = SpareMonitor(layout, other.instance_id)
    monitor.write(disk.volume_id, 101, 2)
    plane.wait_for_snapshots(second)
    monitor.write(disk.volume_id, 102, 3)
    monitor.close()
    plane.want(other.instance_id, "stopped")
    plane.wait_for_state(other.instance_id, "stopped")
    have(layout.layer(second.snapshot_id), 1, 2, 1, 1)
    have(layout.volume(disk.volume_id), 1, 2, 3, 1)
    plane.want(other.instance_id, "running")
    plane.wait_for_state(other.instance_id, "running")

    plain = f"snap-{32:017x}"
    plane.keys[second.snapshot_id] = new
    plane.copy_snapshot(CopySpec(plain, second.snapshot_id, rewritten=True, encrypted=False))
    assert tuple(blocks(layout, layout.layer(plain), None, SOME).values()) == (1, 2, 1, 1)
    plane.delete_snapshot(plain)

    plane.want(source.instance_id, "absent", delete_volumes=tuple(v.volume_id for v in source.volumes))
    plane.wait_for_state(source.instance_id, "absent")
    plane.delete_snapshot(first.snapshot_id)  # what only the old key opens goes into a layer of the new one
    wait_until(lambda: f"{first.snapshot_id}.qcow2" not in files(layout), "merged into the next layer")
    have(layout.layer(second.snapshot_id), 1, 2, 1, 1, below=())
    monitor = SpareMonitor(layout, other.instance_id)
    monitor.write(disk.volume_id, 103, 4)
    monitor.close()
    plane.want(other.instance_id, "stopped")
    plane.wait_for_state(other.instance_id, "stopped")
    have(layout.volume(disk.volume_id), 1, 2, 3, 4, below=())

    plane.want(other.instance_id, "absent", delete_volumes=tuple(v.volume_id for v in (*other.volumes, disk)))
    plane.wait_for_state(other.instance_id, "absent")
    plane.delete_snapshot(second.snapshot_id)
    wait_until(lambda: leftovers(data_dir, cloud.paths.switch) == [], "nothing is left")
