"""Disks and network cards plugged into a running QEMU, whose user may open no file."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from freehold.host.errors import CannotStart
from freehold.host.hypervisor import devices, disks, slots
from freehold.host.hypervisor.devices import NoFreeSlot
from freehold.host.hypervisor.disks import Disk, Layer
from freehold.host.hypervisor.monitor import Monitor
from freehold.host.hypervisor.qemu import BINARY, InheritedDisk, disk_backend
from freehold.host.layout import Layout
from freehold.host.ports.taps import open_tap
from freehold.host.volumes import luks
from freehold.host.volumes.pool import Pool
from freehold.host.wire import DiskLimits, VolumeSpec
from freehold.paths import Paths
from freehold.volume_types import DEVICES_MAX
from tests.cli.clouds import short_place
from tests.host.plane import guest_spec, key_of

VOLUME = "vol-0123456789abcdef0"
NOBODY = 65534
LIMITS = DiskLimits(iops=3000, bytes_per_second=125 << 20, io_bytes=256 << 10)


def a_disk(place: Path, *, encrypted: bool = True) -> Disk:
    """A disk of two layers: 1 GiB over an image."""
    layout = Layout(Paths(place))
    layout.prepare()
    image = place / "image.qcow2"
    subprocess.run(("qemu-img", "create", "-q", "-f", "qcow2", image, "1G"), check=True)
    key = key_of(VOLUME)
    spec = VolumeSpec(VOLUME, 1, "ami-0123456789abcdef0", "/dev/sdf", boot=False, encrypted=encrypted)
    asyncio.run(Pool(layout).make(spec, image, key if encrypted else None))
    key_id = luks.key_id(key) if encrypted else None
    layers = (Layer(VOLUME, layout.volume(VOLUME), key_id), Layer("ami-0123456789abcdef0", image, None))
    return Disk(VOLUME, layers, LIMITS, luks.passphrases([key]) if encrypted else {})


@asynccontextmanager
async def machine(place: Path, *arguments: str, pass_fds: tuple[int, ...] = ()) -> AsyncIterator[Monitor]:
    """A QEMU of nobody's with slots, its CPUs running firmware."""
    path = place / "qmp.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        process = subprocess.Popen(
            (
                *(BINARY, "-nodefaults", "-display", "none", "-machine", "pc-q35-7.2", "-accel", "tcg,tb-size=32"),
                *("-m", "64", "-sandbox", "on,obsolete=deny,spawn=deny,resourcecontrol=deny"),
                *("-chardev", f"socket,id=m,fd={listener.fileno()},server=on,wait=on", "-mon", "m,mode=control"),
                *(word for device in slots.bus() for word in ("-device", json.dumps(device))),
                *arguments,
            ),
            pass_fds=(listener.fileno(), *pass_fds),
            user=NOBODY,
            group=NOBODY,
            extra_groups=(),
        )
    try:
        monitor = await Monitor.connect(path, lambda: None)
        yield monitor
        await monitor.quit()
        await monitor.close()
    finally:
        process.kill()
        process.wait()


def in_machine(*steps: Callable[[Monitor, Disk], Awaitable[Any]], encrypted: bool = True) -> list[Any]:
    """What the steps answer, taken one after another on one machine."""
    with short_place() as place:
        disk = a_disk(place, encrypted=encrypted)

        async def act() -> list[Any]:
            async with machine(place) as monitor:
                return [await step(monitor, disk) for step in steps]

        return asyncio.run(act())


async def plug(monitor: Monitor, disk: Disk) -> None:
    await devices.plug_disk(monitor, disk)


async def graph(monitor: Monitor, _disk: Disk) -> Any:
    """Nodes, objects and devices by name."""
    nodes = await monitor.execute("query-named-block-nodes", {"flat": True})
    assert isinstance(nodes, list)
    kept = {(node["node-name"], node["drv"], node["ro"], node["encrypted"]) for node in nodes}
    objects = await monitor.execute("qom-list", {"path": "/objects"})
    assert isinstance(objects, list)
    names = {each["name"] for each in objects} - {"type", "pc.ram"}
    return sorted(kept), sorted(names), sorted(await devices.plugged(monitor))


