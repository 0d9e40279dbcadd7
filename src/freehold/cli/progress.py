"""What a command says while it works: on stderr, for stdout is for its result."""

from __future__ import annotations

import sys
from collections.abc import Callable


def say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def in_tenths() -> Callable[[str, float], None]:
    """Says how far something is, once for each tenth of it."""
    last = ""

    def progress(what: str, done: float) -> None:
        nonlocal last
        line = f"{what} {int(done * 10) * 10} %"
        if line != last:
            say(line)
            last = line

    return progress
