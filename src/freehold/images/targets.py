"""Where the bytes of an exported disk go. Today to a file of this machine, which its owner names; a bucket's object
will be one more target."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from freehold.images.disk_formats import UnusableDisk


class Target(Protocol):
    """Takes a file that is finished; until then there is nothing of it."""

    def scratch(self) -> AbstractContextManager[Path]:
        """An empty directory to make the file in. Raises UnusableDisk if it could not be taken afterwards."""
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
        with tempfile.TemporaryDirectory(prefix=f".{self.path.name}-", dir=self.path.absolute().parent) as made:
            yield Path(made)

    def take(self, file: Path) -> None:
        with file.open("rb") as content:
            os.fsync(content.fileno())
        file.rename(self.path)
