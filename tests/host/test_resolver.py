"""The resolver: EC2's names for any text, and real packets to and fro over the loopback."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv4Network
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.host.allowance import Allowance
from freehold.host.resolver import server
from freehold.host.resolver.message import Code, Kind, NoQuery, Query, name_data, read
from freehold.host.resolver.names import Vpc
from freehold.host.resolver.server import Address, Resolver
from tests.host.dns import heard, query

PUBLIC, PRIVATE = IPv4Address("203.0.113.5"), IPv4Address("10.0.1.20")
VPC = Vpc("us-east-1", IPv4Network("10.0.0.0/16"), {PUBLIC: PRIVATE})
AAAA = 28


def answered(name: str, kind: int = Kind.A, vpc: Vpc = VPC) -> tuple[Code, bytes | None] | None:
    answer = vpc.answer(read(query(name, kind)))
    return None if answer is None else heard(answer)


NOTHING, NO_NAME = (Code.NO_ERROR, None), (Code.NO_SUCH_NAME, None)


def test_the_names_of_ec2() -> None:
    for name, kind, expected in (
        ("ip-10-0-1-20.ec2.internal", Kind.A, (Code.NO_ERROR, PRIVATE.packed)),
        ("IP-10-0-1-20.EC2.internal", Kind.A, (Code.NO_ERROR, PRIVATE.packed)),
        ("ip-10-0-1-20.ec2.internal", AAAA, NOTHING),
        ("ip-10-0-1-20.ec2.internal", Kind.ANY, (Code.NO_ERROR, PRIVATE.packed)),
        ("ip-10-1-1-20.ec2.internal", Kind.A, NO_NAME),
        ("ip-10-0-1-256.ec2.internal", Kind.A, NO_NAME),
        ("ec2-10-0-1-20.ec2.internal", Kind.A, NO_NAME),
        ("www.example.com.ec2.internal", Kind.A, NO_NAME),
        ("ec2.internal", Kind.A, NOTHING),
        ("20.1.0.10.in-addr.arpa", Kind.PTR, (Code.NO_ERROR, name_data("ip-10-0-1-20.ec2.internal"))),
        ("20.1.0.192.in-addr.arpa", Kind.PTR, None),
        ("20.1.1.10.in-addr.arpa", Kind.PTR, NO_NAME),
        ("1.0.10.in-addr.arpa", Kind.PTR, None),
        ("5.113.0.203.in-addr.arpa", Kind.PTR, (Code.NO_ERROR, name_data("ec2-203-0-113-5.compute-1.amazonaws.com"))),
        ("ec2-203-0-113-5.compute-1.amazonaws.com", Kind.A, (Code.NO_ERROR, PRIVATE.packed)),
        ("ec2-203-0-113-6.compute-1.amazonaws.com", Kind.A, (Code.NO_ERROR, b"\xcb\x00\x71\x06")),
        ("sts.compute-1.amazonaws.com", Kind.A, None),
        ("www.example.com", Kind.A, None),
    ):
        assert answered(name, kind) == expected, (name, kind)
    europe = Vpc("eu-west-1", VPC.cidr, VPC.private_ips)
    assert answered("ip-10-0-1-20.eu-west-1.compute.internal", vpc=europe) == (Code.NO_ERROR, PRIVATE.packed)
    assert answered("ip-10-0-1-20.ec2.internal", vpc=europe) is None


@given(st.ip_addresses(v=4, network="10.0.0.0/16"))
def test_every_address_of_the_vpc_has_a_name_and_back(address: IPv4Address) -> None:
    reverse = answered(address.reverse_pointer, Kind.PTR)
    assert reverse is not None
    name = read(b"\0" * 4 + b"\0\1" + b"\0" * 6 + (reverse[1] or b"") + b"\0\1\0\1").name
    assert answered(name) == (Code.NO_ERROR, address.packed)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_query_or_none(message: bytes) -> None:
    for text in (message, struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + message):
        try:
            found = read(text)
        except NoQuery:
            continue
        assert text[12:].startswith(found.question)
        answer = VPC.answer(found) or found.answer(Code.REFUSED)
        assert answer[:2] == text[:2]
        assert answer[12:].startswith(found.question)


def test_a_dot_within_a_label_is_none() -> None:
    sneaky = struct.pack(">HHHHHH", 7, 0, 1, 0, 0, 0) + b"\x19ip-10-0-1-20.ec2.internal\0" + struct.pack(">HH", 1, 1)
    assert VPC.answer(read(sneaky)) is None


class Upstream:
    """A resolver of the outside world, by packets and connections: says of every name that it is 192.0.2.1, after a
    forged answer, or nothing."""

    def __init__(self, *, silent: bool = False) -> None:
        self.connections = socket.create_server(("127.0.0.1", 0))
        self.address: Address = self.connections.getsockname()
        self.packets = socket.socket(type=socket.SOCK_DGRAM)
        self.packets.bind(self.address)
        self.asked: list[str] = []
        self._silent = silent
        self._threads = [threading.Thread(target=each) for each in (self._serve_packets, self._serve_connections)]
        for thread in self._threads:
            thread.start()

    def _answers(self, message: bytes) -> list[bytes]:
        asked = read(message)
        self.asked.append(asked.name)
        forged = Query(asked.number ^ 1, asked.flags, asked.name, asked.kind, asked.question)
        given = [(forged, b"\6\6\6\6"), (asked, b"\xc0\0\2\1")]
        return [] if self._silent else [each.answer(Code.NO_ERROR, (Kind.A, data)) for each, data in given]

    def _serve_packets(self) -> None:
        while True:
            message, peer = self.packets.recvfrom(4096)
            if not message:
                return
            for answer in self._answers(message):
                self.packets.sendto(answer, peer)

    def _serve_connections(self) -> None:
        while True:
            connection, _ = self.connections.accept()
            with connection:
                message = connection.recv(4096)
                if not message:
                    return
                for answer in self._answers(message[2:]):
                    connection.sendall(len(answer).to_bytes(2, "big") + answer)

    def close(self) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.address)
        socket.create_connection(self.address).close()
        for thread in self._threads:
            thread.join()
        self.packets.close()
        self.connections.close()


Ask: TypeAlias = "Callable[[bytes], Awaitable[bytes]]"


def talk(upstream: list[Address], conversation: Callable[[Ask], Awaitable[None]]) -> None:
    """A conversation of the guest 127.0.0.1 with a resolver, by packets, and once more by a connection."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        resolver = Resolver(lambda caller: VPC if caller == ("vpc-1", "127.0.0.1") else None, lambda: upstream)
        connections = socket.create_server(("127.0.0.1", 0))
        packets = socket.socket(type=socket.SOCK_DGRAM)
        packets.bind(connections.getsockname())
        listening = await resolver.listen("vpc-1", packets, connections)
        reader, writer = await asyncio.open_connection(*connections.getsockname())
        with socket.socket(type=socket.SOCK_DGRAM) as guest:
            guest.setblocking(False)
            guest.connect(packets.getsockname())

            async def ask_by_packet(message: bytes) -> bytes:
                await loop.sock_sendall(guest, message)
                return await asyncio.wait_for(loop.sock_recv(guest, 4096), 10)

            async def ask_by_connection(message: bytes) -> bytes:
                writer.write(len(message).to_bytes(2, "big") + message)
                length = int.from_bytes(await asyncio.wait_for(reader.readexactly(2), 10), "big")
                return await reader.readexactly(length)

            for ask in (ask_by_packet, ask_by_connection):
                await conversation(ask)
        writer.close()
        for each in listening:
            each.close()
        await resolver.close()

    asyncio.run(run())


