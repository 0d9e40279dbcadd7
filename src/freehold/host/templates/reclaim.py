"""What the QEMU of a clone has preloaded, so that it gives back memory that its guest no longer uses: `reclaim.c`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from freehold.host.commands import run
from freehold.host.templates import memory


async def library() -> int:
    """A descriptor of the library, which nobody can write; to be closed by the caller. Takes some milliseconds.

    Raises HostError: there is no compiler, or it fails.
    """
    source = Path(__file__).with_suffix(".c")
    with tempfile.TemporaryDirectory() as place:
        target = Path(place, "reclaim.so")
        await run(("tcc", "-shared", "-nostdlib", "-Wall", "-Werror", "-o", str(target), str(source)))
        return memory.load(target)[0]
