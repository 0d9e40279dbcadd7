"""The tree of layers in the pool: images' disks, what snapshots froze, and the volumes that grow on them.

    image's disk ◄── snap-1.qcow2 ◄── snap-2.qcow2 ◄── vol-1.qcow2     a volume with two snapshots
                          ▲                └────────── vol-2.qcow2     restored from the second
                          └─────────────────────────── vol-3.qcow2     restored from the first

A volume's own file is its tip, the only one of its chain that is written to. To take a snapshot, the tip becomes a
layer, which never changes again, and the volume gets a new, empty tip over it; to restore one is to make a tip over
its layer. Neither moves data, and a layer holds exactly what changed since the one below it.

What lies below a file is said by a symbolic link beside it, ``vol-1.parent``. Its own header says it too, but may have
been written by a guest that broke out into its QEMU, and so is never followed.

Freezing a tip takes four steps, each of which is there or not (`roll_forward`)::

    vol-1.next-snap-3.qcow2   the new tip, made whole; QEMU, if it runs, is told to go over to it: the instant
    snap-3.parent             what the tip lies on now
    snap-3.qcow2              the tip under its new name
    vol-1.parent, vol-1.qcow2 the new tip takes its place

When there is a new tip and no QEMU that has it open, the rest follows whatever cut it off: a tip that no guest wrote to
is a snapshot taken while the volume was at rest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from freehold.host.layout import Layout

NEW = ".new"  # what a file is called while it is being made
_NEXT = re.compile(r"(vol-[0-9a-f]+)\.next-(snap-[0-9a-f]+)\.qcow2")


@dataclass(frozen=True, slots=True)
class Layers:
    layout: Layout

    def parent(self, path: Path) -> Path | None:
        """What lies below a file of the pool; None: nothing."""
        try:
            return path.parent / os.readlink(_parent_link(path))
        except FileNotFoundError:
            return None

    def chain(self, path: Path) -> list[Path]:
        """A file and all that lies below it, from the top down."""
        files = [path]
        while (below := self.parent(files[-1])) is not None:
            files.append(below)
        return files

    def lay(self, path: Path, below: Path | None) -> None:
        """Say what lies below a file, before it is there or after."""
        link = _parent_link(path)
        if below is None:
            link.unlink(missing_ok=True)
            return
        temporary = link.with_name(link.name + NEW)
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(self.name(below))
        temporary.replace(link)

    def name(self, path: Path) -> str:
        """How a file is named by the one above it: by its name within the pool, by its path outside."""
        return path.name if path.parent == self.layout.volumes else str(path)

    def frozen(self, snapshot_id: str) -> bool:
        """Whether a snapshot's layer is there."""
        return self.layout.layer(snapshot_id).exists()

    def next_tip(self, volume_id: str, snapshot_id: str) -> Path:
        return self.layout.volumes / f"{volume_id}.next-{snapshot_id}.qcow2"

    def prepared(self) -> Iterator[tuple[str, str]]:
        """The (volume, snapshot) for which a new tip is made that has not taken its place yet."""
        for path in sorted(self.layout.volumes.iterdir()):
            if found := _NEXT.fullmatch(path.name):
                yield found[1], found[2]

    def roll_forward(self, volume_id: str) -> None:
        """Finish what was begun of snapshots of a volume that nobody has open."""
        for prepared, snapshot_id in list(self.prepared()):
            if prepared == volume_id:
                self.freeze(volume_id, snapshot_id)

    def freeze(self, volume_id: str, snapshot_id: str) -> None:
        """Have the volume's new tip in the place of the old one, which becomes the snapshot's layer. QEMU must have
        gone over to the new one, or have neither open."""
        if not self.next_tip(volume_id, snapshot_id).exists():
            return
        tip, layer = self.layout.volume(volume_id), self.layout.layer(snapshot_id)
        if not layer.exists():
            self.lay(layer, self.parent(tip))
            tip.chmod(0o400)
            tip.rename(layer)
        self.lay(tip, layer)
        self.next_tip(volume_id, snapshot_id).rename(tip)

    def seal(self, tip: Path, layer: Path) -> None:
        """Have a file that nobody has open be a layer."""
        self.lay(layer, self.parent(tip))
        tip.chmod(0o400)
        tip.rename(layer)
        _parent_link(tip).unlink(missing_ok=True)

    def doom(self, snapshot_id: str) -> None:
        """From now on the layer is no snapshot's: it stays only while others lie on it."""
        if self.frozen(snapshot_id):
            _doomed(self.layout.layer(snapshot_id)).touch()

    def prune(self) -> None:
        """Delete the layers that nobody needs, from the top down."""
        while leaves := [path for path in self.dooms() if not self.children(path)]:
            for path in leaves:
                self.delete(path)

    def dooms(self) -> list[Path]:
        """Layers that are no snapshot's any more."""
        return [mark.with_suffix(".qcow2") for mark in sorted(self.layout.volumes.glob("snap-*.doomed"))]

    def children(self, path: Path) -> list[Path]:
        """What lies directly on a file of the pool."""
        links = sorted(self.layout.volumes.glob("*.parent"))
        return [found for link in links if self.parent(found := link.with_suffix(".qcow2")) == path]

    def delete(self, path: Path) -> None:
        """Have a file no more; nothing may lie on it."""
        path.unlink(missing_ok=True)
        _parent_link(path).unlink(missing_ok=True)
        _doomed(path).unlink(missing_ok=True)

    def forget_unfinished(self, open_volumes: Iterable[str]) -> None:
        """Finish or remove what an agent that was cut left half done; a QEMU has `open_volumes` open."""
        in_use = set(open_volumes)
        for leftover in self.layout.volumes.glob(f"*{NEW}"):
            leftover.unlink()
        for volume_id, snapshot_id in list(self.prepared()):
            if volume_id not in in_use:
                self.freeze(volume_id, snapshot_id)
        for link in self.layout.volumes.glob("*.parent"):
            if not link.with_suffix(".qcow2").exists():
                link.unlink()
        self.prune()


def _parent_link(path: Path) -> Path:
    return path.with_suffix(".parent")


def _doomed(path: Path) -> Path:
    return path.with_suffix(".doomed")
