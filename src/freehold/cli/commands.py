"""One command at a time changes a cloud."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from freehold.cli import fail
from freehold.paths import Paths


@contextmanager
def only_command(paths: Paths) -> Iterator[None]:
    """Be the only `up`, `down` or `destroy` of a cloud; else the command ends with a sentence."""
    paths.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (paths.run / "command.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise fail(f"Another freehold command is at work on {paths.data_dir}: wait until it has ended.") from None
        yield
