"""``freehold image``."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from freehold.cli.endpoint import cloud_paths
from freehold.cli.progress import say
from freehold.cli.tables import print_table, table
from freehold.images import catalog


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


def show(data_dir: Path, *, as_json: bool) -> None:
    images = catalog.load(cloud_paths(data_dir).data_dir)
    if as_json:
        print(json.dumps(msgspec.to_builtins(images), indent=2))
        return
    shown = table("Image", "Name", "Built", "Size (GiB)", "Memory (MiB)", "User")
    for image in images:
        size = f"{image.virtual_size / (1 << 30):g}"
        built = f"{image.created_at:%Y-%m-%d %H:%M}"
        shown.add_row(image.image_id, image.name, built, size, str(image.minimum_memory), image.default_user)
    print_table(shown)
