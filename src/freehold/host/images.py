"""What a host reads of an image: ``<data-dir>/images/<ami-id>/image.json`` and the files it names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from freehold.host.errors import CannotStart


class _Manifest(msgspec.Struct, frozen=True):
    """The part of the manifest that starting a guest needs; file names are relative to the image's directory."""

    disk: str
    kernel: str | None = None
    initrd: str | None = None
    append: str = ""
    warm: bool = False
    minimum_memory: int = 0
    guest_agent: bool = False


@dataclass(frozen=True, slots=True)
class Kernel:
    """What QEMU starts by itself, without firmware. `warm` = it can be started as a clone of a template: before it has
    a root volume, it waits for one. `minimum_memory` is of all that comes after that, in MiB. `guest_agent` = QEMU's
    is in the image, and wants a port to speak by."""

    kernel: Path
    initrd: Path
    append: str
    warm: bool = False
    minimum_memory: int = 0
    guest_agent: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """`kernel` None = its disk has a boot loader."""

    disk: Path
    kernel: Kernel | None


def load(images: Path, image_id: str) -> Image:
    """Raises CannotStart if the image is not on this host or its description is damaged."""
    directory = images / image_id
    try:
        manifest = msgspec.json.decode((directory / "image.json").read_bytes(), type=_Manifest)
    except FileNotFoundError as error:
        raise CannotStart(
            f"The image {image_id} is not on this host; build or import it with 'freehold image'."
        ) from error
    except msgspec.MsgspecError as error:
        raise CannotStart(
            f"{directory / 'image.json'} is damaged ({error}); build or import the image again."
        ) from error
    kernel = None
    if manifest.kernel and manifest.initrd:
        kernel = Kernel(
            *(directory / manifest.kernel, directory / manifest.initrd, manifest.append),
            *(manifest.warm, manifest.minimum_memory, manifest.guest_agent),
        )
    return Image(directory / manifest.disk, kernel)


def load_kernel(images: Path, image_id: str) -> Kernel:
    """Raises CannotStart if the image is not on this host, or has no kernel."""
    kernel = load(images, image_id).kernel
    if kernel is None:
        raise CannotStart(f"The image {image_id} has no kernel to start directly; build it again.")
    return kernel
