"""The resolver's packets: bounded in number and rate for each guest, for all are hostile.

Who asks is told by the VPC whose port the packet came in by, and the address in it. EC2's own names are answered here.
All others are asked of the resolvers of this machine, when there is a way to them: the cloud's namespace has one only
when the configuration names an uplink. Else they are refused at once, so that no guest waits, and no packet leaves.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import TypeAlias

import structlog

from freehold.host.allowance import Allowance
from freehold.host.resolver.message import Code, NoQuery, Query, read
from freehold.host.resolver.names import Vpc

log = structlog.get_logger()

# https://docs.aws.amazon.com/vpc/latest/userguide/AmazonDNS-concepts.html#vpc-dns-limits
GUEST_QUERIES_PER_SECOND = 1024
FORWARDED_MAX = 256
GUEST_FORWARDED_MAX = 64
_TRY_SECONDS = 2.0  # less than the 5 that stub resolvers wait, for two servers
_MESSAGE_BYTES_MAX = 65535
# The second is for machines whose first names systemd-resolved, which only the machine itself reaches.
_CONFIGURATIONS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))

Address: TypeAlias = tuple[str, int]


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
        who: Callable[[tuple[str, str]], Vpc | None],
        upstream: Callable[[], Sequence[Address]] = resolvers_of_this_machine,
    ) -> None:
        self._who = who
        self._upstream = upstream
        self._tasks: set[asyncio.Task[None]] = set()
        self._forwarded: Counter[tuple[str, str]] = Counter()
        self._allowances: dict[tuple[str, str], Allowance] = {}

    async def listen(self, vpc_id: str, bound: socket.socket) -> asyncio.DatagramTransport:
        """Answer the guests of a VPC, until the transport is closed."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Port(self, vpc_id), sock=bound)
        return transport

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def forget_all_but(self, callers: Iterable[tuple[str, str]]) -> None:
        """Remember nothing of guests that are gone."""
        for caller in self._allowances.keys() - set(callers):
            del self._allowances[caller]

    def received(self, vpc_id: str, message: bytes, peer: Address, transport: asyncio.DatagramTransport) -> None:
        caller = (vpc_id, peer[0])
        vpc = self._who(caller)
        if vpc is None:
            return
        now = time.monotonic()
        allowance = self._allowances.setdefault(
            caller, Allowance(GUEST_QUERIES_PER_SECOND, GUEST_QUERIES_PER_SECOND, now)
        )
        if not allowance.take(now):
            return
        try:
            query = read(message)
        except NoQuery:
            return
        answer = vpc.answer(query)
        if answer is not None:
            transport.sendto(answer, peer)
        elif len(self._tasks) >= FORWARDED_MAX or self._forwarded[caller] >= GUEST_FORWARDED_MAX:
            transport.sendto(query.answer(Code.SERVER_FAILURE), peer)
        else:
            self._forwarded[caller] += 1
            task = asyncio.create_task(self._forward(query, message, peer, transport))
            self._tasks.add(task)
            task.add_done_callback(lambda done: self._done(caller, done))

    def _done(self, caller: tuple[str, str], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._forwarded[caller] -= 1
        if not self._forwarded[caller]:
            del self._forwarded[caller]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a query was not forwarded", vpc=caller[0], address=caller[1], exc_info=error)

    async def _forward(self, query: Query, message: bytes, peer: Address, transport: asyncio.DatagramTransport) -> None:
        code = Code.REFUSED
        for server in self._upstream():
            try:
                async with asyncio.timeout(_TRY_SECONDS):
                    answer = await _ask(query, message, server)
            except TimeoutError:
                code = Code.SERVER_FAILURE
            except OSError:
                continue  # there is no way to it
            else:
                transport.sendto(answer, peer)
                return
        transport.sendto(query.answer(code), peer)


class _Port(asyncio.DatagramProtocol):
    def __init__(self, resolver: Resolver, vpc_id: str) -> None:
        self._resolver = resolver
        self._vpc_id = vpc_id

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._resolver.received(self._vpc_id, data, addr, self._transport)


async def _ask(query: Query, message: bytes, server: Address) -> bytes:
    """What a server answers, under the number that the guest gave its query: it is asked under one that nobody can
    guess. Raises OSError."""
    loop, number = asyncio.get_running_loop(), secrets.randbits(16)
    with socket.socket(type=socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        asking.connect(server)
        await loop.sock_sendall(asking, number.to_bytes(2, "big") + message[2:])
        while True:
            answer = await loop.sock_recv(asking, _MESSAGE_BYTES_MAX)
            if query.is_answered_by(answer, number):
                return query.number.to_bytes(2, "big") + answer[2:]
