"""Disks and network cards that are plugged into a guest, or out of it, while its QEMU runs.

Every function may be repeated and cut anywhere: it looks at what QEMU has and does what is missing. What is plugged in
has the names that the command line gives, so that nothing later need know by which way it came.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import TypedDict, cast

from freehold.host.errors import HostError
from freehold.host.hypervisor import disks
from freehold.host.hypervisor.disks import Disk
from freehold.host.hypervisor.monitor import Monitor, Refused
from freehold.host.hypervisor.slots import SLOTS, place
from freehold.host.wire import DiskLimits, InterfaceSpec

UNPLUG_SECONDS = 6.0
"""How long a guest has to let go of a device before it is asked again. QEMU takes no second request for the first 5
seconds: a guest that was just booting has not heard the first one, and never will."""

_PERIPHERALS = "/machine/peripheral"


class NoFreeSlot(HostError):
    """All slots of the guest's machine are taken."""


class _Property(TypedDict):
    name: str
    type: str


class _Image(TypedDict("_Sized", {"virtual-size": int})):
    pass


class _Node(TypedDict("_Named", {"node-name": str})):
    backing_file_depth: int
    drv: str
    file: str
    image: _Image


class _Job(TypedDict):
    id: str


class _Reads(TypedDict):
    rd_operations: int


class _Usage(TypedDict, total=False):
    qdev: str
    stats: _Reads


class _File(TypedDict, total=False):
    fd: int
    opaque: str


class _Set(TypedDict("_Numbered", {"fdset-id": int})):
    fds: list[_File]


async def plugged(monitor: Monitor) -> frozenset[str]:
    """The ids of the disks and network cards that the guest has, also of those that it was asked to let go of."""
    return frozenset(name for name in await _names(monitor, _PERIPHERALS) if name.startswith(("vol-", "eni-")))


async def plugged_disks(monitor: Monitor) -> frozenset[str]:
    return frozenset(name for name in await plugged(monitor) if name.startswith("vol-"))


async def held(monitor: Monitor) -> frozenset[str]:
    """The ids of the volumes whose files QEMU has open."""
    prefix = disks.device_node("")
    return frozenset(name.removeprefix(prefix) for name in await nodes(monitor) if name.startswith(prefix))


async def is_found(monitor: Monitor, volume_id: str) -> bool:
    """Whether the guest has given a disk its name. The driver does that before it reads the partition table, and is not
    asked about a disk that was there when QEMU started: the guest finds those in the order of their ports."""
    device = f"{_PERIPHERALS}/{volume_id}"
    if not await monitor.execute("qom-get", {"path": device, "property": "hotplugged"}):
        return True
    answer = cast(list[_Usage], await monitor.execute("query-blockstats"))
    return any(each["stats"]["rd_operations"] for each in answer if each.get("qdev", "").startswith(f"{device}/"))


async def plug_disk(monitor: Monitor, disk: Disk, slot: int | None = None) -> None:
    """Have a disk in the guest. `slot`: in a new machine, which has nothing of the disk, and nothing in this slot.

    Raises CannotStart if a file of it is missing, NoFreeSlot, MonitorError.
    """
    await plug(monitor, disk.volume_id, partial(add_disk, monitor, disk), slot)


async def plug(monitor: Monitor, volume_id: str, add: Callable[[], Awaitable[None]], slot: int | None = None) -> None:
    """Have a disk in the guest, whose nodes `add` makes."""
    if volume_id in await plugged(monitor):
        return
    if slot is not None:
        await add()
    elif not await has_node(monitor, disks.device_node(volume_id)):
        await remove_backend(monitor, volume_id)  # half of it, left by an agent that was cut
        await add()
    taken = await free_slot(monitor) if slot is None else slot
    await monitor.execute("device_add", disks.device(volume_id, taken))


async def add_disk(monitor: Monitor, disk: Disk) -> None:
    """Have the nodes of a disk, without the device. Raises CannotStart if a file of it or a key is missing,
    MonitorError."""
    volume_id = disk.volume_id
    disks.check_keys(disk)
    await monitor.execute("object-add", disks.limit_object(disk))
    for key, passphrase in disk.keys.items():
        secret = {"qom-type": "secret", "id": disks.key_id(volume_id, key), "data": passphrase}
        await monitor.execute("object-add", secret)
    with ExitStack() as until:
        files = disks.opened(disk, until).files
        sets = [await hand_over(monitor, volume_id, descriptors) for descriptors in files]
    await monitor.execute("blockdev-add", disks.nodes(disk, tuple(sets)))


async def unplug_disk(monitor: Monitor, volume_id: str) -> bool:
    """Ask the guest to let go of a disk. True: it has, and QEMU has closed the volume's files.

    False: not yet; QEMU's event ``DEVICE_DELETED`` says when, and after `UNPLUG_SECONDS` it is to be asked again.
    """
    if not await _unplug(monitor, volume_id):
        return False
    await remove_backend(monitor, volume_id)
    return True


