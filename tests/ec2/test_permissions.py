"""Permissions: every text either is refused or has one canonical form."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.services.ec2.permissions import Traffic, cidr_ipv4, cidr_ipv6, description, traffic
from freehold.services.errors import AwsError
from tests.ec2.calls import refused

PROTOCOLS = st.sampled_from(["tcp", "TCP", "6", "udp", "17", "icmp", "1", "icmpv6", "58", "-1", "0", "50", "255"])
ADDRESS_TEXT = st.text(alphabet="0123456789abcdefABCDEF.:/% \n-", max_size=45)


@given(PROTOCOLS | st.text(max_size=5), *[st.none() | st.integers(-3, 70000) | st.integers()] * 2)
def test_traffic_is_refused_or_canonical(protocol: str, from_port: int | None, to_port: int | None) -> None:
    try:
        found = traffic(protocol, from_port, to_port)
    except AwsError:
        return
    assert traffic(*found) == found
    low, high = {"tcp": (0, 65535), "udp": (0, 65535), "icmp": (-1, 255), "icmpv6": (-1, 255)}.get(
        found.protocol, (-1, -1)
    )
    assert low <= found.from_port <= high
    assert low <= found.to_port <= high


@given(ADDRESS_TEXT | st.text() | st.ip_addresses(v=4, network="0.0.0.0/0").map("{}/7".format))
def test_an_ipv4_range_is_refused_or_canonical(text: str) -> None:
    try:
        found = cidr_ipv4(text)
    except AwsError:
        return
    assert cidr_ipv4(found) == found == str(IPv4Network(found))


@given(ADDRESS_TEXT | st.text() | st.ip_addresses(v=6).map("{}/53".format))
def test_an_ipv6_range_is_refused_or_canonical(text: str) -> None:
    try:
        found = cidr_ipv6(text)
    except AwsError:
        return
    assert cidr_ipv6(found) == found == str(IPv6Network(found))


@given(st.text())
def test_a_description_is_refused_or_kept(text: str) -> None:
    try:
        assert description(text) == (text or None)
    except AwsError:
        return
    assert len(text) <= 255
    assert text.isascii()
    assert "\n" not in text


@pytest.mark.parametrize(
    ("given_traffic", "found"),
    [
        (("tcp", 22, 22), ("tcp", 22, 22)),
        (("6", 0, 65535), ("tcp", 0, 65535)),
        (("UDP", 53, 53), ("udp", 53, 53)),
        (("icmp", 8, -1), ("icmp", 8, -1)),
        (("icmp", -1, -1), ("icmp", -1, -1)),
        (("icmpv6", None, None), ("icmpv6", -1, -1)),
        (("58", 128, 0), ("icmpv6", 128, 0)),
        (("-1", 0, 0), ("-1", -1, -1)),
        (("-1", 0, 65535), ("-1", -1, -1)),
        (("50", 22, 22), ("50", -1, -1)),
    ],
)
def test_traffic_in_its_forms(given_traffic: Any, found: Any) -> None:
    assert traffic(*given_traffic) == Traffic(*found)


@pytest.mark.parametrize(
    "wrong",
    [
        ("tcp", None, None), ("tcp", 22, None), ("tcp", -1, -1), ("udp", 1, 65536), ("tcp", 23, 22),
        ("icmp", None, None), ("icmp", -1, 0), ("icmp", 256, 0), ("icmpv6", 128, None),
        ("256", 0, 0), ("-2", 0, 0), ("06", 22, 22), ("sctp", 0, 0), ("tcp; drop", 1, 1), ("٦", 1, 1),
    ],
)  # fmt: skip
def test_traffic_that_can_not_be(wrong: Any) -> None:
    with refused("InvalidParameterValue"):
        traffic(*wrong)


@pytest.mark.parametrize(
    "wrong", ["10.0.0.0", "10.0.0.0/33", "10.0.0/8", "010.0.0.0/8", "10.0.0.0/255.0.0.0", "10.0.0.0/8\n", "::/0"]
)
def test_an_ipv4_range_that_can_not_be(wrong: str) -> None:
    with refused("InvalidParameterValue"):
        cidr_ipv4(wrong)
