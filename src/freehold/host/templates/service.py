"""Which templates there are, and having those that launches want: made when nothing else starts, within a budget.

A launch only asks (`of`), which takes no time. What it does not find is made afterwards, for the next one. Of what was
launched last a clone stands ready for some minutes (`take`).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from freehold import processes
from freehold.host import images
from freehold.host.errors import CannotStart, HostError
from freehold.host.hypervisor.qemu import BINARY
from freehold.host.hypervisor.slots import SLOTS
from freehold.host.images import Kernel
from freehold.host.machine import Machine
from freehold.host.templates import maker, reclaim, standby
from freehold.host.templates.standby import Standby
from freehold.host.templates.store import Damaged, Recipe, Shape, Store, Template
from freehold.host.wire import GuestSpec, Ready
from freehold.host.worker import Worker

log = structlog.get_logger()

_TRIES = 3
_RETRY_SECONDS = 30.0
_READY_SECONDS = 600.0  # after a launch a clone stands ready for another one
_READY_BYTES = 40 << 20  # what it takes of the machine's memory

Stamp = tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class WarmStart:
    """`budget_mib` is what all templates may take of the machine's memory; 0 = there are none. `usual` = what is
    launched most: (instance type, vCPUs, MiB), of which there are templates before the first launch."""

    budget_mib: int = 512
    usual: tuple[tuple[str, int, int], ...] = ()


class Templates(Worker):
    """`idle` = nothing starts now; when that is so again, it is to be woken. `changed` is called when another clone
    stands ready, or none does any more."""

    def __init__(
        self, machine: Machine, warm: WarmStart, idle: Callable[[], bool], changed: Callable[[], None]
    ) -> None:
        super().__init__("templates", _RETRY_SECONDS)
        self._layout = machine.layout
        self._accelerator = machine.accelerator
        self._may_stand_ready = bool(machine.cgroups.hierarchies)
        self._changed = changed
        self._budget_bytes = warm.budget_mib * 1024 * 1024
        self._usual = warm.usual
        self._idle = idle
        self._store = Store(machine.layout.templates)
        self._library: int | None = None
        self._ready: dict[Shape, tuple[Template, Stamp]] = {}
        self._wanted: dict[Shape, None] = {}  # the one that was used last is the last
        self._failures: dict[Shape, int] = {}
        self._digests: dict[Stamp, tuple[str, str]] = {}
        self._launched: tuple[GuestSpec, float] | None = None  # the last one, and when
        self._standby: Standby | None = None
        self._making: str | None = None  # the id of the next one

    def start(self) -> None:
        for who in processes.standbys(self._layout.tag).values():
            processes.end(who, seconds=0)  # an agent before this one has left it
        if self._budget_bytes:
            self._remember()
            super().start()

    async def close(self) -> None:
        await super().close()
        await self._end_standby()
        for template, _ in self._ready.values():
            template.close()
        self._ready.clear()
        if self._library is not None:
            os.close(self._library)

    def of(self, spec: GuestSpec) -> Template | None:
        """The template for a launch, if there is one: of this very image, kernel and QEMU."""
        shape = _shape(spec)
        if (
            not self._budget_bytes
            or spec.kernel_image_id is None
            or len(spec.volumes) + len(spec.interfaces) > len(SLOTS)
        ):
            return None
        self._wanted.pop(shape, None)
        self._wanted[shape] = None
        self._launched = spec, time.monotonic()
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

    @property
    def ready(self) -> Ready | None:
        """What stands ready."""
        return None if self._standby is None or not self._standby.alive else self._standby.ready

    def holds(self, instance_id: str) -> bool:
        """Whether the files of this instance, which is not launched yet, are those of a clone that stands ready, or
        soon does."""
        return instance_id in (self._making, self._standby and self._standby.instance_id)

    async def take(self, instance_id: str, template: Template | None) -> Standby | None:
        """The clone of the template that stands ready for this instance, if it does: it is the caller's."""
        found = self._standby
        if found is None or found.instance_id != instance_id:
            return None
        if found.template is not template or not found.alive:
            await self._end_standby()
            return None
        self._standby = None
        self._changed()
        return found

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
        return await self._stand_ready() if self._may_stand_ready else None

    async def _stand_ready(self) -> float | None:
        """Have a clone ready of what was launched last, if that was not long ago."""
        if self._launched is None:
            return None
        spec, at = self._launched
        left = at + _READY_SECONDS - time.monotonic()
        template, _ = self._ready.get(_shape(spec), (None, None))
        standing = self._standby
        if standing is not None and (left <= 0 or standing.template is not template or not standing.alive):
            await self._end_standby()
        fits = self._used_bytes() + _READY_BYTES <= self._budget_bytes
        if template is not None and self._standby is None and left > 0 and fits:
            self._making = standby.new_instance_id()
            try:
                kernel = images.load_kernel(self._layout.paths.images, template.recipe.shape.image_id)
                given = (self._layout, self._accelerator, template, kernel, self._making, spec)
                self._standby = await standby.make(*given)
            except CannotStart as error:
                log.info("no clone stands ready", error=str(error))
            finally:
                self._making = None
            self._changed()
        return left if self._standby is not None else None

    async def _end_standby(self) -> None:
        if self._standby is not None:
            ended, self._standby = self._standby, None
            self._changed()
            await ended.monitor.close()
            await standby.end(self._layout, ended.instance_id)

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
            if self._used_bytes() <= self._budget_bytes:
                return
            if shape in self._ready:
                if len(self._ready) == 1:
                    self._failures[shape] = _TRIES
                self._forget(shape)
                del self._wanted[shape]

    def _used_bytes(self) -> int:
        return sum(template.used_bytes for template, _ in self._ready.values())

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


def _shape(spec: GuestSpec) -> Shape:
    return Shape(spec.kernel_image_id or "", spec.metadata.instance_type, spec.vcpus, spec.memory_mib)


def _stamp(image: Kernel) -> Stamp:
    """Changes when QEMU, kernel or first program are replaced."""
    binary = shutil.which(BINARY, path="/usr/bin:/bin") or BINARY
    found = [os.stat(path) for path in (binary, image.kernel, image.initrd)]
    return tuple((each.st_dev, each.st_ino, each.st_size, each.st_mtime_ns) for each in found)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