async def tear_out_disk(monitor: Monitor, volume_id: str) -> None:
    """Close the volume's files though the guest still holds the disk: from now on each of its requests fails.

    The device itself stays until the guest lets go of it (`unplug_disk`).
    """
    gone = f"gone-{volume_id}"
    if volume_id in await plugged(monitor) and not await has_node(monitor, gone):
        kinds = ("read", "write", "write-zeroes", "discard", "flush")
        broken = {
            "driver": "blkdebug",
            "node-name": gone,
            "inject-error": [{"event": "none", "iotype": kind} for kind in kinds],
            "image": {"driver": "null-co", "size": 1 << 30, "read-zeroes": True},
        }
        await monitor.execute("blockdev-add", broken)
        await _set(monitor, f"{_PERIPHERALS}/{volume_id}", "drive", gone)
    await _remove_disk(monitor, volume_id)


async def plug_card(monitor: Monitor, interface: InterfaceSpec, tap: int, slot: int) -> None:
    """Have a network card in a new machine, which has nothing of it, and nothing in this slot. `tap` is an open
    descriptor of its tap. Raises MonitorError."""
    interface_id = interface.interface_id
    if interface_id in await plugged(monitor):
        return
    await monitor.hand_over(tap, "getfd", {"fdname": interface_id})
    backend = {"type": "tap", "id": card_backend(interface_id), "fd": interface_id, "vhost": False}
    await monitor.execute("netdev_add", backend)
    await monitor.execute("device_add", card(interface, slot))


async def unplug_card(monitor: Monitor, interface_id: str) -> bool:
    """Ask the guest to let go of a network card; answers as `unplug_disk` does."""
    if not await _unplug(monitor, interface_id):
        return False
    with contextlib.suppress(Refused):  # it is gone already
        await monitor.execute("netdev_del", {"id": card_backend(interface_id)})
    return True


async def limit_disk(monitor: Monitor, volume_id: str, limits: DiskLimits) -> None:
    """Let a disk do this much from now on."""
    await _set(monitor, f"/objects/{disks.limit_id(volume_id)}", "limits", disks.limits(limits))


async def resize_disk(monitor: Monitor, volume_id: str, size_bytes: int) -> None:
    """Make a disk larger; the guest sees it at once."""
    await cancel_job(monitor, volume_id)
    await monitor.execute("block_resize", {"node-name": disks.device_node(volume_id), "size": size_bytes})


async def adjust_disk(monitor: Monitor, volume_id: str, size_bytes: int, limits: DiskLimits) -> None:
    """Have a disk that is plugged in be at least so large, and do so much."""
    await limit_disk(monitor, volume_id, limits)
    if await size(monitor, volume_id) < size_bytes:
        await resize_disk(monitor, volume_id, size_bytes)


async def size(monitor: Monitor, volume_id: str) -> int:
    """The bytes of a disk as QEMU sees it."""
    answer = cast(list[_Node], await monitor.execute("query-named-block-nodes", {"flat": True}))
    sizes = {node["node-name"]: node["image"]["virtual-size"] for node in answer}
    return sizes[disks.device_node(volume_id)]


async def free_slot(monitor: Monitor) -> int:
    """The first slot without a device."""
    taken = (await slots(monitor)).values()
    for slot in SLOTS:
        if slot not in taken:
            return slot
    raise NoFreeSlot("The machine has no slot left for a disk or network card.")


async def nodes(monitor: Monitor) -> dict[str, int]:
    """The named nodes of all disks, each with how many others it lies on."""
    answer = cast(list[_Node], await monitor.execute("query-named-block-nodes"))  # flat, they would have no depth
    return {node["node-name"]: node["backing_file_depth"] for node in answer}


async def slots(monitor: Monitor) -> dict[str, int]:
    """The disks and network cards that the guest has, and in which slot each is."""
    found: dict[str, int] = {}
    for device in await plugged(monitor):
        answer = await monitor.execute("qom-get", {"path": f"{_PERIPHERALS}/{device}", "property": "addr"})
        found[device] = cast(int, answer) >> 3  # PCI has 8 functions a slot
    return found


async def close_unused(monitor: Monitor, volume_id: str) -> None:
    """Close the files of a disk that nothing of it lies on."""
    await _remove_unused(monitor, volume_id)
    answer = cast(list[_Node], await monitor.execute("query-named-block-nodes", {"flat": True}))
    used = {node["file"] for node in answer}
    for number in await _sets(monitor, volume_id):
        if f"/dev/fdset/{number}" not in used:
            await monitor.execute("remove-fd", {"fdset-id": number})


async def has_job(monitor: Monitor, volume_id: str) -> bool:
    """Whether QEMU moves data of a disk between its files."""
    return any(job["id"] == disks.job_id(volume_id) for job in cast(list[_Job], await monitor.execute("query-jobs")))


