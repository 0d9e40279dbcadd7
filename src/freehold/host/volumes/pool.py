"""The pool of volumes: one qcow2 file each, empty or an overlay on its image's disk or a snapshot's layer (layers.py).
What is encrypted of an overlay is what it has of its own: the image below it is plain, and the same for all.

A file appears complete by a rename. It is the agent's own: QEMU is handed open descriptors.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from freehold.host.commands import run
from freehold.host.errors import CannotStart, CommandError
from freehold.host.layout import Layout
from freehold.host.volumes import luks, qcow2
from freehold.host.volumes.layers import NEW, Layers
from freehold.host.wire import VolumeSpec

FREE_BYTES_MIN = 1 << 30  # below this no guest is started: running ones need room to write


@dataclass(frozen=True, slots=True)
class Pool:
    layout: Layout

    def check_space(self, needed_mib: int = 0) -> None:
        """Raise CannotStart if the disk is too full for another guest, or for `needed_mib` beside those that run."""
        free = shutil.disk_usage(self.layout.volumes).free
        needed = FREE_BYTES_MIN + (needed_mib << 20)
        if free < needed:
            raise CannotStart(
                f"No disk space left: {free >> 20} MiB are free in {self.layout.volumes}, there must be "
                f"{needed >> 20} MiB; free some or delete volumes."
            )

    @property
    def layers(self) -> Layers:
        return Layers(self.layout)

    async def make(self, volume: VolumeSpec, backing: Path | None, key: bytes | None) -> None:
        """Have the volume, which must not be open; data that it holds is kept. `key` is what opens an encrypted one.

        Raises CannotStart when there is no room for it.
        """
        path = self.layout.volume(volume.volume_id)
        self.layers.roll_forward(volume.volume_id)
        if not path.exists():
            if volume.snapshot_id is not None:
                backing = self.layout.layer(volume.snapshot_id)
                if not backing.exists():
                    raise CannotStart(f"The data of {volume.snapshot_id} is not on this host.")
            self.layers.lay(path, backing)
            await self._create(path, backing, volume.size_gib << 30, key)
        elif qcow2.size(path) < volume.size_gib << 30:
            await self._grow(path, volume.size_gib << 30, key)

    async def _grow(self, path: Path, size: int, key: bytes | None) -> None:
        """Make a file larger that nobody has open. What its header says lies below it is not followed."""
        node: dict[str, object] = {"driver": "qcow2", "backing": None}
        node["file"] = {"driver": "file", "filename": str(path)}
        with ExitStack() as until:
            secret: tuple[str, ...] = ()
            if key is not None:
                reading, writing = os.pipe()
                until.callback(os.close, reading)
                os.write(writing, luks.passphrase(key).encode())
                os.close(writing)
                secret = ("--object", f"secret,id=key,file=/dev/fd/{reading}")
                node["encrypt"] = {"format": "luks", "key-secret": "key"}
            fds = [reading] if key is not None else []
            await run(("qemu-img", "resize", "-q", *secret, f"json:{json.dumps(node)}", str(size)), pass_fds=fds)

    async def make_next_tip(self, volume_id: str, snapshot_id: str, key: bytes | None) -> None:
        """Have an empty tip for the volume, over what is its tip still and will be the snapshot's layer. `key` is what
        opens an encrypted one. Raises HostError."""
        path = self.layers.next_tip(volume_id, snapshot_id)
        if not path.exists():
            size = qcow2.size(self.layout.volume(volume_id))
            await self._create(path, self.layout.layer(snapshot_id), size, key)

    async def make_layer(
        self,
        snapshot_id: str,
        size: int,
        below: Path | None,
        key: bytes | None,
        fill: Callable[[], Awaitable[None]] | None,
    ) -> None:
        """Have a layer that was no volume's tip: an empty one, which `fill` fills under its temporary name."""
        path = self.layout.layer(snapshot_id)
        temporary = path.with_suffix(NEW)
        temporary.unlink(missing_ok=True)
        self.layers.lay(path, below)
        await self._write(temporary, below, size, key)
        if fill is not None:
            await fill()
        temporary.chmod(0o400)
        temporary.rename(path)

    async def _create(self, path: Path, backing: Path | None, size: int, key: bytes | None) -> None:
        """A qcow2 file of `size` bytes with nothing in it. `backing` need not be there yet."""
        temporary = path.with_suffix(NEW)
        await self._write(temporary, backing, size, key)
        temporary.rename(path)

    async def _write(self, temporary: Path, backing: Path | None, size: int, key: bytes | None) -> None:
        overlay = ("-u", "-F", "qcow2", "-b", self.layers.name(backing)) if backing else ()
        try:
            await run(("qemu-img", "create", "-q", "-f", "qcow2", *overlay, str(temporary), str(size)))
        except CommandError as error:
            if "No space left" in error.output:
                self.check_space()
            raise
        if key is not None:
            qcow2.encrypt(temporary, luks.header(key), luks.HEADER_BYTES)
        temporary.chmod(0o600)

    def delete(self, volume_id: str) -> None:
        """Have the volume no more, nor the layers that only it has needed. It must not be open."""
        self.layers.roll_forward(volume_id)
        self.layers.delete(self.layout.volume(volume_id))
        self.layers.prune()
