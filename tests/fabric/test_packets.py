"""Real packets through a cloud's network: what reaches a guest, and what does not."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from freehold.fabric.differ import Fabric
from freehold.fabric.rows import rows
from freehold.fabric.view import GroupView, PortView, PublicView, VpcView
from freehold.network import namespace
from freehold.network.names import OperatorError, imds_port
from freehold.network.ovsdb import OvsdbUnavailable
from tests.fabric.views import EGRESS, group, ingress, port, vpc
from tests.ovn import Cloud, ovn_cloud, run, succeeds, wait_until

WEB, APP, LONE = group(1), group(2), group(3)
GROUPS = (
    GroupView(WEB, (EGRESS, ingress(1), ingress(6, (22, 22), "0.0.0.0/0"))),
    GroupView(APP, (EGRESS, ingress(6, (8000, 8080), group=WEB))),
    GroupView(LONE, ()),
)

POOL = IPv4Network("198.51.100.0/25")


class Network:
    """A running cloud, and guests by their ports."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.fabric = Fabric(cloud.paths.northbound)
        self.public = PublicView(cloud.network.pool, cloud.network.link_range, cloud.network.chassis)

    def apply(self, view: VpcView) -> None:
        """Apply, as the controllers do: from the start when the database went away."""

        def applied() -> bool:
            try:
                self.fabric.apply(view.vpc_id, rows(view, self.public))
                return self.fabric.sync(30)
            except OvsdbUnavailable:
                return False

        wait_until(applied, "the network is applied")

    def boot(self, plugged: PortView) -> str:
        """A guest with the address of its port, set by hand."""
        gateway = plugged.private_ip - int(plugged.private_ip) % 256 + 1
        return self.cloud.plug_with_address(
            plugged.interface_id, plugged.mac_address, f"{plugged.private_ip}/24", str(gateway)
        )


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Network]:
    with ovn_cloud(tmp_path_factory.mktemp("cloud"), request.module.POOL) as cloud:
        network = Network(cloud)
        yield network
        network.fabric.close()


class Listener:
    """A TCP server in a namespace that says who it is talking to."""

    def __init__(self, netns: str | None, number: int, address: str = "0.0.0.0") -> None:
        def listen() -> socket.socket:
            server = socket.socket()
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((address, number))
            server.listen()
            return server

        self._socket = listen() if netns is None else namespace.inside(netns, listen)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, peer = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.sendall(peer[0].encode())

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.fixture
def listening() -> Iterator[Any]:
    opened: list[Listener] = []

    def listen(netns: str | None, number: int, address: str = "0.0.0.0") -> None:
        opened.append(Listener(netns, number, address))

    yield listen
    for listener in opened:
        listener.close()


def talk(netns: str | None, address: object, number: int, seconds: float = 5) -> str | None:
    """What a TCP server answers: the address it sees the caller at. None = no connection."""

    def connect() -> str | None:
        try:
            with socket.create_connection((str(address), number), timeout=seconds) as connection:
                return connection.recv(100).decode()
        except OSError:
            return None

    return connect() if netns is None else namespace.inside(netns, connect)


def refused(netns: str | None, address: object, number: int) -> bool:
    return talk(netns, address, number, seconds=1) is None


def test_dhcp_tells_a_guest_who_it_is(network: Network, tmp_path: Path) -> None:
    """Address, router, routes, MTU, names and lease, as a client without any prior knowledge gets them."""
    plugged = port(10, (WEB,), vpc=1)
    network.apply(vpc(plugged, groups=GROUPS))
    guest = network.cloud.plug(plugged.interface_id, plugged.mac_address)
    script = tmp_path / "script"
    script.write_text(f'#!/bin/sh\n[ "$1" = bound ] && env > {tmp_path}/lease\nexit 0\n')
    script.chmod(0o755)
    run("busybox", "udhcpc", "-i", "eth0", "-q", "-n", "-f", "-s", script, "-O", "121", "-O", "mtu", netns=guest)
    lease = dict(line.split("=", 1) for line in (tmp_path / "lease").read_text().splitlines() if "=" in line)
    network.cloud.unplug(guest)
    assert lease["ip"] == "10.0.1.10"
    assert lease["mask"] == "24"
    assert lease["router"] == "10.0.1.1"
    assert lease["serverid"] == "10.0.1.1"
    assert lease["lease"] == "3600"
    assert lease["mtu"] == "1500"
    assert lease["domain"] == "ec2.internal"
    assert lease["hostname"] == "ip-10-0-1-10"
    assert lease["staticroutes"].split() == [
        "169.254.169.254/32", "10.0.1.1", "169.254.169.253/32", "10.0.1.1", "0.0.0.0/0", "10.0.1.1",
    ]  # fmt: skip
    assert lease["dns"] == "169.254.169.253"


