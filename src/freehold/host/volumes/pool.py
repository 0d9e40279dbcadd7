"""The pool of volumes: one qcow2 file each, an overlay on its image's disk or empty. What is encrypted of an overlay is
what it has of its own: the image below it is plain, and the same for all.

A file appears complete by a rename. It is the agent's own: QEMU is handed open descriptors.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from freehold.host.commands import run
from freehold.host.errors import CannotStart, CommandError
from freehold.host.layout import Layout
from freehold.host.volumes import luks, qcow2
from freehold.host.wire import VolumeSpec

FREE_BYTES_MIN = 1 << 30  # below this no guest is started: running ones need room to write
_TEMPORARY = ".new"


@dataclass(frozen=True, slots=True)
class Pool:
    layout: Layout

    def check_space(self) -> None:
        """Raise CannotStart if the disk is too full for another guest."""
        free = shutil.disk_usage(self.layout.volumes).free
        if free < FREE_BYTES_MIN:
            raise CannotStart(
                f"No disk space left: {free >> 20} MiB are free in {self.layout.volumes}, a start needs "
                f"{FREE_BYTES_MIN >> 20} MiB; free some or delete volumes."
            )

    async def make(self, volume: VolumeSpec, backing: Path | None, key: bytes | None) -> None:
        """Have the volume; data that it holds already is kept. `key` is what opens an encrypted one.

        Raises CannotStart when there is no room for it.
        """
        path = self.layout.volume(volume.volume_id)
        if not path.exists():
            temporary = path.with_suffix(_TEMPORARY)
            overlay = ("-F", "qcow2", "-b", str(backing)) if backing else ()
            try:
                await run(("qemu-img", "create", "-q", "-f", "qcow2", *overlay, str(temporary), f"{volume.size_gib}G"))
            except CommandError as error:
                if "No space left" in error.output:
                    self.check_space()
                raise
            if key is not None:
                qcow2.encrypt(temporary, luks.header(key), luks.HEADER_BYTES)
            temporary.chmod(0o600)
            temporary.rename(path)

    def delete(self, volume_id: str) -> None:
        self.layout.volume(volume_id).unlink(missing_ok=True)

    def forget_unfinished(self) -> None:
        """Remove what an agent that was cut left half made."""
        for leftover in self.layout.volumes.glob(f"*{_TEMPORARY}"):
            leftover.unlink()
