"""Links of the metadata service and the resolver: for each VPC a veth from Open vSwitch to their own addresses.

    guest ── OVN ── br-int ── fm… ══ fi…  169.254.169.254, .253 ── the agent

The addresses are on every link, and guests of different VPCs may have the same one: a listener hears one link only, and
the kernel keeps connections of different links apart. An answer leaves by the link that its socket is bound to. Like
taps, links outlive the agent, so that Open vSwitch sees one unbroken interface.
"""

from __future__ import annotations

import socket
from functools import partial

from freehold.host.commands import ip, run, together
from freehold.host.layout import metadata_link
from freehold.host.machine import Machine
from freehold.host.ports import taps
from freehold.network.names import imds_port

ADDRESS = "169.254.169.254"
RESOLVER = "169.254.169.253"
_BOTH = "169.254.169.252/30"
_ROUTER = "169.254.169.1"
_PORT, _DNS_PORT = 80, 53
_BACKLOG = 64
_PREFIX, _INNER_PREFIX = "fm", "fi"
_TABLE = "16925"  # of routes, and the priority of the rule that leads to it

# Connections of two VPCs may look the same to the firewall of the namespace, which need not know them.
_UNTRACKED = (
    "add table inet freehold-metadata",
    "add chain inet freehold-metadata in { type filter hook prerouting priority raw; }",
    "add chain inet freehold-metadata out { type filter hook output priority raw; }",
    "flush table inet freehold-metadata",
    f'add rule inet freehold-metadata in iifname "{_INNER_PREFIX}*" ip daddr {_BOTH} notrack',
    f"add rule inet freehold-metadata out ip saddr {_BOTH} notrack",
)


async def prepare(machine: Machine) -> None:
    """Have what all links need: a routing table of their own, and no connection tracking."""

    async def prepare_routes() -> None:
        rule = ("priority", _TABLE)
        if _BOTH.encode() not in await run(("ip", "rule", "show", *rule)):
            await run(("ip", "rule", "add", "from", _BOTH, "lookup", _TABLE, *rule))
        await run(("nft", "; ".join(_UNTRACKED)))

    await machine.effects.perform("prepare metadata links", prepare_routes)


async def make(machine: Machine, vpc_id: str) -> None:
    """Have the link of a VPC, plugged into Open vSwitch."""

    async def make_link() -> None:
        await _make(machine.layout.tag, vpc_id)

    async def plug() -> None:
        port, _mac = imds_port(vpc_id)
        await machine.vswitch.plug(metadata_link(vpc_id), port, vpc_id)

    await machine.effects.perform("make metadata link", make_link)
    await machine.effects.perform("plug metadata link", plug)


async def remove(machine: Machine, name: str) -> None:
    """Have no such link."""

    async def unplug() -> None:
        await machine.vswitch.unplug(name)

    await machine.effects.perform("unplug metadata link", unplug)
    await machine.effects.perform("remove metadata link", partial(taps.delete_link, name))


async def found(machine: Machine) -> frozenset[str]:
    """The links that there are, whoever made them: this namespace and this bridge are the cloud's own."""
    names = {name for _, name in socket.if_nameindex()} | await machine.vswitch.plugged()
    return frozenset(name for name in names if name.startswith(_PREFIX))


def listen(vpc_id: str, port: int = _PORT) -> socket.socket:
    """A listening socket for the guests of a VPC, which has its link. Raises OSError."""
    listener = _bound(vpc_id, socket.SOCK_STREAM, (ADDRESS, port))
    listener.listen(_BACKLOG)
    return listener


def hear(vpc_id: str) -> tuple[socket.socket, socket.socket]:
    """Sockets for the packets and the connections that the guests of a VPC, which has its link, send the resolver.

    Raises OSError."""
    packets = _bound(vpc_id, socket.SOCK_DGRAM, (RESOLVER, _DNS_PORT))
    try:
        connections = _bound(vpc_id, socket.SOCK_STREAM, (RESOLVER, _DNS_PORT))
    except OSError:
        packets.close()
        raise
    connections.listen(_BACKLOG)
    return packets, connections


def _bound(vpc_id: str, kind: socket.SocketKind, address: tuple[str, int]) -> socket.socket:
    bound = socket.socket(type=kind)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, _inner(vpc_id).encode())
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


async def _make(tag: str, vpc_id: str) -> None:
    outer, inner = metadata_link(vpc_id), _inner(vpc_id)
    _port, mac = imds_port(vpc_id)
    if not taps.exists(outer):
        await ip(f"link add name {outer} type veth peer name {inner} address {mac}")
    metric = socket.if_nametoindex(inner)  # to tell the links' default routes apart
    # Open vSwitch's own data path expects packets with their checksums made.
    checksums = run(("ethtool", "-K", inner, "tx", "off"))
    addresses = ip(
        f"address replace {ADDRESS}/32 dev {inner}",
        f"address replace {RESOLVER}/32 dev {inner}",
        f"link set dev {inner} up",
        f"route replace default via {_ROUTER} dev {inner} onlink table {_TABLE} metric {metric}",
        f'link set dev {outer} alias "freehold-{tag}-imds {vpc_id}" up',
    )
    await together(checksums, addresses)


def _inner(vpc_id: str) -> str:
    return _INNER_PREFIX + metadata_link(vpc_id).removeprefix(_PREFIX)
