"""Where the bytes of an image come from. Today from a file of this machine, which its owner names; a bucket's object
will be one more source. They are copied before anybody looks at them: what is looked at can not change any more."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from freehold.images.disk_formats import UnusableDisk

_BLOCK = 1 << 20
_DISKS = (".vmdk", ".qcow2", ".vhd", ".vhdx", ".raw", ".img")
_MEMBERS_MAX = 100
_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257


class Source(Protocol):
    """Bytes, which may be read several times, each time from the beginning to the end."""

    def opened(self) -> AbstractContextManager[tuple[IO[bytes], int]]:
        """A stream and how many bytes it has."""
        ...


@dataclass(frozen=True, slots=True)
class LocalFile:
    path: Path

    @contextmanager
    def opened(self) -> Iterator[tuple[IO[bytes], int]]:
        with self.path.open("rb") as stream:
            yield stream, os.fstat(stream.fileno()).st_size


def is_ova(source: Source) -> bool:
    """Whether it is an archive, as an OVA is: tar."""
    with source.opened() as (stream, _):
        return stream.read(_TAR_MAGIC_AT + len(_TAR_MAGIC))[_TAR_MAGIC_AT:] == _TAR_MAGIC


def stage(source: Source, target: Path, *, ova: bool, progress: Callable[[float], None]) -> str:
    """Copy the bytes, of an OVA its one disk, into a file; holes stay holes. Returns their SHA-256.

    `progress` is called with 0 to 1. Raises UnusableDisk for an archive that has not one disk.
    """
    with source.opened() as (stream, size):
        if not ova:
            return _copy(stream, size, target, progress)
        try:
            return _copy_disk(stream, target, progress)
        except tarfile.TarError as error:
            raise UnusableDisk(f"It is no archive as an OVA is: {error}.") from error


def _copy_disk(archive: IO[bytes], target: Path, progress: Callable[[float], None]) -> str:
    found: list[str] = []
    digest = ""
    with tarfile.open(fileobj=archive, mode="r|") as tar:
        for number, member in enumerate(tar):
            if number >= _MEMBERS_MAX:
                raise UnusableDisk(f"The archive has more than {_MEMBERS_MAX} files.")
            if not member.isreg() or not member.name.lower().endswith(_DISKS):
                continue
            found.append(member.name)
            content = tar.extractfile(member)
            if len(found) == 1 and content is not None:
                digest = _copy(content, member.size, target, progress)
    if len(found) != 1:
        raise UnusableDisk(f"The archive has {len(found)} disks, not one: import each one's own file.")
    return digest


def _copy(stream: IO[bytes], size: int, target: Path, progress: Callable[[float], None]) -> str:
    digest, done = hashlib.sha256(), 0
    nothing = bytes(_BLOCK)
    with target.open("wb") as file:
        while block := stream.read(_BLOCK):
            digest.update(block)
            done += len(block)
            if block == nothing:
                file.seek(len(block), os.SEEK_CUR)
            else:
                file.write(block)
            progress(min(1.0, done / size))
        file.truncate(done)
    return digest.hexdigest()
