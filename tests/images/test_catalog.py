"""`image.json` and the directory of images."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.images.catalog import ImageManifest, image_id, load, paths

MANIFEST = ImageManifest(
    image_id="ami-0123456789abcdef0",
    name="debian-12-amd64-01234567",
    family="debian-12",
    description="Debian",
    architecture="x86_64",
    root_device_name="/dev/xvda",
    virtual_size=2 << 30,
    minimum_memory=256,
    kernel="vmlinux",
    initrd="initrd.cpio",
    disk="disk.qcow2",
    append="console=ttyS0",
    default_user="admin",
    created_at=datetime(2026, 11, 25, 12, 0, tzinfo=UTC),
    recipe="00",
)


def write(data_dir: Path, manifest: ImageManifest) -> None:
    directory = data_dir / "images" / manifest.image_id
    directory.mkdir(parents=True)
    (directory / "image.json").write_bytes(msgspec.json.encode(manifest))


def test_images_are_listed_oldest_first(tmp_path: Path) -> None:
    """Only directories named by an image id count; an empty data directory has no images."""
    assert load(tmp_path) == []
    older = msgspec.structs.replace(
        MANIFEST, image_id="ami-fffffffffffffffff", created_at=datetime(2025, 1, 1, tzinfo=UTC)
    )
    write(tmp_path, MANIFEST)
    write(tmp_path, older)
    (tmp_path / "images/ami-notes").mkdir()
    assert load(tmp_path) == [older, MANIFEST]
    assert paths(tmp_path, MANIFEST).disk == tmp_path / "images/ami-0123456789abcdef0/disk.qcow2"


def test_a_damaged_manifest_is_not_passed_over(tmp_path: Path) -> None:
    write(tmp_path, MANIFEST)
    (tmp_path / "images" / MANIFEST.image_id / "image.json").write_text('{"image_id": "ami-0"}')
    with pytest.raises(msgspec.DecodeError):
        load(tmp_path)


def test_what_another_version_knows_of_an_image_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, MANIFEST)
    file = tmp_path / "images" / MANIFEST.image_id / "image.json"
    file.write_bytes(msgspec.json.encode(msgspec.structs.asdict(MANIFEST) | {"sound": "yes"}))
    assert load(tmp_path) == [MANIFEST]


@given(st.text(st.characters(codec="utf-8")), st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"))))
def test_an_image_id_follows_from_the_content(recipe: str, ingredients: list[str]) -> None:
    """Well formed, repeatable, and another one as soon as something else goes in."""
    identity = image_id(recipe, ingredients)
    assert len(identity) == 21
    assert int(identity.removeprefix("ami-"), 16) >= 0
    assert identity == image_id(recipe, list(ingredients))
    assert identity != image_id(recipe, [*ingredients, "more"])
