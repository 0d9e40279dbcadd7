"""QEMU's guest agent: a program in the guest that holds its file systems still while a snapshot is taken.

It is spoken to by a port of the guest's machine, a line of JSON each way (QEMU Guest Agent Protocol Reference). What
comes is the guest's to choose: it is bounded in time and size, and nothing of it but a number is believed or kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypedDict, cast

import msgspec

from freehold.host.errors import HostError
from freehold.host.hypervisor.monitor import Monitor
from freehold.host.hypervisor.qemu import AGENT_PORT

SYNC_SECONDS_MAX = 3.0  # for a program that waits for nothing else, on a host that is busy
FREEZE_SECONDS_MAX = 10.0  # in which the guest writes out what it has in memory
LINE_BYTES_MAX = 16 * 1024
_LINES_MAX = 100

_Chardev = TypedDict("_Chardev", {"label": str, "frontend-open": bool})


class AgentError(HostError):
    """Nobody in the guest answers, or not so as an agent does, or it did not do what it was told."""


class _Number(msgspec.Struct):
    value: int = msgspec.field(name="return")


async def has_port(monitor: Monitor) -> bool:
    """Whether the guest's machine has a port for an agent."""
    return await _port(monitor) is not None


async def is_there(monitor: Monitor) -> bool:
    """Whether a program in the guest has that port open."""
    port = await _port(monitor)
    return port is not None and port["frontend-open"]


async def _port(monitor: Monitor) -> _Chardev | None:
    every = cast(list[_Chardev], await monitor.execute("query-chardev"))
    return next((each for each in every if each["label"] == AGENT_PORT), None)


class GuestAgent:
    """Whoever has the other end of a connection. All that it does raises AgentError."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, path: Path) -> GuestAgent:
        """Raises OSError."""
        return cls(*await asyncio.open_unix_connection(path, limit=LINE_BYTES_MAX))

    @property
    def gone(self) -> bool:
        """Whether the machine has ended."""
        return self._reader.at_eof()

    def close(self) -> None:
        self._writer.transport.abort()

    async def sync(self) -> None:
        """Have read all that is not for us: what comes next is the answer to what is said next."""
        number = secrets.randbelow(1 << 31)
        async with _bounded(SYNC_SECONDS_MAX):
            self._say("guest-sync-delimited", begins=b"\xff", id=number)
            for _ in range(_LINES_MAX):
                # What was half said before, to us or to somebody else, ends with a byte that is in no text.
                if _number((await self._line()).rpartition(b"\xff")[2]) == number:
                    return
        raise AgentError("what speaks in the guest is no agent")

    async def freeze(self) -> None:
        """Have all its file systems on its disks, and nothing written to them until `thaw`."""
        await self._do("guest-fsfreeze-freeze", FREEZE_SECONDS_MAX)

    async def thaw(self) -> None:
        """Have it write again, if it was frozen."""
        await self._do("guest-fsfreeze-thaw", FREEZE_SECONDS_MAX)

    async def _do(self, command: str, seconds_max: float) -> None:
        async with _bounded(seconds_max):
            self._say(command)
            if _number(await self._line()) is None:
                raise AgentError(f"the guest's agent did not do {command}")

    def _say(self, command: str, begins: bytes = b"", **arguments: int) -> None:
        self._writer.write(begins + json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")

    async def _line(self) -> bytes:
        return await self._reader.readuntil(b"\n")


class GuestAgents:
    """The connections to the agents of guests, by instance id. They are kept: an agent that nobody is connected to
    looks for that ten times a second, which takes a sixtieth of a core under emulation."""

    def __init__(self) -> None:
        self._open: dict[str, GuestAgent] = {}
        self._opening = asyncio.Lock()

    async def get(self, instance_id: str, path: Path) -> GuestAgent:
        """The connection there is, or a new one by the port at `path`, which has one at a time. Raises AgentError if
        there is no port."""
        async with self._opening:
            if instance_id not in self._open or self._open[instance_id].gone:
                self.drop(instance_id)
                try:
                    self._open[instance_id] = await GuestAgent.connect(path)
                except OSError as error:
                    raise AgentError(f"there is no port to the guest's agent: {error.strerror}") from error
            return self._open[instance_id]

    def drop(self, instance_id: str) -> None:
        agent = self._open.pop(instance_id, None)
        if agent is not None:
            agent.close()


@contextlib.asynccontextmanager
async def _bounded(seconds_max: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds_max):
            yield
    except TimeoutError as error:
        raise AgentError("the guest's agent does not answer") from error
    except (OSError, EOFError, asyncio.LimitOverrunError) as error:
        raise AgentError("the guest's agent does not speak as one") from error


def _number(line: bytes) -> int | None:
    """What was returned, if a number was."""
    try:
        return msgspec.json.decode(line, type=_Number).value
    except (msgspec.MsgspecError, RecursionError):
        return None