async def sets(monitor: Monitor, _disk: Disk) -> Any:
    return await monitor.execute("query-fdsets")


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_disk_is_the_same_by_both_ways(encrypted: bool) -> None:
    (_, plugged_in) = in_machine(plug, graph, encrypted=encrypted)
    with short_place() as place, ExitStack() as until:
        disk = a_disk(place, encrypted=encrypted)
        secrets = {}
        for key, passphrase in disk.keys.items():
            secrets[key], writing = os.pipe()
            os.fchown(secrets[key], NOBODY, NOBODY)
            os.write(writing, passphrase.encode())
            os.close(writing)
            until.callback(os.close, secrets[key])
        inherited = InheritedDisk(disks.opened(disk, until), secrets)
        handed = [number for layer in inherited.opened.files for number in layer]
        argv = [*disk_backend(inherited, count()), "-device", json.dumps(disks.device(VOLUME, 1))]

        async def by_command_line() -> Any:
            async with machine(place, *argv, pass_fds=(*handed, *secrets.values())) as monitor:
                return await graph(monitor, disk)

        assert asyncio.run(by_command_line()) == plugged_in
        assert VOLUME in plugged_in[2]


def test_plugging_may_be_repeated_and_cut() -> None:
    async def object_alone(monitor: Monitor, disk: Disk) -> None:
        await monitor.execute("object-add", disks.limit_object(disk))

    whole = in_machine(plug, graph)[1]
    assert in_machine(plug, plug, graph)[2] == whole
    assert in_machine(object_alone, plug, graph)[2] == whole


def test_a_disk_that_is_plugged_in_is_found_once_it_was_read() -> None:
    """By a guest; here by the firmware, which looks for disks after a reset."""

    async def stop(monitor: Monitor, _disk: Disk) -> None:
        await monitor.stop_cpus()

    async def found(monitor: Monitor, _disk: Disk) -> bool:
        return await devices.is_found(monitor, VOLUME)

    async def read(monitor: Monitor, disk: Disk) -> None:
        for look in count():
            if await found(monitor, disk):
                return
            if look % 100 == 0:  # once in hundreds of times the firmware hangs after a reset
                await monitor.reset()
            await asyncio.sleep(0.05)

    assert in_machine(stop, plug, found)[2] is False
    in_machine(plug, read)


def test_a_disk_is_torn_out_and_nothing_of_it_is_left() -> None:
    """The firmware never lets go of a disk, as a guest that hangs: its file is closed all the same."""

    async def tear(monitor: Monitor, _disk: Disk) -> None:
        await devices.tear_out_disk(monitor, VOLUME)

    async def unplug(monitor: Monitor, _disk: Disk) -> bool:
        return await devices.unplug_disk(monitor, VOLUME)

    _, held, gone, _, left, _, (nodes, objects, _) = in_machine(plug, sets, unplug, tear, sets, tear, graph)
    assert (len(held), gone, left, objects) == (2, False, [], [])
    assert not any("disk-" in name for name, *_ in nodes)


def test_limits_change_and_a_disk_grows_while_it_is_used() -> None:
    async def change(monitor: Monitor, _disk: Disk) -> Any:
        limits = replace(LIMITS, iops=100, iops_burst=3000, iops_burst_seconds=1800)
        await devices.limit_disk(monitor, VOLUME, limits)
        where = {"path": f"/objects/{disks.limit_id(VOLUME)}", "property": "limits"}
        return await monitor.execute("qom-get", where)

    async def grow(monitor: Monitor, _disk: Disk) -> Any:
        await devices.resize_disk(monitor, VOLUME, 2 << 30)
        nodes = await monitor.execute("query-named-block-nodes", {"flat": True})
        assert isinstance(nodes, list)
        return {node["node-name"]: node["image"]["virtual-size"] for node in nodes}

    _, limits, sizes = in_machine(plug, change, grow)
    assert (limits["iops-total"], limits["iops-total-max"], limits["iops-total-max-length"]) == (100, 3000, 1800)
    assert limits["bps-total"] == 125 << 20
    assert sizes[disks.device_node(VOLUME)] == 2 << 30