def test_groups_let_in_what_they_say_and_nothing_else(network: Network, listening: Any) -> None:
    web, app, lone = port(20, (WEB,)), port(21, (APP,), subnet=2), port(22, (LONE,))
    network.apply(vpc(web, app, lone, groups=GROUPS))
    web_guest, app_guest, lone_guest = network.boot(web), network.boot(app), network.boot(lone)
    for guest, number in ((app_guest, 8080), (app_guest, 8081), (web_guest, 22), (web_guest, 8080)):
        listening(guest, number)

    assert talk(web_guest, app.private_ip, 8080) == str(web.private_ip), "the rule that refers to its group"
    assert refused(web_guest, app.private_ip, 8081), "a port outside the rule"
    assert refused(app_guest, web.private_ip, 8080), "no rule"
    assert talk(app_guest, web.private_ip, 22) == str(app.private_ip), "a rule for everyone, across subnets"
    assert refused(lone_guest, web.private_ip, 22), "a group without egress rules"
    assert succeeds("ping", "-c1", "-W5", str(web.private_ip), netns=app_guest)
    assert not succeeds("ping", "-c1", "-W1", str(app.private_ip), netns=web_guest)

    network.apply(vpc(web, app, lone, groups=(*GROUPS[:1], GroupView(APP, (EGRESS,)), GROUPS[2])))
    # Open vSwitch looks through what it has cached of its flows once it has new ones.
    wait_until(lambda: refused(web_guest, app.private_ip, 8080), "the rule is revoked", 5)


def test_a_guest_cannot_use_the_address_of_another(network: Network, listening: Any) -> None:
    web, other = port(30, (WEB,)), port(31, (WEB,))
    network.apply(vpc(web, other, groups=GROUPS))
    web_guest, other_guest = network.boot(web), network.boot(other)
    listening(web_guest, 22)
    assert talk(other_guest, web.private_ip, 22) == str(other.private_ip)
    run("ip", "addr", "add", "10.0.1.99/24", "dev", "eth0", netns=other_guest)
    spoofing = ("busybox", "ping", "-c1", "-W1", "-I", "10.0.1.99", str(web.private_ip))
    assert not succeeds(*spoofing, netns=other_guest)

    # A router's owner turns the check off: then its other addresses pass as well.
    router = replace(other, source_dest_check=False)
    network.apply(vpc(web, router, groups=GROUPS))
    run("ip", "route", "add", "10.0.1.99", "via", str(router.private_ip), netns=web_guest)
    assert succeeds(*spoofing, netns=other_guest)


def test_frames_that_are_not_ipv4_do_not_pass(network: Network) -> None:
    """Guests have no IPv6, and no protocol that no rule could allow: only ARP and IPv4 go from one to another."""
    web, other = port(32, (WEB,)), port(33, (WEB,))
    network.apply(vpc(web, other, groups=GROUPS))
    web_guest, other_guest = network.boot(web), network.boot(other)

    def receiver() -> socket.socket:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        raw.bind(("eth0", 0))
        raw.settimeout(1)
        return raw

    with namespace.inside(web_guest, receiver) as heard, namespace.inside(other_guest, receiver) as said:
        to, own = (bytes.fromhex(p.mac_address.replace(":", "")) for p in (web, other))
        for frame in (to + own + b"\x88\xb5" + b"secret" * 10, to + own + b"\x86\xdd" + b"\x60" + b"secret" * 10):
            said.send(frame)
        assert succeeds("ping", "-c1", "-W5", str(web.private_ip), netns=other_guest)
        received = []
        while not received or received[-1][12:14] != b"\x08\x00":  # until the ping, which was sent later
            received.append(heard.recv(2000))
        assert not any(b"secret" in frame for frame in received)


