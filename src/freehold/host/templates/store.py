"""The templates of a host on its disk: a directory each, which appears complete by a rename and is never changed.

    <host>/templates/<key>/template.json   what it was made of, and the digests of the other two
                          /memory          what the machine had in its memory
                          /state           all else of the machine

The key is a digest of what it was made of: where any of that changes, the template is another one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from freehold.host.errors import HostError
from freehold.host.templates import memory

_DESCRIPTION, _MEMORY, _STATE = "template.json", "memory", "state"
_UNFINISHED = ".new"


class Shape(msgspec.Struct, frozen=True):
    """What launches with the same template have in common. The type is there because the machine's tables name it."""

    image_id: str
    instance_type: str
    vcpus: int
    memory_mib: int


class Recipe(msgspec.Struct, frozen=True):
    """All that a template depends on. `qemu` is its version, `kernel` and `initrd` are digests, `machine` QEMU's
    arguments."""

    shape: Shape
    qemu: str
    kernel: str
    initrd: str
    append: str
    machine: tuple[str, ...]

    @property
    def key(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:32]


class _Description(msgspec.Struct, frozen=True):
    recipe: Recipe
    memory: str
    state: str


class Damaged(HostError):
    """A template is not as it was saved."""


@dataclass(frozen=True, slots=True)
class Template:
    """One that is ready: open descriptors, all sealed. `library` is what a clone's QEMU has preloaded, the same for all
    templates and not closed with one."""

    recipe: Recipe
    memory: int
    state: int
    library: int

    @property
    def used_bytes(self) -> int:
        return memory.used_bytes(self.memory) + memory.used_bytes(self.state)

    def close(self) -> None:
        """Clones that run keep what they share."""
        os.close(self.memory)
        os.close(self.state)


@dataclass(frozen=True, slots=True)
class Store:
    directory: Path

    def recipes(self) -> list[Recipe]:
        """Of all templates there are, the one that was used last first. Unreadable ones are removed."""
        found: list[tuple[float, Recipe]] = []
        self.directory.mkdir(mode=0o700, exist_ok=True)
        for each in self.directory.iterdir():
            try:
                recipe = msgspec.json.decode((each / _DESCRIPTION).read_bytes(), type=_Description).recipe
            except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
                shutil.rmtree(each, ignore_errors=True)
                continue
            if recipe.key == each.name:
                found.append(((each / _DESCRIPTION).stat().st_mtime, recipe))
            else:
                shutil.rmtree(each)
        return [recipe for _, recipe in sorted(found, key=lambda entry: entry[0], reverse=True)]

    def load(self, recipe: Recipe, library: int) -> Template:
        """Raises FileNotFoundError, Damaged."""
        directory = self.directory / recipe.key
        try:
            said = msgspec.json.decode((directory / _DESCRIPTION).read_bytes(), type=_Description)
        except msgspec.MsgspecError as error:
            raise Damaged(f"{directory / _DESCRIPTION} can not be read: {error}") from error
        opened, opened_digest = memory.load(directory / _MEMORY)
        state, state_digest = memory.load(directory / _STATE)
        template = Template(recipe, opened, state, library)
        if (said.recipe, said.memory, said.state) != (recipe, opened_digest, state_digest):
            template.close()
            raise Damaged(f"The template in {directory} is not as it was saved.")
        return template

    def add(self, recipe: Recipe, machine_memory: int, machine_state: int) -> None:
        """Keep what a machine has saved."""
        unfinished = self.directory / f"{recipe.key}{_UNFINISHED}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700, parents=True)
        digests = (memory.store(machine_memory, unfinished / _MEMORY), memory.store(machine_state, unfinished / _STATE))
        description = msgspec.json.encode(_Description(recipe, *digests))
        (unfinished / _DESCRIPTION).write_bytes(msgspec.json.format(description) + b"\n")
        unfinished.rename(self.directory / recipe.key)

    def remove(self, recipe: Recipe) -> None:
        shutil.rmtree(self.directory / recipe.key, ignore_errors=True)

    def remove_of(self, shape: Shape, *, but: Recipe | None = None) -> None:
        """Those that were made of what is not there any more: an earlier QEMU, kernel or image."""
        for recipe in self.recipes():
            if recipe.shape == shape and recipe != but:
                self.remove(recipe)

    def touch(self, recipe: Recipe) -> None:
        """It is used now."""
        os.utime(self.directory / recipe.key / _DESCRIPTION)
