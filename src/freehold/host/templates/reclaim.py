"""What the QEMU of a clone has preloaded, so that it gives back memory that its guest no longer uses: `reclaim.c`."""

from __future__ import annotations

import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from freehold.host.commands import last_line
from freehold.host.errors import HostError
from freehold.host.templates import memory


@cache
def library() -> int:
    """A descriptor of the library, which nobody can write and which stays open. Takes some milliseconds once.

    Raises HostError: there is no compiler, or it fails.
    """
    with tempfile.TemporaryDirectory() as place:
        target = Path(place, "reclaim.so")
        compiler = ("tcc", "-shared", "-nostdlib", "-Wall", "-Werror", "-o", target)
        try:
            subprocess.run((*compiler, Path(__file__).with_suffix(".c")), check=True, capture_output=True)
        except FileNotFoundError as error:
            raise HostError("tcc is not installed; run 'freehold doctor --fix'.") from error
        except subprocess.CalledProcessError as error:
            raise HostError(f"tcc failed: {last_line(error.stderr)}") from error
        content = target.read_bytes()
    made = memory.new(len(content))
    os.pwrite(made, content, 0)
    memory.seal(made)
    return made