def test_public_addresses(network: Network, listening: Any) -> None:
    """From the machine by its route to a guest; between guests of VPCs whose private addresses are the same."""
    addresses = [network.cloud.network.pool[10 + number] for number in range(2)]
    one = port(40, (WEB,), addresses[0], vpc=1)
    far = (GroupView(group(9), GROUPS[0].rules),)  # a group is of one VPC
    two = port(40, (group(9),), addresses[1], vpc=2)
    hidden = port(41, (WEB,), vpc=1)
    assert one.private_ip == two.private_ip
    network.apply(vpc(one, hidden, groups=GROUPS, number=1))
    network.apply(vpc(two, groups=far, number=2))
    one_guest, two_guest, hidden_guest = network.boot(one), network.boot(two), network.boot(hidden)
    for guest in (one_guest, two_guest, hidden_guest):
        listening(guest, 22)
    assert talk(None, addresses[0], 22) == str(network.cloud.network.machine)
    assert refused(None, addresses[0], 8080), "no rule"
    assert talk(one_guest, addresses[1], 22) == str(addresses[0])
    assert talk(two_guest, addresses[0], 22) == str(addresses[1])
    assert talk(one_guest, addresses[0], 22) == str(addresses[0]), "itself, by its public address"
    assert refused(hidden_guest, addresses[1], 22), "a guest without a public address has no way out"
    assert talk(hidden_guest, one.private_ip, 22) == str(hidden.private_ip)

    # The address moves to a guest of the other VPC, then nobody has it.
    network.apply(vpc(replace(one, public_ip=None), hidden, groups=GROUPS, number=1))
    network.apply(vpc(replace(two, public_ip=addresses[0]), groups=far, number=2))
    wait_until(lambda: talk(None, addresses[0], 22) is not None, "the moved address answers")
    assert refused(None, addresses[1], 22)
    network.apply(vpc(replace(two, public_ip=addresses[0]), groups=far, number=2, internet=False))
    wait_until(lambda: refused(None, addresses[0], 22), "the internet gateway is detached", 5)


def test_no_way_from_a_guest_to_the_machine(network: Network, listening: Any) -> None:
    cloud = network.cloud.network
    mine = port(50, (WEB,), cloud.pool[20])
    network.apply(vpc(mine, groups=GROUPS))
    guest = network.boot(mine)
    listening(guest, 22)
    listening(None, 7900, str(cloud.machine))
    listening(cloud.namespace, 7901)
    assert talk(None, cloud.machine, 7900) == str(cloud.machine), "the machine serves there"
    assert refused(guest, cloud.machine, 7900)
    assert refused(guest, cloud.gateway, 7901), "nor to the cloud's own namespace"
    assert refused(guest, cloud.link_gateway, 7901)
    assert not succeeds("ping", "-c1", "-W1", "192.0.2.1", netns=guest), "nor to the world beyond"
    assert talk(None, cloud.pool[20], 22) == str(cloud.machine), "while the machine reaches the guest"


def test_metadata_service_of_a_vpc(network: Network, listening: Any) -> None:
    """A host's end of the VPC's metadata port is reached at 169.254.169.254, and sees the guest's own address."""
    one, two = port(60, (WEB,)), port(61, (LONE,), subnet=2)
    view = vpc(one, two, groups=GROUPS)
    network.apply(view)
    name, mac = imds_port(view.vpc_id)
    host = network.cloud.plug_with_address(name, mac, "169.254.169.254/24", "169.254.169.1")
    listening(host, 80)
    listening(host, 81)
    for plugged in (one, two):
        guest = network.boot(plugged)
        assert talk(guest, "169.254.169.254", 80) == str(plugged.private_ip), "whatever its groups say"
        run("ip", "route", "add", "169.254.0.0/16", "dev", "eth0", netns=guest)
        assert talk(guest, "169.254.169.254", 80) == str(plugged.private_ip), "on-link, as guests with zeroconf think"
    assert refused(guest, "169.254.169.254", 81)


def test_the_network_survives_its_daemons(network: Network, listening: Any) -> None:
    """Each daemon is killed and started again; guests keep their network, and the fabric can still be changed."""
    address = network.cloud.network.pool[30]
    mine = port(70, (WEB,), address)
    network.apply(vpc(mine, groups=GROUPS))
    guest = network.boot(mine)
    listening(guest, 22)

    def answers(at: Any) -> Any:
        return lambda: talk(None, at, 22, seconds=1) is not None

    for number, name in enumerate(("ovsdb-server", "ovs-vswitchd", "ovn-northd", "ovn-controller")):
        network.cloud.stop(name, signal.SIGKILL)
        network.cloud.start(name)
        wait_until(answers(address), f"the guest answers after {name} was killed")
        network.fabric.forget()
        mine = replace(mine, public_ip=network.cloud.network.pool[31 + number])
        network.apply(vpc(mine, groups=GROUPS))
        address = mine.public_ip
        wait_until(answers(address), "and at a new address")


def test_the_namespace_is_made_by_halves_and_again(tmp_path: Path, network: Network) -> None:
    """Making it twice changes nothing; a pool that the machine reaches otherwise is refused by a sentence."""
    cloud = network.cloud.network
    before = run("ip", "addr", netns=cloud.namespace)
    namespace.create(cloud)
    assert run("ip", "addr", netns=cloud.namespace) == before
    with pytest.raises(OperatorError, match=r"network\.public_pool"):
        namespace.create(replace(cloud, tag="fh0badc0de"))
    assert not succeeds("ip", "link", "show", "fh0badc0deh")
