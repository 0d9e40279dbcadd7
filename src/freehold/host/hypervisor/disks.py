"""A disk as QEMU sees it: the same graph of nodes whether it came by the command line or was plugged in later.

    virtio-blk ``vol-…``  ──►  throttle ``disk-vol-…``  ──►  qcow2 ``node-…``  ──►  file ``file-…``
                                    │                             └─ backing ──►  qcow2 …  ──►  file …
                              object ``limit-vol-…``

The device and the filter stay while what is below them changes. A file is named by a set of descriptors that QEMU was
handed (``/dev/fdset/N``): QEMU opens none by itself, and a set is closed when its disk is unplugged.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from freehold.host.errors import CannotStart
from freehold.host.hypervisor.slots import place
from freehold.host.volumes import luks, qcow2
from freehold.host.wire import DiskLimits


@dataclass(frozen=True, slots=True)
class Layer:
    """One qcow2 file of a disk: a volume's own, or one below it that nobody writes. `name` is `file_name`'s.
    `key` = which key opens it (`luks.key_id`); None: it is plain."""

    name: str
    path: Path
    key: str | None

    @classmethod
    def of(cls, path: Path) -> Layer:
        """What its header says of encryption may be a lie: then its own guest reads rubbish. Raises OSError for a
        header that is none."""
        return cls(file_name(path), path, _key_of(path) if qcow2.encrypted(path) else None)


@dataclass(frozen=True, slots=True)
class Disk:
    """A volume that a guest has. `layers` from the one that is written down to the one that all is built on; `keys` has
    the passphrases of those that are encrypted, by the key's id. Of one that is not `writable` none is written."""

    volume_id: str
    layers: tuple[Layer, ...]
    limits: DiskLimits = field(default_factory=DiskLimits)
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    writable: bool = True


@dataclass(frozen=True, slots=True)
class OpenDisk:
    """A disk with its files open. `files` has the descriptors of each layer, in their order."""

    disk: Disk
    files: tuple[tuple[int, ...], ...]


def check_keys(disk: Disk) -> None:
    """Raises CannotStart if the key of a layer is missing."""
    for layer in disk.layers:
        if layer.key is not None and layer.key not in disk.keys:
            raise CannotStart(f"There is no key for {layer.path.stem}, a layer of {disk.volume_id}.")


