"""The blocks of snapshots, for those who read or write them without a volume: EBS's direct APIs.

A snapshot is read, and one that is being made written, by a QEMU of our own that exports it by NBD; it stays for a
while, because blocks come one after the other. A snapshot that is being made is a volume of nobody's, ``vol-`` with the
digits of the snapshot, which becomes its layer when it is complete.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from freehold.host.errors import HostError
from freehold.host.hypervisor import devices, disks
from freehold.host.hypervisor.disks import Disk, Layer
from freehold.host.hypervisor.monitor import Monitor
from freehold.host.layout import is_snapshot_id, volume_of
from freehold.host.machine import Machine
from freehold.host.volumes import luks, qcow2
from freehold.host.volumes.allocation import allocated
from freehold.host.volumes.keeper import keeper
from freehold.host.volumes.nbd import Nbd
from freehold.host.wire import VolumeSpec
from freehold.host.worker import Worker

BLOCK_BYTES = 512 << 10
_IDLE_SECONDS = 20.0
_OPEN_MAX = 4
_NODE = "vol-00000003"  # what the disk is called in our QEMU
CHANGED = struct.Struct(">IB")
INDEX = struct.Struct(">I")
SIZES = struct.Struct(">QQ")


class NoSuchSnapshot(HostError):
    """It is not on this host, or not in the state that this takes."""


class Unrelated(HostError):
    """Two snapshots have nothing in common."""


class _Open:
    """An open snapshot: one request at a time."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.used_at = time.monotonic()
        self.stack = AsyncExitStack()
        self.nbd: Nbd | None = None


