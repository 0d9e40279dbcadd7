"""Build a built-in image into a data directory: `build("freehold-micro", data_dir, print)`.

An image is built once per machine and user: it goes to a cache (`$XDG_CACHE_HOME/freehold`, else
`~/.cache/freehold`) and from there into data directories by hard links (copies across file systems), so that a
second cloud has it in an instant. Both places get it by one rename of a finished directory; a build that is cut
leaves a directory `.build-…`, which the family's next build removes. A lock in the cache lets one build of a family
run at a time: who wants the micro image does not wait minutes for somebody's debian-12.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from freehold.images import debian, micro
from freehold.images.catalog import MANIFEST_FILE, ImageManifest, image_id, images_directory, load
from freehold.images.recipe import DISK, INITRD, KERNEL, Progress, Recipe, guest_umask
from freehold.images.tools import ImageBuildError

__all__ = ["RECIPES", "ImageBuildError", "build", "cache_directory", "is_built"]

RECIPES = {recipe.family: recipe for recipe in (micro.RECIPE, debian.RECIPE)}


def build(family: str, data_dir: Path, progress: Progress) -> ImageManifest:
    """Have the newest image of a family in a data directory, building it if there is none of the present recipe.

    Raises ImageBuildError with one sentence that says what is wrong and what to do.
    """
    recipe = RECIPES.get(family)
    if recipe is None:
        raise ImageBuildError(f"There is no recipe for {family!r}; choose one of {', '.join(RECIPES)}.")
    digest = recipe.digest()
    existing = _newest(data_dir, family, digest)
    if existing is not None:
        return existing
    cache = cache_directory()
    try:
        with _only_builder(cache, family):
            manifest = _newest(cache, family, digest)
            if manifest is None:
                manifest = _cook(recipe, digest, cache, progress)
            _link(cache, data_dir, manifest)
    except OSError as failure:
        if failure.errno == errno.ENOSPC:
            raise ImageBuildError(
                f"No space is left for {family}; free some below {cache} and {data_dir}."
            ) from failure
        raise ImageBuildError(
            f"{failure.filename or family}: {failure.strerror}; mend that, or set XDG_CACHE_HOME to another place than "
            f"{cache.parent}."
        ) from failure
    return manifest


def is_built(family: str, data_dir: Path) -> bool:
    """Whether `build` needs nothing that apt would have to offer."""
    digest = RECIPES[family].digest()
    return any(_newest(place, family, digest) for place in (data_dir, cache_directory()))


def cache_directory() -> Path:
    """Where built images and fetched packages are kept for all clouds of this user."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "freehold"


def _newest(directory: Path, family: str, digest: str) -> ImageManifest | None:
    matching = [m for m in load(directory) if m.family == family and m.recipe == digest]
    return matching[-1] if matching else None


@contextmanager
def _only_builder(cache: Path, family: str) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"build-{family}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released by the kernel when we end, however we end
        yield


def _cook(recipe: Recipe, digest: str, cache: Path, progress: Progress) -> ImageManifest:
    if os.geteuid() != 0:
        raise ImageBuildError("An image's files belong to root: run the build as root.")
    free = shutil.disk_usage(cache).free
    if free < recipe.free_space:
        raise ImageBuildError(
            f"Building {recipe.family} needs {recipe.free_space >> 20} MiB in {cache}, where only {free >> 20} MiB "
            "are free; free some, or set XDG_CACHE_HOME to a larger disk."
        )
    with _scratch(images_directory(cache), recipe.family) as scratch:
        work, output = scratch / "work", scratch / "image"
        work.mkdir()
        output.mkdir()
        progress(f"building {recipe.family}")
        with guest_umask():
            ingredients = recipe.assemble(work, output, cache, progress)
        identity = image_id(digest, ingredients)
        manifest = ImageManifest(
            image_id=identity,
            name=f"{recipe.name_prefix}-{identity[4:12]}",
            family=recipe.family,
            description=recipe.description,
            architecture="x86_64",
            root_device_name="/dev/xvda",
            virtual_size=recipe.virtual_size,
            minimum_memory=recipe.minimum_memory,
            kernel=KERNEL,
            initrd=INITRD,
            disk=DISK,
            append=recipe.append,
            default_user=recipe.default_user,
            created_at=datetime.now(UTC).replace(microsecond=0),
            recipe=digest,
            warm=recipe.warm,
            guest_agent=recipe.guest_agent,
        )
        (output / MANIFEST_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        publish(output, images_directory(cache) / manifest.image_id)
    progress(f"built {manifest.name} ({manifest.image_id})")
    return manifest


def _link(cache: Path, data_dir: Path, manifest: ImageManifest) -> None:
    """Bring an image of the cache into a data directory."""
    source = images_directory(cache) / manifest.image_id
    with _scratch(images_directory(data_dir), manifest.family) as scratch:
        output = scratch / "image"
        output.mkdir()
        for file in source.iterdir():
            try:
                os.link(file, output / file.name)
            except OSError as failure:
                if failure.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM):
                    raise
                shutil.copyfile(file, output / file.name)
        publish(output, images_directory(data_dir) / manifest.image_id)


@contextmanager
def _scratch(images: Path, family: str) -> Iterator[Path]:
    """A directory beside the images for what is not finished; leftovers of the family's builds that were cut go."""
    images.mkdir(mode=0o755, parents=True, exist_ok=True)
    for leftover in images.glob(f".build-{family}-*"):
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(prefix=f".build-{family}-", dir=images) as scratch:
        yield Path(scratch)


def publish(finished: Path, target: Path) -> None:
    for file in finished.iterdir():
        file.chmod(0o444)
        with file.open("rb") as content:
            os.fsync(content.fileno())
    finished.chmod(0o755)
    if target.exists():  # the same content, built before
        return
    finished.rename(target)
