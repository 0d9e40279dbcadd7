"""Export a disk to a file in one of the formats that others read: `export(source, target, "vmdk", …)`.

    an image's own disk, a snapshot's blocks ──► qemu-img, confined ──► a finished file ──rename──► target

Of a disk that is exported the bytes are a guest's, and only its format is ours: qemu-img writes the new format where
it can do no harm (images/confined.py), as when a disk is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from freehold.images import confined
from freehold.images.disk_formats import Format, UnusableDisk
from freehold.images.targets import Target

Progress = Callable[[str, float], None]

_SUFFIXES: dict[str, Format] = {
    ".img": "raw",
    ".raw": "raw",
    ".qcow2": "qcow2",
    ".vmdk": "vmdk",
    ".vhd": "vhd",
    ".vhdx": "vhdx",
}


class Disk(Protocol):
    """What is exported."""

    def there(self, work: Path, progress: Progress) -> tuple[Path, Format]:
        """A file with all of it, which may be made in a directory for that, and its format. Raises UnusableDisk."""
        ...


def format_of(path: Path) -> Format:
    """The format that a file's name says. Raises UnusableDisk."""
    try:
        return _SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise UnusableDisk(f"The name {path.name} does not say a format: end it in {', '.join(_SUFFIXES)}.") from None


def export(disk: Disk, target: Target, to: Format, progress: Progress) -> None:
    """Have the disk in the target. Needs root. Raises UnusableDisk; nothing is there then."""
    with target.scratch() as work:
        file, of = disk.there(work, progress)
        if of == to and file.parent == work:
            target.take(file)
            return
        made = work / f"disk.{to}.made"
        confined.convert(file, of, made, lambda done: progress(f"writing {to}", done), to=to)
        target.take(made)
