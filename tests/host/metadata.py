"""Guests and requests for tests of the metadata service."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from freehold.fabric.differ import Fabric
from freehold.fabric.rows import rows
from freehold.fabric.view import GroupView, PortView, PublicView, VpcView
from freehold.host.wire import GuestSpec
from freehold.network import namespace
from tests.fabric.views import EGRESS, group, ingress, port, vpc
from tests.host.plane import guest_spec
from tests.ovn import Cloud, wait_until

IMDS = "169.254.169.254"


def ports_of(number: int, vpc_number: int = 1, public_ip: Any = None) -> PortView:
    return port(number, (group(vpc_number),), public_ip, vpc=vpc_number)


def spec_of(plugged: PortView, image_id: str, vpc_number: int = 1, **changes: Any) -> GuestSpec:
    """The spec of a guest with this port. It stays stopped unless said otherwise: a namespace is in its place."""
    number = int(plugged.private_ip) % 256
    spec = guest_spec(number, image_id, **{"desired": "stopped", **changes})
    interface = replace(
        spec.interfaces[0],
        interface_id=plugged.interface_id,
        vpc_id=f"vpc-{vpc_number:017x}",
        subnet_id=plugged.subnet_id,
        mac_address=plugged.mac_address,
        public_ip=str(plugged.public_ip) if plugged.public_ip else None,
    )
    return replace(spec, instance_id=f"i-{vpc_number * 256 + number:017x}", interfaces=(interface,))


def apply_network(cloud: Cloud, *views: VpcView) -> None:
    fabric = Fabric(cloud.paths.northbound)
    try:
        public = PublicView(cloud.network.pool, cloud.network.link_range, cloud.network.chassis)
        for view in views:
            fabric.apply(view.vpc_id, rows(view, public))
        wait_until(lambda: fabric.sync(30), "the network is applied")
    finally:
        fabric.close()


def view_of(vpc_number: int, *ports: PortView) -> VpcView:
    """A VPC whose one group lets SSH and ports from 8000 in."""
    rules = (EGRESS, ingress(6, (22, 22)), ingress(6, (8000, 8999)))
    return vpc(*ports, groups=(GroupView(group(vpc_number), rules),), number=vpc_number)


def boot_namespace(cloud: Cloud, plugged: PortView) -> str:
    """A network namespace in the place of a guest."""
    gateway = plugged.private_ip - int(plugged.private_ip) % 256 + 1
    return cloud.plug_with_address(plugged.interface_id, plugged.mac_address, f"{plugged.private_ip}/24", str(gateway))


@dataclass
class Reply:
    """`head` in lower case; all empty if the service closed the connection without a word."""

    status: int
    head: str
    body: str


def say(netns: str, data: bytes, seconds: float = 15) -> Reply:
    """Send bytes to the metadata service from a namespace, and hear it out."""

    def talk() -> Reply:
        received = b""
        try:
            with socket.create_connection((IMDS, 80), timeout=seconds) as connection:
                connection.sendall(data)
                while more := connection.recv(65536):
                    received += more
        except ConnectionError:
            pass
        head, _, body = received.decode().partition("\r\n\r\n")
        return Reply(int(head.split()[1]) if head else 0, head.lower(), body)

    return namespace.inside(netns, talk)


def request(netns: str, method: str, path: str, **headers: str) -> Reply:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {IMDS}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return say(netns, "\r\n".join([*lines, "", ""]).encode())


def new_token(netns: str, seconds: int = 21600) -> str:
    reply = request(netns, "PUT", "/latest/api/token", X_aws_ec2_metadata_token_ttl_seconds=str(seconds))
    assert reply.status == 200, reply
    return reply.body


def fetch(netns: str, path: str, token: str) -> Reply:
    return request(netns, "GET", path, X_aws_ec2_metadata_token=token)
