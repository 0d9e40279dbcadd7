"""Templates that the host of one test module has made, for the hosts of later ones: to make one is to boot."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from freehold.host.layout import Layout
from freehold.host.templates.store import Store
from freehold.paths import Paths


@dataclass(frozen=True)
class SharedTemplates:
    """`directory` is of all workers of a test run. Files are shared, too: a template is never changed."""

    directory: Path

    def lend(self, data_dir: Path, instance_type: str) -> None:
        """Have a host find those of a type when it starts."""
        theirs = Layout(Paths(data_dir)).templates
        theirs.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        theirs.mkdir(mode=0o700)
        for recipe in Store(self.directory).recipes():
            if recipe.shape.instance_type == instance_type:
                shutil.copytree(self.directory / recipe.key, theirs / recipe.key, copy_function=os.link)

    def keep(self, data_dir: Path) -> None:
        """Have what a host has made."""
        theirs = Layout(Paths(data_dir)).templates
        for recipe in Store(theirs).recipes():
            kept = self.directory / recipe.key
            if not kept.exists():
                taken = self.directory.with_name(f"{recipe.key}.{os.getpid()}")
                shutil.copytree(theirs / recipe.key, taken, copy_function=os.link)
                try:
                    taken.rename(kept)
                except OSError:  # another worker was first
                    shutil.rmtree(taken)
