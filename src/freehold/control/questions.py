"""Questions to hosts from the front door: one connection each, on a Unix socket that only root may open.

A frame (as on the link to hosts, host/wire.py) with a `Questioned`, answered by a frame with the host's `Answer`; the
connection is closed without one when the host gives none in time.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import msgspec

from freehold.control.hosts import HostLinks
from freehold.questions import (
    ASK_SECONDS,
    QUESTION_BYTES_MAX,
    WAIT_SECONDS,
    WAITING_MAX,
    Questioned,
    Taken,
    encode,
    read,
)

_READ_SECONDS = 5.0
_AT_ONCE_MAX = 64

_decoder: msgspec.json.Decoder[Questioned] = msgspec.json.Decoder(Questioned)


async def take_questions(path: Path, links: HostLinks) -> asyncio.Server:
    """Ask hosts what comes by this socket, until the server is closed."""
    answering, waiting = asyncio.Semaphore(_AT_ONCE_MAX), asyncio.Semaphore(WAITING_MAX)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError, msgspec.MsgspecError):
            async with answering, asyncio.timeout(_READ_SECONDS + ASK_SECONDS):
                asked = _decoder.decode(await read(reader, QUESTION_BYTES_MAX))
                if not isinstance(asked.question, Taken):
                    await _answer(writer, links, asked)
            if isinstance(asked.question, Taken):
                async with waiting, asyncio.timeout(_READ_SECONDS + WAIT_SECONDS):
                    await _answer(writer, links, asked)
        writer.close()

    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(handle, path)
    path.chmod(0o600)
    return server


async def _answer(writer: asyncio.StreamWriter, links: HostLinks, asked: Questioned) -> None:
    answer = await links.ask(asked.host_id, asked.question)
    if answer is not None:
        writer.write(encode(answer))
        await writer.drain()
