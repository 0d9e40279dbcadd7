"""What is on a guest's screen, as a JPEG picture.

QEMU, which may open no file, writes it into memory that it was handed and that counts as its own. What it wrote is the
guest's word: so cjpeg, which reads it, runs as the guest's user.
"""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import ExitStack
from typing import cast

from freehold.host.commands import start_confined
from freehold.host.errors import CommandError, HostError
from freehold.host.hypervisor.monitor import Monitor

_BYTES_MAX = 8 << 20
_PICTURE_BYTES_MAX = 1 << 20
_HEAD = re.compile(rb"P6\n([0-9]{1,4}) ([0-9]{1,4})\n255\n")  # PPM, as QEMU writes it
_WAKING_KEY = "shift"  # it says nothing to what is awake


async def picture(monitor: Monitor, uid: int, *, wake_up: bool) -> bytes:
    """The screen now; with `wake_up` a key is pressed before. Raises HostError."""
    if wake_up:
        await monitor.execute("send-key", {"keys": [{"type": "qcode", "data": _WAKING_KEY}]})
    with ExitStack() as opened:
        memory = os.memfd_create("screen")
        opened.callback(os.close, memory)
        writing = os.open(f"/proc/self/fd/{memory}", os.O_WRONLY | os.O_CLOEXEC)  # as QEMU opens what it writes
        opened.callback(os.close, writing)
        handed = cast(dict[str, int], await monitor.hand_over(writing, "add-fd", {"opaque": "screen"}))
        number = handed["fdset-id"]
        try:
            await monitor.execute("screendump", {"filename": f"/dev/fdset/{number}"})
        finally:
            await monitor.execute("remove-fd", {"fdset-id": number})
        head = _HEAD.match(os.pread(memory, 32, 0))
        if head is None or 3 * int(head[1]) * int(head[2]) > _BYTES_MAX:
            raise HostError("The guest's screen is none that can be shown.")
        return await _jpeg(memory, uid)


async def _jpeg(source: int, uid: int) -> bytes:
    argv = ("cjpeg", "-quality", "75")
    process = await start_confined(
        argv, uid, stdin=source, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise CommandError("cjpeg", process.returncode or 0, errors[-200:].decode(errors="replace"))
    if len(output) > _PICTURE_BYTES_MAX:
        raise HostError("The picture of the guest's screen is too large.")
    return output
