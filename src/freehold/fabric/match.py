"""OVN match expressions (ovn-sb(5), Logical_Flow.match), built from typed values only: no text of a tenant gets in."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network

from freehold.fabric.view import RuleView

_ID = re.compile(r"[a-z]{2,8}-[0-9a-f]{8,17}")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58


def symbol(resource_id: str) -> str:
    """A resource's id as the name of an OVN port group or address set, whose names allow no dash.

    Raises ValueError for anything but an id as Freehold makes them (``sg-0123456789abcdef0``).
    """
    if not _ID.fullmatch(resource_id):
        raise ValueError(f"not a resource id: {resource_id!r}")
    return resource_id.replace("-", "_")


def label(text: str) -> str:
    """`text`, when it is one DNS label in lower case (RFC 1123); else raises ValueError."""
    if not _LABEL.fullmatch(text):
        raise ValueError(f"not a DNS label: {text!r}")
    return text


def allowed(rule: RuleView, group: str) -> str | None:
    """What a security group rule lets through, for the members of the port group `group` (a symbol). None = nothing
    that a guest without IPv6 could send or get.

    Raises ValueError for a port, type or protocol out of range.
    """
    if rule.protocol == ICMPV6:
        return None
    near, far = ("inport", "ip4.dst") if rule.is_egress else ("outport", "ip4.src")
    terms = [f"{near} == @{group}", "ip4"]
    if rule.peer_group_id is not None:
        terms.append(f"{far} == ${symbol(rule.peer_group_id)}_ip4")
    elif rule.peer_network is None:
        return None
    elif rule.peer_network.prefixlen:
        terms.append(f"{far} == {network(rule.peer_network)}")
    return " && ".join(terms + _protocol(rule))


def network(value: IPv4Network | IPv4Address) -> str:
    if not isinstance(value, IPv4Network | IPv4Address):
        raise TypeError(f"not an IPv4 network: {value!r}")
    return str(value)


def _protocol(rule: RuleView) -> list[str]:
    match rule.protocol:
        case None:
            return []
        case 6 | 17:
            name = "tcp" if rule.protocol == TCP else "udp"
            low, high = rule.ports or (0, 65535)
            if not _number(low, 65535) <= _number(high, 65535):
                raise ValueError(f"not a range of ports: {low}-{high}")
            if (low, high) == (0, 65535):
                return [name]
            if low == high:
                return [f"{name}.dst == {low:d}"]
            return [f"{name}.dst >= {low:d}", f"{name}.dst <= {high:d}"]
        case 1:
            terms = ["icmp4"]
            if rule.icmp_type is not None:
                terms.append(f"icmp4.type == {_number(rule.icmp_type, 255):d}")
            if rule.icmp_code is not None:
                terms.append(f"icmp4.code == {_number(rule.icmp_code, 255):d}")
            return terms
        case number:
            return [f"ip.proto == {_number(number, 255):d}"]


def _number(value: int, highest: int) -> int:
    if not isinstance(value, int) or not 0 <= value <= highest:
        raise ValueError(f"not a number from 0 to {highest}: {value!r}")
    return value
