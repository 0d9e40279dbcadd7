"""The memory that clones share, which nobody can write any more: not by a file's mode, but sealed by the kernel.

A clone's QEMU must open it for writing, as it does with all memory, and what it writes is its own copy. Whoever has
broken out of a guest has that descriptor. A memfd that is sealed (memfd_create(2), F_SEAL_WRITE) refuses every other
use of it: a write, a shared mapping, a hole that is punched to give memory back.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

_CHUNK_BYTES = 1 << 16
_ZERO = bytes(_CHUNK_BYTES)
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def new(size: int) -> int:
    """A descriptor of new memory, which can be written until it is sealed; to be closed by the caller."""
    made = os.memfd_create("freehold-template", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(made, size)
    return made


def seal(memory: int) -> None:
    """Let nobody write it, from now on and for ever. Raises OSError while somebody still maps it for writing."""
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)


def store(memory: int, path: Path) -> str:
    """Write what is not zero to a new file, read-only for all, on the disk when this returns; its digest."""
    with path.open("xb") as file:
        digest = _copy(memory, file.fileno())
        os.fchmod(file.fileno(), 0o444)
        os.fsync(file.fileno())
    return digest


def load(path: Path) -> tuple[int, str]:
    """The content of a file as sealed memory, and its digest. The descriptor is to be closed by the caller."""
    with path.open("rb") as file:
        memory = new(os.fstat(file.fileno()).st_size)
        try:
            digest = _copy(file.fileno(), memory)
            seal(memory)
        except OSError:
            os.close(memory)
            raise
    return memory, digest


def used_bytes(memory: int) -> int:
    """What it takes of the machine's memory."""
    return os.fstat(memory).st_blocks * 512


def _copy(source: int, target: int) -> str:
    """Holes stay holes. The digest is of the size, and of the place and content of each chunk that is not zero."""
    size = os.fstat(source).st_size
    digest = hashlib.sha256(size.to_bytes(8, "big"))
    os.ftruncate(target, size)
    for offset in range(0, size, _CHUNK_BYTES):
        chunk = os.pread(source, _CHUNK_BYTES, offset)
        if chunk != _ZERO[: len(chunk)]:
            digest.update(offset.to_bytes(8, "big") + chunk)
            os.pwrite(target, chunk, offset)
    return digest.hexdigest()
