"""The resolver's packets and connections: bounded in number and rate for each guest, for all are hostile.

Who asks is told by the VPC whose port they came in by, and the address in it. EC2's own names are answered here.
All others are asked of the resolvers of this machine, when there is a way to them: the cloud's namespace has one only
when the configuration names an uplink. Else they are refused at once, so that no guest waits, and no packet leaves.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import Any, TypeAlias

import structlog

from freehold.host.allowance import Allowance
from freehold.host.resolver.message import Code, NoQuery, Query, read
from freehold.host.resolver.names import Vpc

log = structlog.get_logger()

# https://docs.aws.amazon.com/vpc/latest/userguide/AmazonDNS-concepts.html#vpc-dns-limits
GUEST_QUERIES_PER_SECOND = 1024
FORWARDED_MAX = 256
GUEST_FORWARDED_MAX = 64
CONNECTIONS_MAX = 256
GUEST_CONNECTIONS_MAX = 16
_CONNECTION_SECONDS = 10.0
_TRY_SECONDS = 2.0  # less than the 5 that stub resolvers wait, for two servers
_MESSAGE_BYTES_MAX = 65535
# The second is for machines whose first names systemd-resolved, which only the machine itself reaches.
_CONFIGURATIONS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))

Address: TypeAlias = tuple[str, int]
Caller: TypeAlias = tuple[str, str]  # VPC, address in it
_Ask: TypeAlias = Callable[[Query, int, bytes, Address], Awaitable[bytes]]


def resolvers_of_this_machine() -> list[Address]:
    """At most two, and none that only the machine itself reaches."""
    for path in _CONFIGURATIONS:
        try:
            lines = path.read_text(errors="replace").splitlines()
        except OSError:
            continue
        words = (line.split() for line in lines)
        named = (each[1] for each in words if len(each) > 1 and each[0] == "nameserver")
        if reachable := [(text, 53) for text in named if _reachable(text)]:
            return reachable[:2]
    return []


def _reachable(text: str) -> bool:
    try:
        return not IPv4Address(text).is_loopback
    except AddressValueError:
        return False


class Resolver:
    """`who` gives the VPC of a guest, by its VPC's id and its address, None for nobody known; `upstream` the resolvers
    to ask for others' names."""

    def __init__(
        self,
        who: Callable[[Caller], Vpc | None],
        upstream: Callable[[], Sequence[Address]] = resolvers_of_this_machine,
    ) -> None:
        self._who = who
        self._upstream = upstream
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: Counter[Caller] = Counter()
        self._forwarded: Counter[Caller] = Counter()
        self._allowances: dict[Caller, Allowance] = {}

    async def listen(
        self, vpc_id: str, packets: socket.socket, connections: socket.socket
    ) -> tuple[asyncio.DatagramTransport, asyncio.Server]:
        """Answer the guests of a VPC, until what is returned is closed."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Port(self, vpc_id), sock=packets)
        return transport, await asyncio.start_server(partial(self._accept, vpc_id), sock=connections)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def forget_all_but(self, callers: Iterable[Caller]) -> None:
        """Remember nothing of guests that are gone."""
        for caller in self._allowances.keys() - set(callers):
            del self._allowances[caller]

    def received(self, vpc_id: str, message: bytes, peer: Address, transport: asyncio.DatagramTransport) -> None:
        caller = (vpc_id, peer[0])
        query, answer = self._own_answer(caller, message)
        if answer is not None:
            transport.sendto(answer, peer)
        elif query is not None:
            self._begin(caller, self._forward_packet(caller, query, message, peer, transport))

    def _own_answer(self, caller: Caller, message: bytes) -> tuple[Query | None, bytes | None]:
        """The query that a guest sent, if it is one and it may ask now, and the answer to it, if that is known here."""
        vpc = self._who(caller)
        if vpc is None:
            return None, None
        now = time.monotonic()
        fresh = Allowance(GUEST_QUERIES_PER_SECOND, GUEST_QUERIES_PER_SECOND, now)
        if not self._allowances.setdefault(caller, fresh).take(now):
            return None, None
        try:
            query = read(message)
        except NoQuery:
            return None, None
        return query, vpc.answer(query)

    def _accept(self, vpc_id: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        caller = (vpc_id, peer[0] if peer else "")  # no peer: it has gone again
        busy = self._connections.total() >= CONNECTIONS_MAX or self._connections[caller] >= GUEST_CONNECTIONS_MAX
        if busy or self._who(caller) is None:
            writer.transport.abort()
            return
        self._begin(caller, self._converse(caller, reader, writer))

    async def _converse(self, caller: Caller, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One query after the other, each behind its length (RFC 7766)."""
        self._connections[caller] += 1
        try:
            async with asyncio.timeout(_CONNECTION_SECONDS):
                while True:
                    message = await _read_message(reader)
                    query, answer = self._own_answer(caller, message)
                    if query is None:
                        return
                    if answer is None:
                        answer = await self._forwarded_answer(caller, query, message, _ask_by_stream)
                    _write_message(writer, answer)
                    await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass  # it said all that it had to say
        finally:
            writer.transport.abort()
            _count_down(self._connections, caller)

    def _begin(self, caller: Caller, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, caller))

    def _done(self, caller: Caller, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a query was not answered", vpc=caller[0], address=caller[1], exc_info=error)

    async def _forward_packet(
        self, caller: Caller, query: Query, message: bytes, peer: Address, transport: asyncio.DatagramTransport
    ) -> None:
        transport.sendto(await self._forwarded_answer(caller, query, message, _ask_by_packet), peer)

    async def _forwarded_answer(self, caller: Caller, query: Query, message: bytes, ask: _Ask) -> bytes:
        """What the machine's resolvers answer, or why they do not."""
        if self._forwarded.total() >= FORWARDED_MAX or self._forwarded[caller] >= GUEST_FORWARDED_MAX:
            return query.answer(Code.SERVER_FAILURE)
        self._forwarded[caller] += 1
        code = Code.REFUSED
        try:
            for server in self._upstream():
                # Asked under a number that nobody can guess.
                number = secrets.randbits(16)
                try:
                    async with asyncio.timeout(_TRY_SECONDS):
                        answer = await ask(query, number, number.to_bytes(2, "big") + message[2:], server)
                except (TimeoutError, asyncio.IncompleteReadError):
                    code = Code.SERVER_FAILURE
                except OSError:
                    continue  # there is no way to it
                else:
                    return query.number.to_bytes(2, "big") + answer[2:]
        finally:
            _count_down(self._forwarded, caller)
        return query.answer(code)


class _Port(asyncio.DatagramProtocol):
    def __init__(self, resolver: Resolver, vpc_id: str) -> None:
        self._resolver = resolver
        self._vpc_id = vpc_id

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._resolver.received(self._vpc_id, data, addr, self._transport)


def _count_down(counter: Counter[Caller], caller: Caller) -> None:
    counter[caller] -= 1
    if not counter[caller]:
        del counter[caller]


async def _ask_by_packet(query: Query, number: int, message: bytes, server: Address) -> bytes:
    """What a server answers to a message with this number. Raises OSError."""
    loop = asyncio.get_running_loop()
    with socket.socket(type=socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        asking.connect(server)
        await loop.sock_sendall(asking, message)
        while True:
            answer = await loop.sock_recv(asking, _MESSAGE_BYTES_MAX)
            if query.is_answered_by(answer, number):
                return answer


async def _ask_by_stream(query: Query, number: int, message: bytes, server: Address) -> bytes:
    """The same by a connection."""
    reader, writer = await asyncio.open_connection(*server)
    try:
        _write_message(writer, message)
        while True:
            answer = await _read_message(reader)
            if query.is_answered_by(answer, number):
                return answer
    finally:
        writer.transport.abort()


def _write_message(writer: asyncio.StreamWriter, message: bytes) -> None:
    writer.write(len(message).to_bytes(2, "big") + message)


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
