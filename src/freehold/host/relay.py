"""The way of guests to the API of their cloud: 169.254.169.254, port 4600, relayed to the front door.

    guest ── OVN ── fm… ══ fi…  the agent ── mutual TLS over a Unix socket ── front door

A guest has no way out of its VPC that its owner did not open, and needs none for this. The agent reads nothing of what
it relays; it says first in whose name it does (`Origin`), which it knows by the link and the address, so that policies
may ask of it (aws:SourceVpc, aws:VpcSourceIp). Who calls is proven by the signature, as everywhere.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable

import structlog

from freehold.host.security import CONTROL, link_security
from freehold.host.wire import GuestSpec, Origin, encode
from freehold.paths import Paths

log = structlog.get_logger()

CONNECTIONS_MAX = 256  # of all guests: fewer than the front door keeps for the network
GUEST_CONNECTIONS_MAX = 16
_CONNECT_SECONDS = 5.0
_CLOSE_SECONDS = 10.0  # for a guest to take the end of an answer
_STALLED_SECONDS = 60  # that a guest may leave an answer untaken
_SECURITY_SECONDS = 600.0  # certificates are renewed

Caller = tuple[str, str]  # VPC, address in it


class _End(asyncio.Protocol):
    """One end of a relayed connection: what comes in by it goes out by the other, as fast as that takes it."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert self.other is not None  # until then nothing is read
        self.other.write(data)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            self.other.close()  # when what was written to it is sent
            asyncio.get_running_loop().call_later(_CLOSE_SECONDS, self.other.abort)


class _GuestEnd(_End):
    """A guest's own connection."""

    def __init__(self, relay: Relay, vpc_id: str) -> None:
        super().__init__()
        self._relay = relay
        self._vpc_id = vpc_id
        self.caller: Caller | None = None  # of one that is counted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._relay.begin(self, self._vpc_id)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._relay.ended(self)


class Relay:
    """`who` names the guest that has an address in a VPC."""

    def __init__(self, paths: Paths, who: Callable[[Caller], GuestSpec | None]) -> None:
        self._paths = paths
        self._who = who
        self._ends: set[_GuestEnd] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._connections: Counter[Caller] = Counter()
        self._security: tuple[ssl.SSLContext, float] | None = None

    async def listen(self, vpc_id: str, listener: socket.socket) -> asyncio.Server:
        """Relay for the guests of a VPC, until the server is closed."""
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: _GuestEnd(self, vpc_id), sock=listener)

    async def close(self) -> None:
        """Drop all connections."""
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for end in self._ends:
            for transport in (end.transport, end.other):
                if transport is not None:
                    transport.abort()

    def begin(self, end: _GuestEnd, vpc_id: str) -> None:
        """A guest has connected: refuse it, or begin to open the way to the front door."""
        assert end.transport is not None
        peer = end.transport.get_extra_info("peername")
        caller = (vpc_id, peer[0] if peer else "")  # no peer: it has gone again
        spec = self._who(caller)
        if spec is None or len(self._ends) >= CONNECTIONS_MAX or self._connections[caller] >= GUEST_CONNECTIONS_MAX:
            end.transport.abort()
            return
        end.caller = caller
        self._ends.add(end)
        self._connections[caller] += 1
        end.transport.pause_reading()
        connection = end.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALLED_SECONDS * 1000)
        task = asyncio.create_task(self._open(end, Origin(vpc_id, spec.instance_id, caller[1])))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def ended(self, end: _GuestEnd) -> None:
        """A guest's connection is no more."""
        self._ends.discard(end)
        if end.caller is not None:
            self._connections[end.caller] -= 1
            if not self._connections[end.caller]:
                del self._connections[end.caller]

    async def _open(self, end: _GuestEnd, origin: Origin) -> None:
        guest = end.transport
        assert guest is not None
        door = _End()
        door.other = guest
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                loop = asyncio.get_running_loop()
                await loop.create_unix_connection(
                    lambda: door, str(self._paths.guest_door), ssl=self._context(), server_hostname=CONTROL
                )
        except (OSError, TimeoutError) as error:
            log.warning("the front door does not take a guest's connection", error=str(error) or type(error).__name__)
            guest.abort()
            return
        assert door.transport is not None
        door.transport.write(encode(origin))
        end.other = door.transport
        if guest.is_closing():
            door.transport.abort()
        guest.resume_reading()

    def _context(self) -> ssl.SSLContext:
        now = time.monotonic()
        if self._security is None or now - self._security[1] > _SECURITY_SECONDS:
            self._security = (link_security(self._paths.pki), now)
        return self._security[0]