async def cancel_job(monitor: Monitor, volume_id: str) -> None:
    """Have nobody work on the files of a disk: what was moved is moved, the rest is where it was."""
    while await has_job(monitor, volume_id):
        with contextlib.suppress(Refused):  # it is just coming to its end
            await monitor.execute("block-job-cancel", {"device": disks.job_id(volume_id), "force": True})
        with contextlib.suppress(Refused):  # it has not come to its end
            await monitor.execute("job-dismiss", {"id": disks.job_id(volume_id)})
        await asyncio.sleep(0.02)


async def has_node(monitor: Monitor, name: str) -> bool:
    return name in await nodes(monitor)


def card_backend(interface_id: str) -> str:
    return f"net-{interface_id}"


def card(interface: InterfaceSpec, slot: int) -> dict[str, object]:
    """The guest's network card, for ``device_add``."""
    return {
        "driver": "virtio-net-pci",
        "id": interface.interface_id,
        "netdev": card_backend(interface.interface_id),
        "mac": interface.mac_address,
        "romfile": "",
        **place(slot),
    }


async def hand_over(monitor: Monitor, volume_id: str, descriptors: tuple[int, ...]) -> int:
    """A new set of descriptors in QEMU, marked as the volume's."""
    number: dict[str, object] = {}
    for descriptor in descriptors:
        answer = await monitor.hand_over(descriptor, "add-fd", {"opaque": volume_id, **number})
        number = {"fdset-id": cast(dict[str, int], answer)["fdset-id"]}
    return cast(int, number["fdset-id"])


async def descriptor(monitor: Monitor, volume_id: str) -> int | None:
    """The number that QEMU knows a descriptor by which it was handed for a volume."""
    sets = cast(list[_Set], await monitor.execute("query-fdsets"))
    return next((file["fd"] for each in sets for file in each["fds"] if file.get("opaque") == volume_id), None)


async def _unplug(monitor: Monitor, device_id: str) -> bool:
    if device_id not in await plugged(monitor):
        return True
    with contextlib.suppress(Refused):  # it was asked a moment ago, or has let go of it in between
        await monitor.execute("device_del", {"id": device_id})
    return device_id not in await plugged(monitor)


async def remove_backend(monitor: Monitor, volume_id: str) -> None:
    """Have nothing of a disk that no device uses."""
    await _remove_disk(monitor, volume_id)
    if await has_node(monitor, f"gone-{volume_id}"):
        await monitor.execute("blockdev-del", {"node-name": f"gone-{volume_id}"})


async def _remove_disk(monitor: Monitor, volume_id: str) -> None:
    await cancel_job(monitor, volume_id)
    if await has_node(monitor, disks.device_node(volume_id)):
        await monitor.execute("blockdev-del", {"node-name": disks.device_node(volume_id)})
    there = await nodes(monitor)
    for name in disks.share_nodes(volume_id):
        if name in there:
            await monitor.execute("blockdev-del", {"node-name": name})
    await _remove_unused(monitor, volume_id)
    objects: list[str] = []
    with contextlib.suppress(Refused):  # a QEMU without a machine has no such place before there is one
        objects = await _names(monitor, "/objects")
    named = (disks.limit_id(volume_id), disks.door_id(volume_id))
    for name in objects:
        if name in named or name.startswith(disks.keys_prefix(volume_id)):
            await monitor.execute("object-del", {"id": name})
    for number in await _sets(monitor, volume_id):
        await monitor.execute("remove-fd", {"fdset-id": number})


async def _remove_unused(monitor: Monitor, volume_id: str) -> None:
    """Have no node of a disk's files that nothing lies on, and that no other node brings along when it goes: of what
    snapshots have put on top, and of what was merged."""
    names = {f"/dev/fdset/{number}" for number in await _sets(monitor, volume_id)}
    going = True
    while going:
        going = False
        for node in cast(list[_Node], await monitor.execute("query-named-block-nodes", {"flat": True})):
            if node["drv"] == "file" and node["file"] in names:
                tip = node["node-name"].replace("file", "node", 1)
                with contextlib.suppress(Refused):  # another one lies on it
                    await monitor.execute("blockdev-del", {"node-name": tip})
                    going = True


async def _sets(monitor: Monitor, volume_id: str) -> list[int]:
    """The sets of descriptors that are a volume's."""
    sets = cast(list[_Set], await monitor.execute("query-fdsets"))
    return [each["fdset-id"] for each in sets if any(file.get("opaque") == volume_id for file in each["fds"])]


async def _names(monitor: Monitor, path: str) -> list[str]:
    """The children and other properties of an object of QEMU's."""
    return [each["name"] for each in cast(list[_Property], await monitor.execute("qom-list", {"path": path}))]


async def _set(monitor: Monitor, path: str, name: str, value: object) -> None:
    await monitor.execute("qom-set", {"path": path, "property": name, "value": value})
