"""The way of guests to the API of their cloud: 169.254.169.254, port 4600, relayed to the front door.

    guest ── OVN ── fm… ══ fi…  the agent ── mutual TLS over a Unix socket ── front door

A guest has no way out of its VPC that its owner did not open, and needs none for this. The agent reads nothing of what
it relays; it says first in whose name it does (`Origin`), which it knows by the link and the address, so that policies
may ask of it (aws:SourceVpc, aws:VpcSourceIp). Who calls is proven by the signature, as everywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import structlog

from freehold.host.security import CONTROL, link_security
from freehold.host.wire import GuestSpec, Origin, encode
from freehold.paths import Paths

log = structlog.get_logger()

CONNECTIONS_MAX = 256  # of all guests: fewer than the front door keeps for the network
GUEST_CONNECTIONS_MAX = 16
_CHUNK = 64 << 10
_CLOSE_SECONDS = 10.0
_CONNECT_SECONDS = 5.0
_SECURITY_SECONDS = 600.0  # certificates are renewed

Caller = tuple[str, str]  # VPC, address in it


class Relay:
    """`who` names the guest that has an address in a VPC."""

    def __init__(self, paths: Paths, who: Callable[[Caller], GuestSpec | None]) -> None:
        self._paths = paths
        self._who = who
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: Counter[Caller] = Counter()
        self._security: tuple[ssl.SSLContext, float] | None = None

    async def listen(self, vpc_id: str, listener: socket.socket) -> asyncio.Server:
        """Relay for the guests of a VPC, until the server is closed."""
        return await asyncio.start_server(partial(self._accept, vpc_id), sock=listener, limit=_CHUNK)

    async def close(self) -> None:
        """Drop all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, vpc_id: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        caller = (vpc_id, peer[0] if peer else "")  # no peer: it has gone again
        spec = self._who(caller)
        busy = len(self._tasks) >= CONNECTIONS_MAX or self._connections[caller] >= GUEST_CONNECTIONS_MAX
        if spec is None or busy:
            writer.transport.abort()
            return
        self._connections[caller] += 1
        task = asyncio.create_task(self._relay(Origin(vpc_id, spec.instance_id, caller[1]), reader, writer))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, caller, writer))

    def _ended(self, caller: Caller, writer: asyncio.StreamWriter, task: asyncio.Task[None]) -> None:
        writer.transport.abort()
        self._tasks.discard(task)
        self._connections[caller] -= 1
        if not self._connections[caller]:
            del self._connections[caller]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("relay failed", vpc=caller[0], address=caller[1], exc_info=error)

    async def _relay(self, origin: Origin, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                door_reader, door_writer = await asyncio.open_unix_connection(
                    self._paths.guest_door, ssl=self._context(), server_hostname=CONTROL, limit=_CHUNK
                )
        except (OSError, TimeoutError) as error:
            log.warning("the front door does not take a guest's connection", error=str(error) or type(error).__name__)
            return
        try:
            door_writer.write(encode(origin))
            ways = (
                asyncio.create_task(_copy(reader, door_writer)),
                asyncio.create_task(_copy(door_reader, writer)),
            )
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
            # What the front door said last is still on its way to the guest.
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    writer.close()
                    await writer.wait_closed()
        finally:
            door_writer.transport.abort()

    def _context(self) -> ssl.SSLContext:
        now = time.monotonic()
        if self._security is None or now - self._security[1] > _SECURITY_SECONDS:
            self._security = (link_security(self._paths.pki), now)
        return self._security[0]


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on until one of the two ends."""
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