@pytest.mark.parametrize(
    "held_back",
    [
        pytest.param(DiskLimits(bytes_per_second=4 << 20), id="throughput"),
        pytest.param(DiskLimits(iops=16, io_bytes=256 << 10), id="what is large counts as several"),
    ],
)
def test_what_a_device_does_is_limited(held_back: DiskLimits) -> None:
    """6 MiB at 4 MiB in a second; asked of the device, as a guest does."""

    async def seconds(monitor: Monitor, limits: DiskLimits) -> float:
        await devices.limit_disk(monitor, VOLUME, limits)
        begun = time.monotonic()
        for number in range(6):
            line = f'qemu-io -d /machine/peripheral/{VOLUME}/virtio-backend "write {number}M 1M"'
            said = await monitor.execute("human-monitor-command", {"command-line": line})
            assert "error" not in str(said).lower()
        return time.monotonic() - begun

    async def compare(monitor: Monitor, _disk: Disk) -> tuple[float, float]:
        await seconds(monitor, DiskLimits())  # the file gets its clusters
        return await seconds(monitor, held_back), await seconds(monitor, DiskLimits())

    _, (slow, fast) = in_machine(plug, compare)
    assert slow > 2 * fast


def test_a_card_is_plugged_in_and_slots_end() -> None:
    interface = guest_spec(1, "ami-0123456789abcdef0").interfaces[0]

    async def card(monitor: Monitor, _disk: Disk) -> None:
        tap = open_tap(interface.interface_id)  # not a lasting one: it is gone with its last descriptor
        for _ in range(2):
            await devices.plug_card(monitor, interface, tap, 1)
        os.close(tap)
        assert await devices.plugged(monitor) == {interface.interface_id}

    async def free(monitor: Monitor, _disk: Disk) -> int:
        return await devices.free_slot(monitor)

    async def fill(monitor: Monitor, _disk: Disk) -> None:
        for number in range(2, DEVICES_MAX):
            more = {"driver": "virtio-rng-pci", "id": f"eni-{number}"}
            await monitor.execute("device_add", {**more, **slots.place(await devices.free_slot(monitor))})
        with pytest.raises(NoFreeSlot):
            await devices.free_slot(monitor)

    async def where(monitor: Monitor, _disk: Disk) -> dict[str, int]:
        return await devices.slots(monitor)

    answers = in_machine(free, card, free, plug, where, fill)
    assert (answers[0], answers[2], answers[4]) == (1, 2, {interface.interface_id: 1, VOLUME: 2})


def test_a_missing_file_is_named() -> None:
    async def plug_missing(monitor: Monitor, disk: Disk) -> None:
        disk.layers[0].path.unlink()
        with pytest.raises(CannotStart, match=VOLUME):
            await devices.plug_disk(monitor, disk)

    in_machine(plug_missing)


def test_that_qemu_ends_is_no_error_whoever_notices_first() -> None:
    """Its end is noticed in the middle of closing its monitor: nothing that nobody has waited for is left behind."""
    unheard: list[str] = []

    async def act(place: Path) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context["message"]))
        async with machine(place) as monitor:
            await monitor.quit()
            closing = [asyncio.create_task(monitor.close()) for _ in range(2)]
            await asyncio.sleep(0)
            closing[0].cancel()
            await asyncio.wait(closing)
        assert not monitor.alive
        del monitor, closing
        gc.collect()
        await asyncio.sleep(0)

    with short_place() as place:
        asyncio.run(act(place))
    assert unheard == []
