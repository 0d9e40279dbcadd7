"""A host that says of everything it is told that it is so; the other end of the controllers' link, over real TLS."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import msgspec

from freehold.host.security import link_security
from freehold.host.wire import Assignment, GuestReport, GuestSpec, Hello, Report, SnapshotReport, TrafficReading, encode
from freehold.paths import Paths

BYTES = 1000
WILLING_MIB = 65536


class WillingHost:
    """Opens its link again as soon as it breaks; says everything `times` times. With each report, each public address
    of its guests has sent `BYTES` more: `sent` is how many by all."""

    def __init__(self, data_dir: Path, host_id: str) -> None:
        self.times = 1
        self._paths = Paths(data_dir)
        self._host_id = host_id
        self._guests: dict[str, GuestSpec] = {}
        self._counters: dict[tuple[str, str], int] = {}
        self._peer: ssl.SSLSocket | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def sent(self) -> int:
        return sum(self._counters.values())

    def forget_sent(self) -> None:
        self._counters.clear()

    def close(self) -> None:
        self._closing.set()
        with suppress(OSError, AttributeError):
            self._peer.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
        self._thread.join()

    def _run(self) -> None:
        security = link_security(self._paths.pki)
        while not self._closing.wait(0.02):
            with suppress(OSError), socket.socket(socket.AF_UNIX) as raw:
                raw.connect(str(self._paths.host_link))
                with security.wrap_socket(raw, server_hostname="control") as self._peer:
                    self._peer.sendall(encode(Hello(self._host_id, None, 64, WILLING_MIB, "tcg")))
                    self._talk(self._peer)

    def _talk(self, peer: ssl.SSLSocket) -> None:
        with peer.makefile("rb") as stream:
            while head := stream.read(4):
                assignment = msgspec.json.decode(stream.read(int.from_bytes(head, "big")), type=Assignment)
                report = encode(self._obey(assignment))
                for _ in range(self.times):
                    peer.sendall(report)

    def _obey(self, assignment: Assignment) -> Report:
        if assignment.complete:
            self._guests.clear()
        self._guests.update((spec.instance_id, spec) for spec in assignment.guests)
        now = dt.datetime.now(dt.UTC)
        guests = tuple(_obeyed(spec, now) for spec in self._guests.values())
        for spec in self._guests.values():
            for interface in spec.interfaces:
                if interface.public_ip is not None:
                    counter = (interface.public_ip, interface.interface_id)
                    self._counters[counter] = self._counters.get(counter, 0) + BYTES
        readings = tuple(TrafficReading(*counter, "-".join(counter), sent) for counter, sent in self._counters.items())
        self._guests = {each: spec for each, spec in self._guests.items() if spec.desired != "absent"}
        frozen = (*assignment.snapshots, *assignment.copies)
        taken = tuple(SnapshotReport(each.snapshot_id, BYTES, BYTES) for each in frozen)
        made = tuple(volume.volume_id for volume in assignment.make_volumes)
        gone = assignment.delete_volumes, assignment.delete_snapshots
        return Report(guests, readings, gone[0], taken, gone[1], made_volumes=made)


def _obeyed(spec: GuestSpec, now: dt.datetime) -> GuestReport:
    return GuestReport(
        spec.instance_id,
        spec.generation,
        spec.desired,
        now,
        hibernated=spec.desired == "stopped" and spec.hibernate,
        volumes=tuple(volume.volume_id for volume in spec.volumes) if spec.desired == "running" else (),
        disks_fit=True,
    )
