"""``freehold image``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import msgspec

from freehold.cli import fail
from freehold.cli.endpoint import cloud_paths
from freehold.cli.progress import in_tenths, say
from freehold.cli.tables import print_table, table
from freehold.images import catalog
from freehold.images.disk_formats import Format
from freehold.images.sources import LocalFile


def make(data_dir: Path, family: str) -> None:
    """Build an image into the cloud and list it in the records; prints its id."""
    from freehold.cli.state import open_state
    from freehold.cli.up import register_images
    from freehold.images.build import build

    paths = cloud_paths(data_dir)
    manifest = build(family, paths.data_dir, say)
    _config, store = open_state(paths.data_dir)
    register_images(paths, store)
    store.close()
    print(manifest.image_id)


def bring(
    data_dir: Path,
    file: Path,
    name: str,
    description: str,
    user: str,
    file_format: str | None,
    boot_mode: str | None,
    *,
    as_json: bool,
) -> None:
    """Import a disk into the cloud as an image of its own, and list it in the records; prints its id."""
    from freehold.cli.state import open_state
    from freehold.cli.up import register_images
    from freehold.images.importing import Wanted, import_image

    paths = cloud_paths(data_dir)
    source, given, ova = disk_file(file, file_format)
    wanted = msgspec.convert(
        {
            "name": name,
            "description": description,
            "default_user": user,
            "format": given,
            "ova": ova,
            "boot_mode": boot_mode,
        },
        Wanted,
    )
    manifest = import_image(source, wanted, paths.data_dir, in_tenths())
    _config, store = open_state(paths.data_dir)
    register_images(paths, store)
    store.close()
    print(json.dumps(msgspec.to_builtins(manifest), indent=2) if as_json else manifest.image_id)


def disk_file(file: Path, file_format: str | None) -> tuple[LocalFile, Format | None, bool | None]:
    """(a file with a disk, the disk's format, whether an archive has it), as they are said; None: not said."""
    if not file.is_file():
        raise fail(f"There is no file {file}.")
    if file_format == "ova":
        return LocalFile(file), None, True
    return LocalFile(file), cast("Format | None", file_format), None if file_format is None else False


def show(data_dir: Path, *, as_json: bool) -> None:
    images = catalog.load(cloud_paths(data_dir).data_dir)
    if as_json:
        print(json.dumps(msgspec.to_builtins(images), indent=2))
        return
    shown = table("Image", "Name", "Made", "Size (GiB)", "Memory (MiB)", "Boot", "User")
    for image in images:
        size = f"{image.virtual_size / (1 << 30):g}"
        built = f"{image.created_at:%Y-%m-%d %H:%M}"
        boot = "kernel" if image.kernel else image.boot_mode
        shown.add_row(image.image_id, image.name, built, size, str(image.minimum_memory), boot, image.default_user)
    print_table(shown)
