"""The rows of any VPC: no text but our own, no two of one name, and matches that mean what the rules say."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.fabric import match
from freehold.fabric.row import Ref, Row
from freehold.fabric.rows import rows
from freehold.fabric.view import GroupView, PortView, RuleView, VpcView
from tests.fabric.views import PUBLIC, group, port, vpc

quickly = settings(deadline=None, max_examples=100)

NUMBERS = st.integers(10, 20)
NETWORKS = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False),
    st.one_of(st.integers(0, 2**32 - 1), st.integers(int(IPv4Address("10.0.0.0")), int(IPv4Address("10.0.3.0")))),
    st.integers(0, 32),
)
PORT_RANGES = st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(lambda ends: (min(ends), max(ends)))


@st.composite
def rules(draw: st.DrawFn) -> RuleView:
    protocol = draw(st.sampled_from([None, 1, 6, 6, 17, 47, 58]))
    peer: Any = draw(st.one_of(NETWORKS, st.integers(1, 4).map(group), st.none()))
    icmp_type = draw(st.none() | st.integers(0, 255)) if protocol == 1 else None
    return RuleView(
        is_egress=draw(st.booleans()),
        protocol=protocol,
        ports=draw(st.none() | PORT_RANGES) if protocol in (6, 17) else None,
        icmp_type=icmp_type,
        icmp_code=draw(st.none() | st.integers(0, 255)) if icmp_type is not None else None,
        peer_network=peer if isinstance(peer, IPv4Network) else None,
        peer_group_id=peer if isinstance(peer, str) else None,
    )


@st.composite
def views(draw: st.DrawFn) -> VpcView:
    groups = tuple(
        GroupView(group(number), tuple(draw(st.lists(rules(), max_size=5))))
        for number in draw(st.sets(st.integers(1, 4)))
    )
    vpc_number = draw(st.integers(1, 200))
    names = [each.group_id for each in groups] or [group(1)]
    ports = tuple(
        port(
            number,
            tuple(draw(st.lists(st.sampled_from(names), max_size=3, unique=True))),
            public_ip=IPv4Address("198.51.100.0") + number if draw(st.booleans()) else None,
            source_dest_check=draw(st.booleans()),
            subnet=draw(st.sampled_from([1, 2])),
            vpc=vpc_number,
        )
        for number in draw(st.sets(NUMBERS, max_size=5))
    )
    return vpc(*ports, groups=groups, number=vpc_number, internet=draw(st.booleans()))


def matches(found: dict[Ref, Row]) -> list[str]:
    return [str(row.columns["match"]) for row in found.values() if "match" in row.columns]


@quickly
@given(views())
def test_the_same_view_gives_the_same_rows_and_each_once(view: VpcView) -> None:
    found = rows(view, PUBLIC)
    again = rows(replace(view), PUBLIC)
    assert list(found.items()) == list(again.items())
    assert all(ref == row.ref for ref, row in found.items())
    assert len({ref.uuid for ref in found}) == len(found)
    acls = [
        (row.parent, row.columns["direction"], row.columns["match"]) for row in found.values() if row.ref.table == "ACL"
    ]
    assert len(set(acls)) == len(acls)
    for name in ("Logical_Switch_Port", "Logical_Router_Port", "Port_Group", "Address_Set"):
        named = [row.columns["name"] for row in found.values() if row.ref.table == name]
        assert len(set(named)) == len(named)


@quickly
@given(views())
def test_what_a_row_refers_to_is_there(view: VpcView) -> None:
    found = rows(view, PUBLIC)
    shared = Ref("Logical_Switch", "freehold-public")
    for row in found.values():
        values = [row.parent, *row.columns.values()]
        each = [item for value in values for item in (value if isinstance(value, frozenset) else [value])]
        assert {item for item in each if isinstance(item, Ref)} <= {*found, shared}
    symbols = {str(row.columns["name"]) for row in found.values() if row.ref.table in ("Port_Group", "Address_Set")}
    for expression in matches(found):
        used = re.findall(r"[@$](\w+?)(?:_ip4)?\b", expression)
        assert set(used) <= symbols, expression


@quickly
@given(views())
def test_matches_have_no_characters_but_ours(view: VpcView) -> None:
    for expression in matches(rows(view, PUBLIC)):
        assert re.fullmatch(r'[a-z0-9_.@$=<>&|()"/ -]+', expression), expression


@pytest.mark.parametrize(
    "changes",
    [
        {"interface_id": 'eni-0123456789abcdef0" || 1'},
        {"interface_id": "eni-0123456789abcdef0\n"},
        {"mac_address": "0a:00:00:00:00:01 unknown"},
        {"mac_address": "0A:00:00:00:00:01"},
        {"hostname": 'a", "x'},
        {"hostname": "ip-10-0-1-1\n"},
        {"hostname": "ä"},
        {"private_ip": "10.0.1.1 unknown"},
        {"group_ids": ('sg-1" || ip4',)},
    ],
)
def test_text_that_is_no_name_of_ours_is_refused(changes: dict[str, Any]) -> None:
    hostile: PortView = replace(port(10), **changes)
    groups = tuple(GroupView(group_id, ()) for group_id in hostile.group_ids)
    with pytest.raises((ValueError, TypeError)):
        rows(vpc(hostile, groups=groups), PUBLIC)


@pytest.mark.parametrize(
    "changes",
    [
        {"ports": (1, 65536)},
        {"ports": (-1, 5)},
        {"ports": (6, 5)},
        {"ports": ("22 || 1", 22)},
        {"protocol": 256},
        {"protocol": "6"},
        {"protocol": 1, "icmp_type": 256},
        {"protocol": 1, "icmp_type": 3, "icmp_code": -1},
        {"peer_network": "0.0.0.0/0"},
        {"peer_network": None, "peer_group_id": "sg-1 || 1"},
    ],
)
def test_rules_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    rule = RuleView(False, 6, None, None, None, IPv4Network("10.0.0.0/8"), None)
    with pytest.raises((ValueError, TypeError, AttributeError)):
        match.allowed(replace(rule, **changes), "sg_1")


@dataclass(frozen=True)
class Packet:
    """What an IPv4 packet to or from a member of the group `sg` has; `peer_groups` are those of its other end."""

    is_egress: bool
    peer: IPv4Address
    peer_groups: frozenset[str]
    protocol: int
    port: int
    icmp: tuple[int, int]


PACKETS = st.builds(
    Packet,
    is_egress=st.booleans(),
    peer=st.integers(0, 2**32 - 1).map(IPv4Address) | st.integers(0, 1023).map(lambda n: IPv4Address("10.0.0.0") + n),
    peer_groups=st.frozensets(st.integers(1, 4).map(group)),
    protocol=st.sampled_from([1, 6, 17, 47, 50]),
    port=st.integers(0, 65535),
    icmp=st.tuples(st.integers(0, 255), st.integers(0, 255)),
)


def said(rule: RuleView, packet: Packet) -> bool:
    """Whether the rule lets the packet through, by the words of `RuleView`."""
    if rule.peer_group_id is not None:
        peer = rule.peer_group_id in packet.peer_groups
    else:
        peer = rule.peer_network is not None and packet.peer in rule.peer_network
    return (
        peer
        and rule.is_egress == packet.is_egress
        and rule.protocol in (None, packet.protocol)
        and (rule.protocol is None or rule.ports is None or rule.ports[0] <= packet.port <= rule.ports[1])
        and (rule.icmp_type is None or rule.icmp_type == packet.icmp[0])
        and (rule.icmp_code is None or rule.icmp_code == packet.icmp[1])
    )


def evaluated(expression: str, packet: Packet) -> bool:
    """The match of an ACL of the group `sg`, term by term as ovn-sb(5) gives them their meaning."""
    name = "tcp" if packet.protocol == 6 else "udp"
    fields: dict[str, Any] = {
        "ip.proto": packet.protocol,
        "inport": "@sg" if packet.is_egress else None,
        "outport": None if packet.is_egress else "@sg",
        "ip4.dst" if packet.is_egress else "ip4.src": packet.peer,
    }
    holds = {"ip4", {1: "icmp4", 6: "tcp", 17: "udp"}.get(packet.protocol, "")}
    if packet.protocol in (6, 17):
        fields[f"{name}.dst"] = packet.port
    if packet.protocol == 1:
        fields |= {"icmp4.type": packet.icmp[0], "icmp4.code": packet.icmp[1]}

    def term(text: str) -> bool:
        field, relation, value = (*text.split(" "), "", "")[:3]
        if not relation:
            return field in holds
        have = fields.get(field)
        if have is None:
            return False
        if value.startswith("$"):
            return value[1:] in {f"{match.symbol(each)}_ip4" for each in packet.peer_groups}
        if field.startswith("ip4."):
            return have in IPv4Network(value)
        if value.startswith("@"):
            return bool(have == value)
        number = int(value)
        return bool({"==": have == number, ">=": have >= number, "<=": have <= number}[relation])

    return all(term(text) for text in expression.split(" && "))


def test_every_guest_is_told_of_the_resolver_and_may_ask_it() -> None:
    made = rows(vpc(port(10)), PUBLIC)
    (options,) = (row.columns["options"] for ref, row in made.items() if ref.table == "DHCP_Options")
    assert options["dns_server"] == "169.254.169.253"
    assert "169.254.169.253/32,10.0.1.1" in options["classless_static_route"]
    allowed = [
        row.columns["match"] for ref, row in made.items() if ref.table == "ACL" and row.columns["action"] != "drop"
    ]
    for protocol in ("udp", "tcp"):
        assert sum(f"ip4.dst == 169.254.169.253 && {protocol}.dst == 53" in each for each in allowed) == 1
    (proxied,) = {row.columns["options"].get("arp_proxy") for row in made.values() if "arp_proxy" in str(row.columns)}
    assert proxied == "169.254.169.254 169.254.169.253"


@settings(deadline=None, max_examples=500)
@given(rules(), PACKETS)
def test_a_match_lets_through_what_its_rule_says(rule: RuleView, packet: Packet) -> None:
    expression = match.allowed(rule, "sg")
    assert (expression is not None and evaluated(expression, packet)) == said(rule, packet)


@quickly
@given(rules(), st.data())
def test_at_the_ends_of_a_rule(rule: RuleView, data: st.DataObject) -> None:
    """The packet that fits exactly, and those just beside it."""
    low, high = rule.ports or (0, 65535)
    near = {max(low - 1, 0), low, high, min(high + 1, 65535)}
    network = rule.peer_network or IPv4Network("10.0.0.0/24")
    ends = {int(network[0]), int(network[-1]), max(int(network[0]) - 1, 0), min(int(network[-1]) + 1, 2**32 - 1)}
    packet = Packet(
        rule.is_egress,
        IPv4Address(data.draw(st.sampled_from(sorted(ends)))),
        frozenset({rule.peer_group_id or group(1)}),
        rule.protocol or 6,
        data.draw(st.sampled_from(sorted(near))),
        (rule.icmp_type or 0, rule.icmp_code or 0),
    )
    if packet.protocol == match.ICMPV6:  # guests have no IPv6
        return
    expression = match.allowed(rule, "sg")
    assert (expression is not None and evaluated(expression, packet)) == said(rule, packet)