class Blocks(Worker):
    """Closes by itself what is not used any more."""

    def __init__(self, machine: Machine) -> None:
        super().__init__("blocks of snapshots", _IDLE_SECONDS)
        self._machine = machine
        self._open: dict[str, _Open] = {}

    async def allocated(self, snapshot_id: str, first: int, most: int) -> bytes:
        """The numbers (`INDEX`) of the blocks from `first` on that hold data, at most so many."""
        found = await asyncio.to_thread(self._allocated, snapshot_id)
        return b"".join(INDEX.pack(each) for each in sorted(each for each in found if each >= first)[:most])

    async def changed(self, before: str, after: str, first: int, most: int) -> bytes:
        """The numbers of the blocks that two snapshots of a volume may differ in, each with which of them has data
        there (`CHANGED`: 1 the earlier, 2 the later, 3 both). Raises Unrelated."""
        ours, theirs = self._files(before), self._files(after)
        common = next((path for path in ours if path in theirs), None)
        if common is None:
            raise Unrelated(f"{before} and {after} have nothing in common")
        above = [path for each in (ours, theirs) for path in each[: each.index(common)]]
        differ: set[int] = set()
        for path in above:
            differ |= await asyncio.to_thread(allocated, path, BLOCK_BYTES)
        one, other = [await asyncio.to_thread(self._allocated, each) for each in (before, after)]
        chosen = sorted(each for each in differ if each >= first)[:most]
        return b"".join(CHANGED.pack(each, (each in one) | (each in other) << 1) for each in chosen)

    async def read(self, snapshot_id: str, number: int, keys: Sequence[bytes]) -> bytes:
        """A block, zeros beyond the end. `keys` open the layers of an encrypted snapshot."""
        async with self._opened(snapshot_id, keys, writable=False) as nbd:
            length = max(0, min(BLOCK_BYTES, nbd.size - number * BLOCK_BYTES))
            data = await nbd.read(number * BLOCK_BYTES, length) if length else b""
        return data.ljust(BLOCK_BYTES, b"\0")

    async def write(self, snapshot_id: str, number: int, data: bytes, keys: Sequence[bytes]) -> None:
        """A block of a snapshot that is being made."""
        async with self._opened(snapshot_id, keys, writable=True) as nbd:
            if (number + 1) * BLOCK_BYTES > nbd.size:
                raise NoSuchSnapshot(f"{snapshot_id} is not as large")
            await nbd.write(number * BLOCK_BYTES, data)

    async def begin(self, snapshot_id: str, size_gib: int, parent_id: str | None, key: bytes | None) -> None:
        """Have a snapshot that can be written to, over another one."""
        if not is_snapshot_id(snapshot_id):
            raise NoSuchSnapshot(snapshot_id)
        volume_id = volume_of(snapshot_id)
        spec = VolumeSpec(volume_id, size_gib, None, "", False, key is not None, snapshot_id=parent_id)
        if self._machine.layout.volume(volume_id).exists() or self._machine.pool.layers.frozen(snapshot_id):
            return
        async with self._machine.disks([volume_id]):
            await self._machine.pool.make(spec, None, key)

    async def complete(self, snapshot_id: str) -> bytes:
        """Have what was written be the snapshot. The answer is what its layer takes, and all layers (`SIZES`)."""
        if not is_snapshot_id(snapshot_id):
            raise NoSuchSnapshot(snapshot_id)
        volume_id = volume_of(snapshot_id)
        layers, layer = self._machine.pool.layers, self._machine.layout.layer(snapshot_id)
        opened = self._open.get(snapshot_id)
        if opened is not None:
            async with opened.lock:
                await self._shut(snapshot_id, opened)
        async with self._machine.disks([volume_id]):
            tip = self._machine.layout.volume(volume_id)
            if tip.exists():
                layers.seal(tip, layer)
        if not layer.exists():
            raise NoSuchSnapshot(snapshot_id)
        return SIZES.pack(qcow2.allocated(layer), sum(map(qcow2.allocated, layers.chain(layer))))

    async def close(self) -> None:
        await super().close()
        for snapshot_id, opened in list(self._open.items()):
            await self._shut(snapshot_id, opened)

    async def _round(self) -> float | None:
        for snapshot_id, opened in list(self._open.items()):
            if not opened.lock.locked() and time.monotonic() - opened.used_at > _IDLE_SECONDS:
                async with opened.lock:
                    await self._shut(snapshot_id, opened)
        return _IDLE_SECONDS if self._open else None

    @contextlib.asynccontextmanager
    async def _opened(self, snapshot_id: str, keys: Sequence[bytes], *, writable: bool) -> AsyncIterator[Nbd]:
        """The disk of a snapshot, for oneself."""
        opened = self._open.get(snapshot_id)
        if opened is None:
            await self._make_room()
            opened = self._open[snapshot_id] = _Open()
        async with opened.lock:
            try:
                if opened.nbd is None:
                    opened.nbd = await self._start(opened.stack, snapshot_id, keys, writable=writable)
                    self.wake()
                opened.used_at = time.monotonic()
                yield opened.nbd
            except BaseException:
                await self._shut(snapshot_id, opened)
                raise

    async def _make_room(self) -> None:
        while len(self._open) >= _OPEN_MAX:
            snapshot_id, oldest = min(self._open.items(), key=lambda each: each[1].used_at)
            async with oldest.lock:
                await self._shut(snapshot_id, oldest)

    async def _shut(self, snapshot_id: str, opened: _Open) -> None:
        if self._open.get(snapshot_id) is opened:
            del self._open[snapshot_id]
        self._machine.written.discard(volume_of(snapshot_id))
        nbd, opened.nbd = opened.nbd, None
        if nbd is not None:
            with contextlib.suppress(HostError, OSError):
                await nbd.flush()
            nbd.close()
        await opened.stack.aclose()

    async def _start(self, stack: AsyncExitStack, snapshot_id: str, keys: Sequence[bytes], *, writable: bool) -> Nbd:
        if not is_snapshot_id(snapshot_id):
            raise NoSuchSnapshot(snapshot_id)
        layout = self._machine.layout
        path = layout.volume(volume_of(snapshot_id)) if writable else layout.layer(snapshot_id)
        if not path.exists():
            raise NoSuchSnapshot(snapshot_id)
        if writable:
            self._machine.written.add(volume_of(snapshot_id))
        files = tuple(Layer.of(each) for each in self._machine.pool.layers.chain(path))
        name = f"b{snapshot_id[-8:]}"
        monitor = await stack.enter_async_context(keeper(self._machine.layout, name))
        await devices.add_disk(monitor, Disk(_NODE, files, keys=luks.passphrases(keys), writable=writable))
        return await self._export(stack, monitor, name, writable=writable)

    async def _export(self, stack: AsyncExitStack, monitor: Monitor, name: str, *, writable: bool) -> Nbd:
        path = self._machine.layout.paths.host / f"{name}.nbd"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            stack.callback(path.unlink, missing_ok=True)
            listener.listen(1)
            await monitor.hand_over(listener.fileno(), "getfd", {"fdname": "nbd"})
        await monitor.execute("nbd-server-start", {"addr": {"type": "fd", "data": {"str": "nbd"}}})
        node = disks.device_node(_NODE)
        export = {"type": "nbd", "id": "blocks", "node-name": node, "name": "blocks", "writable": writable}
        await monitor.execute("block-export-add", export)
        return await Nbd.connect(path, "blocks")

    def _files(self, snapshot_id: str) -> list[Path]:
        layer = self._machine.layout.layer(snapshot_id)
        if not is_snapshot_id(snapshot_id) or not layer.exists():
            raise NoSuchSnapshot(snapshot_id)
        return self._machine.pool.layers.chain(layer)

    def _allocated(self, snapshot_id: str) -> set[int]:
        found: set[int] = set()
        for path in self._files(snapshot_id):
            found |= allocated(path, BLOCK_BYTES)
        return found
