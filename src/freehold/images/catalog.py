"""The images of a cloud: one directory each under `<data-dir>/images/<image-id>/`, described by its `image.json`.

A directory appears complete by one rename and is never changed afterwards: its files are 0444 and owned by root,
because a guest's disk is an overlay over `disk` and QEMU, which runs without rights, only reads them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

MANIFEST_FILE = "image.json"
BootMode = Literal["legacy-bios", "uefi"]

_IMAGE_ID = re.compile(r"ami-[0-9a-f]{17}")


class ImageManifest(msgspec.Struct, frozen=True):
    """`image.json`: what a cloud needs to know of an image to list it and to start a machine from it. Clouds of other
    versions may share a cache of images: what only they know is passed over."""

    image_id: str  # ami- and 17 hex digits, from the image's content: the same build has the same id everywhere
    name: str
    family: str  # the recipe: freehold-micro, debian-12
    description: str
    architecture: str  # as EC2 spells it: x86_64
    root_device_name: str
    virtual_size: int  # bytes; the smallest root volume
    minimum_memory: int  # MiB
    disk: str  # file names, relative to the image's directory; a qcow2
    default_user: str
    created_at: datetime  # UTC
    recipe: str  # digest of the recipe that built it; of an imported one, of the file that it was
    kernel: str | None = None  # what QEMU starts directly; None = the firmware and the disk's own boot loader do
    initrd: str | None = None
    append: str = ""  # kernel command line
    boot_mode: BootMode = "legacy-bios"  # the firmware
    warm: bool = False  # its first program waits for the root volume: a template can be saved before that
    guest_agent: bool = False  # QEMU's guest agent is in it


@dataclass(frozen=True)
class ImagePaths:
    """Absolute paths of an image's files."""

    directory: Path
    kernel: Path | None
    initrd: Path | None
    disk: Path


def image_id(recipe: str, ingredients: Iterable[str]) -> str:
    """The id of an image: a digest of how it was built and of everything that went into it."""
    content = "\n".join((recipe, *ingredients))
    return "ami-" + hashlib.sha256(content.encode()).hexdigest()[:17]


def images_directory(data_dir: Path) -> Path:
    """Where the images of a data directory (or of the build cache) live."""
    return data_dir / "images"


def load(data_dir: Path) -> list[ImageManifest]:
    """All images of a data directory, oldest first. Raises msgspec.DecodeError if an `image.json` is damaged."""
    found = [
        msgspec.json.decode((entry / MANIFEST_FILE).read_bytes(), type=ImageManifest)
        for entry in images_directory(data_dir).glob("ami-*")
        if _IMAGE_ID.fullmatch(entry.name)
    ]
    return sorted(found, key=lambda manifest: (manifest.created_at, manifest.image_id))


def paths(data_dir: Path, manifest: ImageManifest) -> ImagePaths:
    """Where the files of an image are."""
    directory = images_directory(data_dir).absolute() / manifest.image_id
    return ImagePaths(
        directory=directory,
        kernel=directory / manifest.kernel if manifest.kernel else None,
        initrd=directory / manifest.initrd if manifest.initrd else None,
        disk=directory / manifest.disk,
    )
