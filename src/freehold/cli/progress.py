"""What a command says while it works: on stderr, for stdout is for its result."""

from __future__ import annotations

import sys


def say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)