def test_other_names_are_asked_of_the_machine_s_resolvers() -> None:
    upstream = Upstream()

    async def conversation(ask: Ask) -> None:
        assert heard(await ask(query("ip-10-0-1-20.ec2.internal"))) == (Code.NO_ERROR, PRIVATE.packed)
        assert heard(await ask(query("www.example.com"))) == (Code.NO_ERROR, b"\xc0\0\2\1"), "and not the forged one"

    try:
        talk([upstream.address], conversation)
    finally:
        upstream.close()
    assert upstream.asked == ["www.example.com"] * 2, "own names are nobody else's business"


def test_without_a_way_out_other_names_are_refused_at_once() -> None:
    async def conversation(ask: Ask) -> None:
        assert heard(await ask(query("www.example.com"))) == (Code.REFUSED, None)

    for upstream in ([], [("255.255.255.255", 53)]):  # the second: the kernel refuses to send there
        talk(upstream, conversation)


def test_a_resolver_that_is_silent_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_TRY_SECONDS", 0.1)
    upstream = Upstream(silent=True)

    async def conversation(ask: Ask) -> None:
        assert heard(await ask(query("www.example.com"))) == (Code.SERVER_FAILURE, None)

    try:
        talk([upstream.address], conversation)
    finally:
        upstream.close()


@given(st.integers(1, 50), st.integers(1, 100), st.floats(0, 5))
def test_a_guest_may_ask_so_often(per_second: int, burst: int, pause: float) -> None:
    allowance = Allowance(per_second, burst, now=100.0)
    assert sum(allowance.take(100.0) for _ in range(2 * burst)) == burst
    later = sum(allowance.take(100.0 + pause) for _ in range(2 * burst))
    assert later == min(burst, int(((100.0 + pause) - 100.0) * per_second))
