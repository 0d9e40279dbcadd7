"""The host's end of the link to the control plane: opened, kept, and opened again when it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import os

import msgspec
import structlog

from freehold.host.agent import Agent
from freehold.host.security import CONTROL, link_security
from freehold.host.wire import FRAME_BYTES_MAX, REPORT_SECONDS, Assignment, ControlMessage, Hello, encode
from freehold.paths import Paths
from freehold.questions import Answer

log = structlog.get_logger()

_RETRY_SECONDS = (0.1, 0.5, 2.0, 5.0)

_decoder: msgspec.json.Decoder[ControlMessage] = msgspec.json.Decoder(ControlMessage)


class LinkError(Exception):
    """The peer does not speak as a control plane should."""


async def keep_link(paths: Paths, hello: Hello, agent: Agent) -> None:
    """Speak with the control plane behind a Unix socket, for ever."""
    tries = 0
    while True:
        linked = False
        try:
            # Read anew each time: certificates are renewed.
            reader, writer = await asyncio.open_unix_connection(
                paths.host_link, ssl=link_security(paths.pki), server_hostname=CONTROL
            )
            try:
                await _send(writer, encode(hello))
                first = await _read(reader)
                if not isinstance(first, Assignment):
                    raise LinkError("it asked before it said what should be")
                agent.assign(first)
                linked, tries = True, 0
                paths.host_linked.write_text(str(os.getpid()))
                log.info("linked to the control plane")
                await _speak(reader, writer, agent)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError, LinkError, msgspec.MsgspecError) as error:
            if linked or tries == 0:
                log.warning("no link to the control plane; guests run on", error=str(error) or type(error).__name__)
        await asyncio.sleep(_RETRY_SECONDS[min(tries, len(_RETRY_SECONDS) - 1)])
        tries += 1


async def _speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, agent: Agent) -> None:
    """Report and listen until one of the two fails."""
    agent.forget_reported()
    tasks = (asyncio.create_task(_listen(reader, writer, agent)), asyncio.create_task(_report(writer, agent)))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, agent: Agent) -> None:
    def send(answer: Answer) -> None:
        if not writer.is_closing():
            writer.write(encode(answer))

    while True:
        message = await _read(reader)
        if isinstance(message, Assignment):
            agent.assign(message)
        else:
            agent.answers.take(message, send)


async def _report(writer: asyncio.StreamWriter, agent: Agent) -> None:
    """Everything at first and every `REPORT_SECONDS`, what changed in between."""
    loop = asyncio.get_running_loop()
    full_at = loop.time()
    while True:
        everything = loop.time() >= full_at
        if everything:
            full_at = loop.time() + REPORT_SECONDS
        report = agent.report(everything=everything)
        await _send(writer, encode(report))
        agent.reported(report)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(full_at):
                await agent.changed.wait()


async def _send(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(frame)
    await writer.drain()


async def _read(reader: asyncio.StreamReader) -> ControlMessage:
    length = int.from_bytes(await reader.readexactly(4), "big")
    if length > FRAME_BYTES_MAX:
        raise LinkError(f"a frame of {length} bytes is too large")
    return _decoder.decode(await reader.readexactly(length))