def opened(disk: Disk, until: ExitStack) -> OpenDisk:
    """Open all files of a disk. Raises CannotStart if one is missing."""

    def descriptor(path: Path, flags: int) -> int:
        try:
            number = os.open(path, flags | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise CannotStart(f"{path} is missing; bring it back or terminate the instance.") from error
        until.callback(os.close, number)
        return number

    # The top is opened twice: a snapshot leaves it readable alone, and QEMU then asks its set for such a descriptor.
    top, *below = disk.layers
    reading = descriptor(top.path, os.O_RDONLY)
    files = [(descriptor(top.path, os.O_RDWR), reading) if disk.writable else (reading,)]
    return OpenDisk(disk, (*files, *((descriptor(layer.path, os.O_RDONLY),) for layer in below)))


def device_node(volume_id: str) -> str:
    """The name of the node that the guest's device is on: the filter with the disk's limits."""
    return f"disk-{volume_id}"


def file_name(path: Path) -> str:
    """What a file is called in the names of nodes, whatever its name in the pool is: that changes while it is open."""
    return str(path.stat().st_ino)


def layer_node(volume_id: str, layer: str) -> str:
    """The name of the node of one layer of a disk, at most 31 characters long."""
    return "node-" + hashlib.sha256(f"{volume_id} {layer}".encode()).hexdigest()[:24]


def share_nodes(volume_id: str) -> tuple[str, str]:
    """The names of the connections to a volume that several guests have (`sharing`): one that is used, and one that
    takes its place."""
    return f"share0-{volume_id}", f"share1-{volume_id}"


def limit_id(volume_id: str) -> str:
    return f"limit-{volume_id}"


def job_id(volume_id: str) -> str:
    """What moves data between the files of a disk."""
    return f"job-{volume_id}"


def key_id(volume_id: str, key: str) -> str:
    """What holds the passphrase of a volume's layers that have this key."""
    return f"{keys_prefix(volume_id)}{key}"


def keys_prefix(volume_id: str) -> str:
    """What the names of all that hold a volume's passphrases begin with."""
    return f"key-{volume_id}-"


def door_id(volume_id: str) -> str:
    """What holds the descriptor by which a volume that several guests have is connected to."""
    return f"door-{volume_id}"


def serial_number(volume_id: str) -> str:
    """What the guest reads, as on AWS's NVMe disks: ``vol0123456789abcdef0``. virtio-blk has room for 20 characters."""
    return volume_id.replace("-", "")[:20]


def device(volume_id: str, slot: int) -> dict[str, object]:
    """The guest's device, for ``device_add``."""
    return {
        "driver": "virtio-blk-pci",
        "id": volume_id,
        "drive": device_node(volume_id),
        "serial": serial_number(volume_id),
        **place(slot),
    }


def nodes(disk: Disk, sets: tuple[int, ...]) -> dict[str, object]:
    """The graph, for ``blockdev-add``. `sets` are the numbers of the sets of descriptors of each layer."""
    node: dict[str, object] | None = None
    for layer, number in reversed(list(zip(disk.layers, sets, strict=True))):
        node = _layer(disk, layer, number, node)
    assert node is not None
    return {
        "driver": "throttle",
        "node-name": device_node(disk.volume_id),
        "throttle-group": limit_id(disk.volume_id),
        "file": node,
    }


def limit_object(disk: Disk) -> dict[str, object]:
    """What holds the disk's limits, for ``object-add``."""
    return {"qom-type": "throttle-group", "id": limit_id(disk.volume_id), "limits": limits(disk.limits)}


def limits(of: DiskLimits) -> dict[str, int]:
    """QEMU's ``ThrottleLimits``: a bucket leaks at the lasting rate and takes as much as the burst may last."""
    result = {"iops-total": of.iops, "bps-total": of.bytes_per_second, "iops-size": of.io_bytes}
    if of.iops_burst > of.iops:
        result |= {"iops-total-max": of.iops_burst, "iops-total-max-length": max(1, of.iops_burst_seconds)}
    if of.bytes_burst > of.bytes_per_second:
        result |= {"bps-total-max": of.bytes_burst, "bps-total-max-length": max(1, of.bytes_burst_seconds)}
    return result


def _layer(disk: Disk, layer: Layer, number: int, backing: dict[str, object] | None) -> dict[str, object]:
    return layer_nodes(disk.volume_id, layer, number, backing, top=disk.writable and layer is disk.layers[0])


def layer_nodes(
    volume_id: str, layer: Layer, number: int, backing: dict[str, object] | str | None, *, top: bool
) -> dict[str, object]:
    """One layer of a volume over `backing` (options, or a name), for ``blockdev-add``. `top` = it is written to."""
    # `discard` on both nodes makes the file shrink when the guest trims. `backing` is always given, so that what the
    # file's header says is never followed.
    name = layer_node(volume_id, layer.name)
    use: dict[str, object] = {"discard": "unmap"} if top else {"read-only": True}
    file = {"driver": "file", "node-name": name.replace("node", "file", 1), "filename": f"/dev/fdset/{number}", **use}
    if not top:
        # It never changes, and a QEMU that has written to it before still has its descriptor for that, and so its lock.
        file["locking"] = "off"
    node: dict[str, object] = {"driver": "qcow2", "node-name": name, "file": file, "backing": backing, **use}
    if layer.key is not None:
        node["encrypt"] = {"format": "luks", "key-secret": key_id(volume_id, layer.key)}
    return node


def _key_of(path: Path) -> str:
    try:
        return luks.opened_by(qcow2.luks_head(path, luks.HEAD_BYTES))
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), str(path)) from error
