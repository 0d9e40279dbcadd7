"""Import a disk as an image: `import_image(LocalFile(path), …)`.

    bytes ──copy──► input ──check, then qemu-img, confined──► a raw disk ──► disk.qcow2, image.json ──rename──► image

A disk of somebody else's making is hostile until it is raw: only `disk_formats` and the confined qemu-img look at it
before. An import that is cut leaves a directory `.import-…`, which the next one removes.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from freehold.images import confined, disk_formats, sources
from freehold.images.build import publish
from freehold.images.catalog import MANIFEST_FILE, BootMode, ImageManifest, image_id, images_directory, load
from freehold.images.disk_formats import Format, UnusableDisk
from freehold.images.partitions import boot_modes
from freehold.images.recipe import DISK
from freehold.images.sources import Source
from freehold.images.tools import run_tool

Progress = Callable[[str, float], None]
"""Told what is being done, and how much of it is (0 to 1)."""

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateImage.html (Name)
_NAME = re.compile(r"[A-Za-z0-9 ()\[\]./'@_-]{3,128}")
_UEFI_MEMORY_MIB = 256  # what OVMF and a boot loader need


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the image is to be; `format` and `boot_mode` None: as found."""

    name: str
    description: str
    default_user: str
    format: Format | None = None
    ova: bool | None = None
    boot_mode: BootMode | None = None


def import_image(source: Source, wanted: Wanted, data_dir: Path, progress: Progress) -> ImageManifest:
    """Have the disk as an image in a data directory. Needs root. Raises UnusableDisk, ImageBuildError."""
    if not _NAME.fullmatch(wanted.name):
        raise UnusableDisk(f"{wanted.name!r} is no name for an image: 3 to 128 letters, digits, spaces and ()[]./-'@_.")
    if any(image.name == wanted.name for image in load(data_dir)):
        raise UnusableDisk(f"There is an image of the name {wanted.name!r}: choose another.")
    with scratch(images_directory(data_dir)) as work:
        manifest = _made(source, wanted, work, progress)
        output = work / "image"
        (output / MANIFEST_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        publish(output, images_directory(data_dir) / manifest.image_id)
    return manifest


def _made(source: Source, wanted: Wanted, work: Path, progress: Progress) -> ImageManifest:
    """The image's disk in `work`/image, and what there is to say of it."""
    output = work / "image"
    output.mkdir()
    raw, digest = raw_disk(source, work, progress, given=wanted.format, ova=wanted.ova)
    size = raw.stat().st_size
    modes = boot_modes(raw)
    boot_mode = wanted.boot_mode or next(iter(modes), None)
    if boot_mode is None:
        raise UnusableDisk("No boot loader is found on it; say --boot-mode if there is one nevertheless.")
    progress("storing", 0.0)
    run_tool(("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(output / DISK)))
    raw.unlink()
    return ImageManifest(
        image_id=image_id(digest, (wanted.name, boot_mode)),
        name=wanted.name,
        family="imported",
        description=wanted.description,
        architecture="x86_64",
        root_device_name="/dev/xvda",
        virtual_size=size,
        minimum_memory=_UEFI_MEMORY_MIB if boot_mode == "uefi" else 0,
        disk=DISK,
        default_user=wanted.default_user,
        created_at=datetime.now(UTC).replace(microsecond=0),
        recipe=digest,
        boot_mode=boot_mode,
    )


def raw_disk(
    source: Source, work: Path, progress: Progress, *, given: Format | None, ova: bool | None
) -> tuple[Path, str]:
    """The disk, raw, in a directory for that, and the digest of what it was. `given` and `ova` None: as found.

    Needs root. Raises UnusableDisk."""
    staged, raw = work / "input", work / "disk.raw"
    ova = sources.is_ova(source) if ova is None else ova
    digest = sources.stage(source, staged, ova=ova, progress=lambda done: progress("copying", done))
    found = given or disk_formats.detected(staged)
    disk_formats.check(staged, found)
    confined.convert(staged, found, raw, lambda done: progress(f"converting {found}", done))
    staged.unlink()
    if raw.stat().st_size == 0:
        raise UnusableDisk("It is empty.")
    return raw, digest


@contextmanager
def scratch(images: Path) -> Iterator[Path]:
    """A directory beside the images for what is not finished; one import runs at a time."""
    images.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (images / ".import.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released by the kernel when we end, however we end
        for leftover in images.glob(".import-*"):
            shutil.rmtree(leftover)
        with tempfile.TemporaryDirectory(prefix=".import-", dir=images) as scratch:
            yield Path(scratch)
