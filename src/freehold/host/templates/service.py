"""Which templates there are, and having those that launches want: made when nothing else starts, within a budget.

A launch only asks (`of`), which takes no time. What it does not find is made afterwards, for the next one.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from freehold.host import images
from freehold.host.errors import CannotStart, HostError
from freehold.host.hypervisor.qemu import BINARY, Accelerator
from freehold.host.hypervisor.slots import SLOTS
from freehold.host.images import Kernel
from freehold.host.layout import Layout
from freehold.host.templates import maker, reclaim
from freehold.host.templates.store import Damaged, Recipe, Shape, Store, Template
from freehold.host.wire import GuestSpec
from freehold.host.worker import Worker

log = structlog.get_logger()

_TRIES = 3
_RETRY_SECONDS = 30.0

Stamp = tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class WarmStart:
    """`budget_mib` is what all templates may take of the machine's memory; 0 = there are none. `usual` = what is
    launched most: (instance type, vCPUs, MiB), of which there are templates before the first launch."""

    budget_mib: int = 512
    usual: tuple[tuple[str, int, int], ...] = ()


class Templates(Worker):
    """`idle` = nothing starts now; when that is so again, it is to be woken."""

    def __init__(self, layout: Layout, accelerator: Accelerator, warm: WarmStart, idle: Callable[[], bool]) -> None:
        super().__init__("templates", _RETRY_SECONDS)
        self._layout = layout
        self._accelerator = accelerator
        self._budget_bytes = warm.budget_mib * 1024 * 1024
        self._usual = warm.usual
        self._idle = idle
        self._store = Store(layout.templates)
        self._library: int | None = None
        self._ready: dict[Shape, tuple[Template, Stamp]] = {}
        self._wanted: dict[Shape, None] = {}  # the one that was used last is the last
        self._failures: dict[Shape, int] = {}
        self._digests: dict[Stamp, tuple[str, str]] = {}

    def start(self) -> None:
        if self._budget_bytes:
            self._remember()
            super().start()

    async def close(self) -> None:
        await super().close()
        for template, _ in self._ready.values():
            template.close()
        self._ready.clear()
        if self._library is not None:
            os.close(self._library)

    def of(self, spec: GuestSpec) -> Template | None:
        """The template for a launch, if there is one: of this very image, kernel and QEMU."""
        shape = Shape(spec.kernel_image_id or "", spec.metadata.instance_type, spec.vcpus, spec.memory_mib)
        if (
            not self._budget_bytes
            or spec.kernel_image_id is None
            or len(spec.volumes) + len(spec.interfaces) > len(SLOTS)
        ):
            return None
        self._wanted.pop(shape, None)
        self._wanted[shape] = None
        if shape in self._ready and (image := self._image(shape)) is not None:
            template, stamp = self._ready[shape]
            if stamp == _stamp(image):
                self._store.touch(template.recipe)
                return template
            self._forget(shape)
        self.wake()
        return None

    def discard(self, template: Template) -> None:
        """It is of no use: another one is made in its place, unless that too fails."""
        shape = template.recipe.shape
        if self._ready.get(shape, (None,))[0] is template:
            self._failures[shape] = self._failures.get(shape, 0) + 1
            self._forget(shape)
            self.wake()

    async def _round(self) -> float | None:
        if not self._idle():
            return None  # woken when that ends
        for shape in [each for each in reversed(self._wanted) if each not in self._ready]:
            if self._failures.get(shape, 0) >= _TRIES:
                continue
            try:
                await self._have(shape)
            except (HostError, OSError) as error:
                self._failures[shape] = self._failures.get(shape, 0) + 1
                log.warning("no template", image=shape.image_id, type=shape.instance_type, error=str(error))
            if not self._idle():
                return None
        return None

    async def _have(self, shape: Shape) -> None:
        image = self._image(shape)
        if image is None:
            del self._wanted[shape]
            self._store.remove_of(shape)
            return
        if self._library is None:
            self._library = await reclaim.library()
        recipe, stamp = await self._recipe(shape, image), _stamp(image)
        try:
            template = await asyncio.to_thread(self._store.load, recipe, self._library)
        except (FileNotFoundError, Damaged) as error:
            if isinstance(error, Damaged):
                log.warning("template is made again", error=str(error))
            self._store.remove(recipe)
            await maker.make(self._store, recipe, image, self._accelerator, f"freehold-template-{self._layout.tag}")
            template = await asyncio.to_thread(self._store.load, recipe, self._library)
        self._ready[shape] = (template, stamp)
        self._store.remove_of(shape, but=recipe)
        self._keep_to_budget()
        log.info("template ready", image=shape.image_id, type=shape.instance_type, mib=template.used_bytes >> 20)

    def _keep_to_budget(self) -> None:
        """The ones that were not used for longest go; one that is too large alone goes too, and is not wanted again."""
        for shape in list(self._wanted):
            if sum(template.used_bytes for template, _ in self._ready.values()) <= self._budget_bytes:
                return
            if shape in self._ready:
                if len(self._ready) == 1:
                    self._failures[shape] = _TRIES
                self._forget(shape)
                del self._wanted[shape]

    def _forget(self, shape: Shape) -> None:
        template, _ = self._ready.pop(shape)
        template.close()
        self._store.remove(template.recipe)

    def _remember(self) -> None:
        """Want what there was before, and what is usual."""
        for recipe in reversed(self._store.recipes()):
            self._wanted[recipe.shape] = None
        for directory in sorted(self._layout.paths.images.glob("ami-*")):
            for name, vcpus, memory_mib in self._usual:
                self._wanted.setdefault(Shape(directory.name, name, vcpus, memory_mib))

    def _image(self, shape: Shape) -> Kernel | None:
        try:
            image = images.load(self._layout.paths.images, shape.image_id).kernel
        except CannotStart:
            return None
        return image if image is not None and image.warm and image.minimum_memory <= shape.memory_mib else None

    async def _recipe(self, shape: Shape, image: Kernel) -> Recipe:
        stamp = _stamp(image)
        if stamp not in self._digests:
            self._digests[stamp] = await asyncio.to_thread(lambda: (_digest(image.kernel), _digest(image.initrd)))
        kernel, initrd = self._digests[stamp]
        arguments = maker.machine(shape, self._accelerator, image)
        return Recipe(shape, await maker.qemu_version(), kernel, initrd, image.append, arguments)


def _stamp(image: Kernel) -> Stamp:
    """Changes when QEMU, kernel or first program are replaced."""
    binary = shutil.which(BINARY, path="/usr/bin:/bin") or BINARY
    found = [os.stat(path) for path in (binary, image.kernel, image.initrd)]
    return tuple((each.st_dev, each.st_ino, each.st_size, each.st_mtime_ns) for each in found)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
