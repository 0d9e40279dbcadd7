"""What the names of EC2 mean within a VPC.

A private name stands for the address in it. A public name stands for the private address of the server that has it
when that is in the same VPC, else for the address in it: so servers of one VPC reach each other without leaving it.
https://docs.aws.amazon.com/vpc/latest/userguide/AmazonDNS-concepts.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from freehold.dns_names import private_dns_name, private_domain, public_dns_name, public_domain
from freehold.host.resolver.message import Code, Kind, Query, name_data

_HOST = re.compile(r"(ip|ec2)-([0-9]{1,3}-[0-9]{1,3}-[0-9]{1,3}-[0-9]{1,3})")
_REVERSE = ".in-addr.arpa"


@dataclass(frozen=True, slots=True)
class Vpc:
    """What the resolver knows of a VPC. `private_ips`: public addresses of its servers → their own."""

    region: str
    cidr: IPv4Network
    private_ips: Mapping[IPv4Address, IPv4Address]

    def answer(self, query: Query) -> bytes | None:
        """The answer to a query of a guest; None for a name that is none of EC2's."""
        name = query.name
        if name.endswith(_REVERSE):
            return self._reverse(query, name.removesuffix(_REVERSE))
        host, _, domain = name.partition(".")
        if domain == private_domain(self.region):
            address = _address("ip", host)
            if address is None or address not in self.cidr:
                return query.answer(Code.NO_SUCH_NAME)
            return _only(query, Kind.A, address.packed)
        if domain == public_domain(self.region) and (address := _address("ec2", host)) is not None:
            return _only(query, Kind.A, self.private_ips.get(address, address).packed)
        if name == private_domain(self.region):
            return query.answer(Code.NO_ERROR)
        if name.endswith(f".{private_domain(self.region)}"):
            return query.answer(Code.NO_SUCH_NAME)
        return None

    def _reverse(self, query: Query, reversed_address: str) -> bytes | None:
        address = _ipv4(".".join(reversed(reversed_address.split("."))))
        if address is None:
            return None
        if address in self.cidr:
            return _only(query, Kind.PTR, name_data(private_dns_name(self.region, str(address))))
        if address in self.private_ips:
            return _only(query, Kind.PTR, name_data(public_dns_name(self.region, str(address))))
        return query.answer(Code.NO_SUCH_NAME) if address.is_private else None


def _only(query: Query, kind: Kind, data: bytes) -> bytes:
    """The answer to a query of a name that has this one record."""
    return query.answer(Code.NO_ERROR, (kind, data) if query.kind in (kind, Kind.ANY) else None)


def _address(prefix: str, host: str) -> IPv4Address | None:
    found = _HOST.fullmatch(host)
    return _ipv4(found[2].replace("-", ".")) if found is not None and found[1] == prefix else None


def _ipv4(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except AddressValueError:
        return None
