"""Where the bytes of an exported disk go. Today to a file of this machine, which its owner names; a bucket's object
will be one more target."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from freehold.images.disk_formats import UnusableDisk

_PREFIX, _LOCK = ".freehold-export-", ".lock"


class Target(Protocol):
    """Takes a file that is finished; until then there is nothing of it."""

    def scratch(self) -> AbstractContextManager[Path]:
        """A directory to make the file in. Raises UnusableDisk if it could not be taken afterwards."""
        ...

    def take(self, file: Path) -> None:
        """Have the file, which was made in the scratch directory."""
        ...


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that is not there yet."""

    path: Path

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        if self.path.exists():
            raise UnusableDisk(f"There is a file {self.path} already: it is not overwritten.")
        if not self.path.absolute().parent.is_dir():
            raise UnusableDisk(f"There is no directory {self.path.parent}.")
        parent = self.path.absolute().parent
        _clear(parent)
        with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent) as made, _in_use(Path(made)):
            yield Path(made)

    def take(self, file: Path) -> None:
        with file.open("rb") as content:
            os.fsync(content.fileno())
        file.rename(self.path)


@contextmanager
def _in_use(directory: Path) -> Iterator[None]:
    """Have it be seen that the directory is in use: by a lock, which the kernel releases when we end, however we end.
    The lock's file has its name only when it is locked."""
    with (directory / ".unlocked").open("x") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        Path(lock.name).rename(directory / _LOCK)
        yield


def _clear(parent: Path) -> None:
    """Remove what exports into this directory have left that were killed; not what anyone else has made, as in /tmp."""
    for path in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError), open(os.open(path, os.O_RDWR | os.O_NOFOLLOW)) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock.fileno()).st_uid == os.geteuid():
                shutil.rmtree(path.parent)
