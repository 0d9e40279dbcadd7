"""The pool's files of what hibernated guests had in their memory: an empty qcow2 file within LUKS, which QEMU fills.

A file has its name when it is whole; a guest has one at most.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from freehold.host.commands import run
from freehold.host.layout import Layout
from freehold.host.volumes import luks


@dataclass(frozen=True, slots=True)
class Memories:
    layout: Layout

    def path(self, instance_id: str) -> Path:
        return self.layout.volumes / f"{instance_id}.memory"

    def unfinished(self, instance_id: str) -> Path:
        """The same while it is written."""
        return self.layout.volumes / f"{instance_id}.saving"

    def has(self, instance_id: str) -> bool:
        return self.path(instance_id).exists()

    async def make(self, instance_id: str, key: bytes) -> None:
        """Have a new, unfinished file. `key` opens it."""
        path = self.unfinished(instance_id)
        path.unlink(missing_ok=True)
        await run(("qemu-img", "create", "-q", "-f", "qcow2", str(path), "64K"))
        path.chmod(0o600)
        path.write_bytes(luks.sealed(key, path.read_bytes()))

    def keep(self, instance_id: str) -> None:
        """The file is whole: it is on the disk under its name when this returns."""
        unfinished = self.unfinished(instance_id)
        if unfinished.exists():
            _sync(unfinished)
            unfinished.rename(self.path(instance_id))
        _sync(self.layout.volumes)

    def forget(self, instance_id: str) -> None:
        """Have none of a guest; gone from the disk when this returns."""
        self.path(instance_id).unlink(missing_ok=True)
        _sync(self.layout.volumes)

    def forget_unfinished(self, instance_id: str) -> None:
        """Have none that was not saved to its end, of a guest whose QEMU has ended."""
        self.unfinished(instance_id).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
