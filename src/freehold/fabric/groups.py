"""Security groups in OVN: a port group per group, an ACL per rule, and one port group of all interfaces that drops.

Stateful: what a rule lets through brings its replies with it. Metadata (and the API, on the same address), DNS and
DHCP are always reachable, as in AWS
(https://docs.aws.amazon.com/vpc/latest/userguide/vpc-security-groups.html).
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from freehold.fabric import match
from freehold.fabric.row import Ref, Row
from freehold.fabric.view import VpcView
from freehold.network.names import API_PORT

_ALWAYS, _RULE, _DROP = 3000, 2000, 1000


def rows(vpc: VpcView, imds: IPv4Address, resolver: IPv4Address) -> Iterator[Row]:
    """The groups of the VPC that have members, and what every interface of it may and may not."""
    members: dict[str, set[Ref]] = {}
    for port in vpc.ports:
        for group_id in port.group_ids:
            members.setdefault(group_id, set()).add(_port(port.interface_id))
    yield from _every_interface(vpc, imds, resolver)
    present = [group for group in vpc.groups if group.group_id in members]
    named = {group.group_id for group in present}
    for group in present:
        name = match.symbol(group.group_id)
        group_ref = Ref("Port_Group", group.group_id)
        yield Row(group_ref, {"name": name, "ports": frozenset(members[group.group_id])})
        for rule in group.rules:
            # A group without members has no addresses to let in, nor a name in OVN.
            if rule.peer_group_id is not None and rule.peer_group_id not in named:
                continue
            what = match.allowed(rule, name)
            if what is not None:
                yield _acl(group_ref, "from-lport" if rule.is_egress else "to-lport", _RULE, what, "allow-related")


def _every_interface(vpc: VpcView, imds: IPv4Address, resolver: IPv4Address) -> Iterator[Row]:
    name = f"all_{match.symbol(vpc.vpc_id)}"
    every = Ref("Port_Group", vpc.vpc_id)
    yield Row(every, {"name": name, "ports": frozenset(_port(port.interface_id) for port in vpc.ports)})
    sent, received = f"inport == @{name}", f"outport == @{name}"
    yield _acl(every, "from-lport", _ALWAYS, f"{sent} && ip4.dst == {imds} && tcp.dst == 80", "allow-related")
    yield _acl(every, "from-lport", _ALWAYS, f"{sent} && ip4.dst == {imds} && tcp.dst == {API_PORT}", "allow-related")
    for protocol in ("udp", "tcp"):
        query = f"{sent} && ip4.dst == {resolver} && {protocol}.dst == 53"
        yield _acl(every, "from-lport", _ALWAYS, query, "allow-related")
    yield _acl(every, "from-lport", _ALWAYS, f"{sent} && udp.src == 68 && udp.dst == 67", "allow-related")
    for direction, side in (("from-lport", sent), ("to-lport", received)):
        # ARP is held to the interface's own addresses by its port security. Everything else, IP or not, needs a rule.
        # (Two ACLs: OVN refuses `!arp`, by a line in a log of ovn-controller, and then lets all through.)
        yield _acl(every, direction, _ALWAYS, f"{side} && arp", "allow")
        yield _acl(every, direction, _DROP, side, "drop")


def _acl(group: Ref, direction: str, priority: int, what: str, action: str) -> Row:
    return Row(
        Ref("ACL", f"{group.key} {direction} {what}"),
        {"direction": direction, "priority": priority, "match": what, "action": action},
        parent=group,
    )


def _port(interface_id: str) -> Ref:
    return Ref("Logical_Switch_Port", interface_id)
