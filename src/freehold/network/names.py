"""The names and addresses of a cloud's network: all follow from its data directory and its configuration."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from freehold.paths import namespace_of

BR_INT = "br-int"
BR_EX = "br-ex"
API_PORT = 4600
"""Of the metadata service's address: there the guests of a VPC reach the API of their cloud, by plain HTTP."""
PHYSICAL_NETWORK = "public"  # OVN's name for what br-ex carries


class OperatorError(Exception):
    """Something the operator has to change; the message says in one sentence what is wrong and what to do."""


class PoolTaken(OperatorError):
    """The machine reaches addresses of a public pool already, by something that is not the cloud's."""


def mac_of(name: str) -> str:
    """The MAC address of a port that is the cloud's own: ``02:`` and the first 5 bytes of the name's SHA-256."""
    return (b"\x02" + hashlib.sha256(name.encode()).digest()[:5]).hex(":")


def imds_port(vpc_id: str) -> tuple[str, str]:
    """Name (the `iface-id` that a host gives its end) and MAC address of the metadata port of a VPC.

    The host's end has the address 169.254.169.254/24 and routes everything by 169.254.169.1.
    """
    name = f"imds-{vpc_id}"
    return name, mac_of(name)


@dataclass(frozen=True, slots=True)
class CloudNetwork:
    """`tag` is the cloud's (`freehold.paths.Paths.tag`). `pool`: public addresses. `link_range`: what VPC routers have
    on the public network. `uplink`: the machine's interface by which guests may reach the outside world, None = they
    may not."""

    tag: str
    pool: IPv4Network
    link_range: IPv4Network
    uplink: str | None = None

    def __post_init__(self) -> None:
        if self.pool.prefixlen > 29:
            raise OperatorError(
                f"The public pool {self.pool} is too small: name a network of at least 8 addresses (/29) as "
                "network.public_pool in freehold.toml."
            )
        if self.pool.is_loopback or self.pool.is_link_local or self.pool.is_multicast or self.pool.is_unspecified:
            raise OperatorError(
                f"The public pool {self.pool} has no addresses that a server may have: name another network, such as "
                "203.0.113.0/24, as network.public_pool in freehold.toml."
            )
        if self.pool.overlaps(self.link_range):
            raise OperatorError(
                f"The link range {self.link_range} overlaps the public pool {self.pool}: name another network as "
                "network.link_range in freehold.toml."
            )

        if self.uplink is not None and not re.fullmatch(r"[A-Za-z0-9._-]{1,15}", self.uplink):
            raise OperatorError(f"network.uplink in freehold.toml is not the name of an interface: {self.uplink!r}.")

    @property
    def namespace(self) -> str:
        return namespace_of(self.tag)

    @property
    def chassis(self) -> str:
        """The system-id of the Open vSwitch whose br-ex carries the public network."""
        return f"fh{self.tag}"

    @property
    def outer(self) -> str:
        """The machine's end of the link to the cloud."""
        return f"fh{self.tag}h"

    @property
    def inner(self) -> str:
        """The cloud's end of the link."""
        return f"fh{self.tag}n"

    @property
    def gateway(self) -> IPv4Address:
        """The pool's first address: the cloud's end of the link."""
        return self.pool[1]

    @property
    def machine(self) -> IPv4Address:
        """The pool's second address: the machine, as guests see it."""
        return self.pool[2]

    @property
    def link_gateway(self) -> IPv4Address:
        """The first address of the link range: br-ex, by which VPC routers reach everything else."""
        return self.link_range[1]
