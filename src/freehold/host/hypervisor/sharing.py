"""A volume that several guests have at once: one QEMU without a machine has its files open, and theirs are its clients.

    guest's QEMU     virtio-blk ``vol-…``  ──►  throttle ``disk-vol-…``  ──►  nbd ``share0-vol-…``
                                                                                ║ unix socket
    volume's QEMU    export ``vol-…``  ──►  throttle ``disk-vol-…``  ──►  qcow2 ``node-…``  ──►  …

What one guest has written another reads at once: there is one cache, that of the volume's QEMU. A write is answered
when it is on the host's disk, so that none that was answered is lost when that QEMU ends. Then requests wait until
there is a new one, for `PATIENCE_SECONDS`; one that was under way is done again. The guests' QEMUs find it by
themselves: they have a descriptor of the directory that its socket is in. The limits are in the volume's QEMU, for all
guests together; the filter in the guests' is what the connection can be changed below (NBD tells a size when a
connection begins, and never again).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from typing import TypedDict, cast

from freehold.host.commands import leave_running
from freehold.host.errors import CannotStart, HostError
from freehold.host.hypervisor import devices, disks
from freehold.host.hypervisor.disks import Disk
from freehold.host.hypervisor.monitor import Monitor, Refused
from freehold.host.hypervisor.qemu import BINARY, without_machine
from freehold.host.layout import Layout, SharePaths, guest_uid, process_name

PATIENCE_SECONDS = 60
_OOM_SCORE = 400  # if memory runs out, a guest is ended before what several need
_CONNECTIONS_MAX = 64
_LOOK_SECONDS = 0.01


class ShareBroken(HostError):
    """The QEMU of a volume that several guests have can not be had: no failure of any of the guests."""


class _Export(TypedDict):
    id: str


@contextlib.contextmanager
def of_share(volume_id: str) -> Iterator[None]:
    """What goes wrong within is of a volume's QEMU, whatever guest it is done for."""
    try:
        yield
    except CannotStart:
        raise
    except HostError as error:
        raise ShareBroken(f"The QEMU of {volume_id} does not work: {error}") from error


async def spawn(layout: Layout, volume_id: str) -> None:
    """Start a volume's QEMU, which has nothing open. Raises HostError."""
    uid, paths = guest_uid(volume_id), layout.share(volume_id)
    paths.directory.mkdir(mode=0o700, exist_ok=True)
    paths.monitor.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(paths.monitor))
        paths.monitor.chmod(0o600)
        listener.listen(1)
        argv = without_machine(f"guest={process_name(layout.tag, volume_id)}", listener.fileno())
        if not await leave_running(argv, uid, _OOM_SCORE, pass_fds=(listener.fileno(),)):
            raise HostError(f"{BINARY} could not be started for {volume_id}")


async def is_served(monitor: Monitor, volume_id: str) -> bool:
    """Whether a volume's QEMU lets guests in."""
    exports = cast(list[_Export], await monitor.execute("query-block-exports"))
    return any(each["id"] == volume_id for each in exports)


async def is_open(monitor: Monitor, volume_id: str) -> bool:
    """Whether a volume's QEMU has its files open."""
    return await devices.has_node(monitor, disks.device_node(volume_id))


async def open_files(monitor: Monitor, disk: Disk) -> None:
    """Have the files of a volume open. Raises CannotStart if one is missing, MonitorError."""
    await devices.remove_backend(monitor, disk.volume_id)  # half of it, left by an agent that was cut
    await devices.add_disk(monitor, disk)


async def serve(monitor: Monitor, volume_id: str, paths: SharePaths) -> None:
    """Let guests in to a volume whose files are open."""
    paths.door.mkdir(exist_ok=True)
    paths.door.chmod(0o711)
    with contextlib.suppress(Refused):  # there is none
        await monitor.execute("nbd-server-stop")
    paths.socket.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(paths.socket))
        paths.socket.chmod(0o666)  # for who gets there at all
        listener.listen(_CONNECTIONS_MAX)
        await monitor.hand_over(listener.fileno(), "getfd", {"fdname": "nbd"})
    address = {"type": "fd", "data": {"str": "nbd"}}
    await monitor.execute("nbd-server-start", {"addr": address, "max-connections": _CONNECTIONS_MAX})
    await _export(monitor, volume_id)


async def grow(monitor: Monitor, volume_id: str, size_bytes: int) -> None:
    """Make a volume larger in its QEMU. No connection outlasts that; requests wait meanwhile."""
    await monitor.execute("block-export-del", {"id": volume_id, "mode": "hard"})
    while await is_served(monitor, volume_id):
        await asyncio.sleep(_LOOK_SECONDS)
    try:
        await devices.resize_disk(monitor, volume_id, size_bytes)
    finally:
        await _export(monitor, volume_id)


async def add_client(monitor: Monitor, volume_id: str, paths: SharePaths) -> None:
    """Have the nodes of a volume in a guest's QEMU, without the device."""
    await monitor.execute("object-add", disks.limit_object(Disk(volume_id, ())))
    connection = disks.share_nodes(volume_id)[0]
    await _connect(monitor, volume_id, paths, connection)
    await monitor.execute("blockdev-add", _filter(volume_id, connection))


async def see_size(monitor: Monitor, volume_id: str, paths: SharePaths, size_bytes: int) -> None:
    """Have a guest see how large a volume is now."""
    if await devices.size(monitor, volume_id) >= size_bytes:
        return
    names = disks.share_nodes(volume_id)
    for name in names:
        with contextlib.suppress(Refused):  # it is not there, or is the one that is used
            await monitor.execute("blockdev-del", {"node-name": name})
    there = await devices.nodes(monitor)
    old, new = names if names[0] in there else names[::-1]
    await _connect(monitor, volume_id, paths, new)
    await monitor.execute("blockdev-reopen", {"options": [_filter(volume_id, new)]})
    await monitor.execute("blockdev-del", {"node-name": old})
    await devices.resize_disk(monitor, volume_id, size_bytes)


async def _export(monitor: Monitor, volume_id: str) -> None:
    node = disks.device_node(volume_id)
    export = {"type": "nbd", "id": volume_id, "node-name": node, "name": volume_id}
    await monitor.execute("block-export-add", {**export, "writable": True, "writethrough": True})


async def _connect(monitor: Monitor, volume_id: str, paths: SharePaths, name: str) -> None:
    door = await devices.descriptor(monitor, volume_id)
    if door is None:
        opened = os.open(paths.door, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            number = await devices.hand_over(monitor, volume_id, (opened,))
        finally:
            os.close(opened)
        # When the agent's connection ends QEMU closes the descriptors in a set that nothing has opened by its name.
        holder = {"qom-type": "rng-random", "id": disks.door_id(volume_id), "filename": f"/dev/fdset/{number}"}
        await monitor.execute("object-add", holder)
        door = await devices.descriptor(monitor, volume_id)
    node = {
        "driver": "nbd",
        "node-name": name,
        "server": {"type": "unix", "path": f"/proc/self/fd/{door}/{paths.socket.name}"},
        "export": volume_id,
        "reconnect-delay": PATIENCE_SECONDS,
        "discard": "unmap",
    }
    await monitor.execute("blockdev-add", node)


def _filter(volume_id: str, connection: str) -> dict[str, object]:
    return {
        "driver": "throttle",
        "node-name": disks.device_node(volume_id),
        "throttle-group": disks.limit_id(volume_id),
        "file": connection,
    }
