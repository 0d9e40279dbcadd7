"""Open vSwitch's connection tracking, where a version of it is known to fail."""

from __future__ import annotations

import socket
import time
from ipaddress import IPv4Network
from typing import Any

from freehold.network import namespace
from tests.fabric.test_packets import GROUPS, WEB, Network, listening, network, talk
from tests.fabric.views import port, vpc

__all__ = ["listening", "network"]

POOL = IPv4Network("198.51.100.192/26")
_CLOSED_SECONDS = 10  # that Open vSwitch remembers a refused connection


def test_a_connection_that_expired_is_opened_again(network: Network, listening: Any) -> None:
    """From the same port, soon after the old one expired: Open vSwitch 3.1 then ended by an assertion
    (conn_update_state) if connections are committed with a translation that changes nothing. Several at a time, for
    each is one more chance to see it."""
    one, two = port(80, (WEB,)), port(81, (WEB,))
    network.apply(vpc(one, two, groups=GROUPS))
    one_guest, two_guest = network.boot(one), network.boot(two)

    def connect() -> None:
        for number in range(33333, 33337):
            with socket.socket() as caller:
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                caller.bind(("0.0.0.0", number))
                assert caller.connect_ex((str(two.private_ip), 22)) != 0

    for _ in range(2):
        namespace.inside(one_guest, connect)
        time.sleep(_CLOSED_SECONDS + 1)
    assert network.cloud.processes["ovs-vswitchd"].poll() is None
    listening(two_guest, 22)
    assert talk(one_guest, two.private_ip, 22) == str(one.private_ip)
