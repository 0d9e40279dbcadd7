"""The `freehold` command."""

from __future__ import annotations

import os
import sys
from pathlib import Path

DEFAULT_DATA_DIR = Path("/var/lib/freehold")
DEFAULT_PORT = 4600


class CommandFailed(Exception):
    """The command can not do what it was asked to; the message says in a sentence why, and what to do."""


def fail(message: str) -> CommandFailed:
    """What to raise to leave with 1 and a sentence: ``raise fail("…")``."""
    return CommandFailed(message)


def main() -> None:
    from freehold.cli.app import app

    os.umask(0o077)  # whatever is made in the data directory is its owner's alone
    try:
        app(prog_name="freehold")
    except Exception as error:
        # Our own exceptions are sentences for the operator; any other is a defect, and shows where it is.
        if not type(error).__module__.startswith("freehold."):
            raise
        print(error, file=sys.stderr)
        sys.exit(1)
