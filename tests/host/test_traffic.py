"""The meter of bytes that leave for the internet: a real guest, real packets, the real agent's reports."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from msgspec.structs import replace

from freehold.host.wire import TrafficReading
from freehold.network import namespace
from tests.host.metadata import apply_network, boot_namespace, ports_of, spec_of, view_of
from tests.host.plane import AgentProcess, Plane
from tests.ovn import Cloud

POOL = IPv4Network("203.0.113.48/28")
REAL, ONE, TWO = (POOL[number] for number in (8, 9, 10))
SENT = 3_000_000
MARK = 100_000  # sent after something that is not to be counted, so that a reading shows that it was not
HEADERS = 1.07  # of IP and TCP, acknowledgements, and SSH


class Meter:
    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def read(self, address: object, fits: Callable[[TrafficReading], bool] = lambda _: True) -> TrafficReading:
        """The first reading of an address that fits."""
        readings = self._plane.traffic
        self._plane.wait_for(lambda: str(address) in readings and fits(readings[str(address)]), f"reading of {address}")
        reading = readings[str(address)]
        assert isinstance(reading, TrafficReading)
        return reading


@pytest.fixture
def meter(plane: Plane, agent: AgentProcess) -> Meter:
    return Meter(plane)


def send(netns: str, size: int, to: Callable[[], socket.socket], port: int = 8000) -> None:
    """A guest sends so many bytes to whoever `to` connects from."""

    def listen() -> socket.socket:
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("0.0.0.0", port))
        server.listen()
        return server

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(bytes(size))

    with namespace.inside(netns, listen) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        received = 0
        with to() as connection:
            while data := connection.recv(1 << 16):
                received += len(data)
        thread.join()
    assert received == size


def from_machine(address: object) -> Callable[[], socket.socket]:
    return lambda: socket.create_connection((str(address), 8000), timeout=20)


def from_guest(netns: str, address: object) -> Callable[[], socket.socket]:
    return lambda: namespace.inside(netns, from_machine(address))


def test_what_a_guest_sends_by_its_public_address(
    plane: Plane, meter: Meter, cloud: Cloud, image_id: str, tmp_path: Path
) -> None:
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"), check=True)
    key = (tmp_path / "key.pub").read_text().strip()
    plugged = ports_of(20, public_ip=REAL)
    apply_network(cloud, view_of(1, plugged))
    spec = spec_of(plugged, image_id, desired="running", shutdown_grace_seconds=0)
    spec = replace(spec, metadata=replace(spec.metadata, public_keys=(("mine", key),)))
    plane.assign(spec)
    before = meter.read(REAL)
    assert before.bytes_out == 0
    plane.wait_for_console(spec.instance_id, b"freehold-micro ready")
    options = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes")
    done = subprocess.run(
        ("ssh", "-i", tmp_path / "key", *options, f"root@{REAL}", f"head -c {SENT} /dev/zero"), capture_output=True
    )
    assert len(done.stdout) == SENT, done.stderr
    reading = meter.read(REAL, lambda reading: reading.bytes_out >= SENT)
    assert reading.epoch == before.epoch
    assert SENT < reading.bytes_out < SENT * HEADERS

    plane.want(spec.instance_id, "absent")
    plane.wait_for_state(spec.instance_id, "absent")
    assert reading.bytes_out <= meter.read(REAL).bytes_out < SENT * HEADERS
    plane.forget(spec.instance_id)


def test_what_is_counted_and_for_whom(
    plane: Plane, agent: AgentProcess, meter: Meter, cloud: Cloud, image_id: str
) -> None:
    """Not from guest to guest, privately or by public addresses; on across a restart; anew for the next owner."""
    one, near, two = ports_of(30, public_ip=ONE), ports_of(31), ports_of(30, vpc_number=2, public_ip=TWO)
    apply_network(cloud, view_of(1, one, near), view_of(2, two))
    specs = [spec_of(one, image_id), spec_of(near, image_id), spec_of(two, image_id, vpc_number=2)]
    plane.assign(*specs)
    one_guest, near_guest, two_guest = (boot_namespace(cloud, plugged) for plugged in (one, near, two))
    first = meter.read(ONE)
    assert first.bytes_out == meter.read(TWO).bytes_out == 0

    send(one_guest, SENT, from_guest(two_guest, ONE))
    send(one_guest, SENT, from_guest(near_guest, one.private_ip))
    send(one_guest, MARK, from_machine(ONE))
    reading = meter.read(ONE, lambda reading: reading.bytes_out >= MARK)
    assert MARK < reading.bytes_out < MARK * HEADERS
    assert reading.epoch == first.epoch

    agent.end(signal.SIGKILL)
    send(one_guest, MARK, from_machine(ONE))
    agent.start()
    reading = meter.read(ONE, lambda reading: reading.bytes_out >= 2 * MARK)
    assert reading.bytes_out < 2 * MARK * HEADERS
    assert reading.epoch == first.epoch
    assert meter.read(TWO).bytes_out == 0

    apply_network(cloud, view_of(1, ports_of(30), near))
    apply_network(cloud, view_of(2, ports_of(30, vpc_number=2, public_ip=ONE)))
    for spec, address in ((specs[0], None), (specs[2], str(ONE))):
        plane.want(spec.instance_id, "stopped", interfaces=(replace(spec.interfaces[0], public_ip=address),))
    fresh = meter.read(ONE, lambda reading: reading.epoch != first.epoch)
    assert fresh.bytes_out == 0
    send(two_guest, MARK, from_machine(ONE))
    reading = meter.read(ONE, lambda reading: reading.bytes_out >= MARK)
    assert reading.bytes_out < MARK * HEADERS
    assert reading.epoch == fresh.epoch
