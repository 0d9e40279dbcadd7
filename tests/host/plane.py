"""A control plane for tests of the host agent: the other end of its link, over real TLS, and specs to give it."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from freehold import pki
from freehold.control.hosts import link_security
from freehold.host.wire import (
    Assignment,
    CopySpec,
    GuestReport,
    GuestSpec,
    Hello,
    HostMessage,
    InterfaceSpec,
    MetadataSpec,
    Ready,
    Report,
    RoleCredentials,
    SnapshotReport,
    SnapshotSpec,
    VolumeKey,
    VolumeSpec,
    encode,
)
from freehold.network import namespace
from freehold.paths import Paths
from freehold.processes import standbys

HOST = "host-1"
READY = b"freehold-micro ready"  # what its image says on the console when it has started


class Plane:
    """Listens for one host at a time. `guests` has the last report of each guest, `consoles` what they wrote; no keys
    are sent of the volumes in `withheld`."""

    def __init__(self, data_dir: Path) -> None:
        self.paths = Paths(data_dir)
        self.hello: Hello | None = None
        self.guests: dict[str, GuestReport] = {}
        self.ready: Ready | None = None
        self.states: list[tuple[str, str]] = []
        self.consoles: dict[str, bytes] = {}
        self.traffic: dict[str, Any] = {}
        self.specs: dict[str, GuestSpec] = {}
        self.credentials: dict[str, RoleCredentials] = {}
        self.withheld: set[str] = set()
        self.keys: dict[str, bytes] = {}  # of volumes that have another one's
        self.keys_below: dict[str, tuple[bytes, ...]] = {}
        self.doomed: set[str] = set()
        self.snapshots: dict[str, SnapshotSpec] = {}
        self.copies: dict[str, CopySpec] = {}
        self.snapshot_volumes: dict[str, str] = {}
        self.taken: dict[str, SnapshotReport] = {}
        self.doomed_snapshots: set[str] = set()
        self._news = threading.Condition()
        self._peer: ssl.SSLSocket | None = None
        pki.ensure(self.paths.pki, HOST)
        self.paths.host_link.parent.mkdir(parents=True, exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.paths.host_link))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def assign(self, *specs: GuestSpec) -> None:
        """Say what should be of some guests."""
        for spec in specs:
            self.specs[spec.instance_id] = spec
        with self._news:
            if self._peer is not None:
                with suppress(OSError):  # the agent was just killed: the next one is told everything
                    given = tuple(each for each in self.credentials.values() if each.instance_id in self.specs)
                    keys = self._keys(*specs)
                    self._peer.sendall(encode(Assignment(specs, complete=False, credentials=given, keys=keys)))

    def delete_volume(self, volume_id: str) -> None:
        """Want a volume gone that no guest has any longer."""
        with self._news:
            self.doomed.add(volume_id)
            if self._peer is not None:
                with suppress(OSError):
                    self._peer.sendall(encode(Assignment((), complete=False, delete_volumes=(volume_id,))))

    def snapshot(self, *snapshots: SnapshotSpec) -> None:
        """Want snapshots taken."""
        with self._news:
            self.snapshot_volumes |= {each.snapshot_id: each.volume_id for each in snapshots}
            self.snapshots |= {each.snapshot_id: each for each in snapshots}
            if self._peer is not None:
                with suppress(OSError):
                    keys = self._snapshot_keys(*snapshots)
                    self._peer.sendall(encode(Assignment((), complete=False, keys=keys, snapshots=snapshots)))

    def wait_for_snapshots(self, *snapshots: SnapshotSpec) -> None:
        self.snapshot(*snapshots)
        self.wait_for(lambda: not self.snapshots, f"snapshots of {self.snapshots}")

    def copy_snapshot(self, *copies: CopySpec) -> None:
        """Want copies of snapshots made, and wait until they are."""
        self.want_copies(*copies)
        self.wait_for(lambda: not self.copies, f"copies {self.copies}")

    def want_copies(self, *copies: CopySpec) -> None:
        with self._news:
            self.copies |= {each.snapshot_id: each for each in copies}
            if self._peer is not None:
                with suppress(OSError):
                    keys = self._copy_keys(*copies)
                    self._peer.sendall(encode(Assignment((), complete=False, keys=keys, copies=copies)))

    def _copy_keys(self, *copies: CopySpec) -> tuple[VolumeKey, ...]:
        ids = [each for copy in copies for each in (copy.snapshot_id, copy.source_id)]
        return tuple(self._key(each) for each in ids if each in self.keys)

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Want a snapshot gone, and wait until it is."""
        self.doom_snapshot(snapshot_id)
        self.wait_for(lambda: snapshot_id not in self.doomed_snapshots, f"{snapshot_id} is deleted")

    def doom_snapshot(self, snapshot_id: str) -> None:
        """Want a snapshot gone."""
        with self._news:
            self.doomed_snapshots.add(snapshot_id)
            if self._peer is not None:
                with suppress(OSError):
                    self._peer.sendall(encode(Assignment((), complete=False, delete_snapshots=(snapshot_id,))))

    def want(self, instance_id: str, desired: Any, **changes: Any) -> GuestSpec:
        """Want something else of a guest: the next generation of its spec."""
        spec = self.specs[instance_id]
        self.assign(replace(spec, desired=desired, generation=spec.generation + 1, **changes))
        return self.specs[instance_id]

    def forget(self, instance_id: str) -> None:
        del self.specs[instance_id]
        self.guests.pop(instance_id, None)

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        with self._news:
            while not condition():
                if not self._news.wait(deadline - time.monotonic()):
                    consoles = {name: console[-1000:] for name, console in self.consoles.items()}
                    pytest.fail(f"waited for: {what}; have {self.guests}, consoles end with {consoles}")

    def wait_for_state(self, instance_id: str, state: str) -> GuestReport:
        """The report that says that a guest has reached a state for the newest generation of its spec."""

        self.wait_for(lambda: self.reached(instance_id, state), f"{instance_id} is {state}")
        return self.guests[instance_id]

    def reached(self, instance_id: str, state: str) -> bool:
        report = self.guests.get(instance_id)
        return report is not None and (report.state, report.generation) == (
            state,
            self.specs[instance_id].generation,
        )

    def wait_for_disks(self, instance_id: str) -> None:
        """Until a guest runs with all its volumes. A clone gets all but the first when it has found its root."""
        self.wait_for_state(instance_id, "running")
        wanted = {volume.volume_id for volume in self.specs[instance_id].volumes}
        self.wait_for(lambda: wanted <= set(self.guests[instance_id].volumes or ()), "the disks are plugged in")

    def wait_for_console(self, instance_id: str, text: bytes, times: int = 1, seconds: float = 120) -> str:
        self.wait_for(lambda: self.consoles.get(instance_id, b"").count(text) >= times, f"{text!r}", seconds)
        return self.consoles[instance_id].decode(errors="replace").replace("\r", "")

    def disconnect(self) -> None:
        with self._news:
            if self._peer is not None:
                self._peer.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Meanwhile nothing is said to an agent, nor heard of it."""
        with self._news:
            yield

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self.disconnect()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        security = link_security(self.paths.pki)
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            try:
                with security.wrap_socket(raw, server_side=True) as peer:
                    self._talk(peer)
            except OSError:
                pass  # the agent was killed
            finally:
                raw.close()
                with self._news:
                    self._peer = None

    def _talk(self, peer: ssl.SSLSocket) -> None:
        stream = peer.makefile("rb")
        with stream:
            while head := stream.read(4):
                message = msgspec.json.decode(stream.read(int.from_bytes(head, "big")), type=HostMessage)
                with self._news:
                    if isinstance(message, Hello):
                        self.hello = message
                        self._peer = peer
                        peer.sendall(encode(self._everything()))
                    else:
                        self._take(message)
                    self._news.notify_all()

    def _everything(self) -> Assignment:
        specs, credentials = tuple(self.specs.values()), tuple(self.credentials.values())
        snapshots = tuple(self.snapshots.values())
        return Assignment(
            specs,
            True,
            tuple(self.doomed),
            credentials,
            (*self._keys(*specs), *self._snapshot_keys(*snapshots), *self._copy_keys(*self.copies.values())),
            snapshots,
            tuple(self.doomed_snapshots),
            tuple(self.copies.values()),
        )

    def _snapshot_keys(self, *snapshots: SnapshotSpec) -> tuple[VolumeKey, ...]:
        return tuple(self._key(each.volume_id) for each in snapshots if each.encrypted)

    def _key(self, volume_id: str) -> VolumeKey:
        own = self.keys.get(volume_id, key_of(self.snapshot_volumes.get(volume_id, volume_id)))
        return VolumeKey(volume_id, own, self.keys_below.get(volume_id, ()))

    def _keys(self, *specs: GuestSpec) -> tuple[VolumeKey, ...]:
        return tuple(
            self._key(volume.volume_id)
            for spec in specs
            if spec.desired == "running" or spec.hibernate
            for volume in spec.volumes
            if volume.encrypted and volume.volume_id not in self.withheld
        )

    def _take(self, report: Report) -> None:
        self.ready = report.ready
        for guest in report.guests:
            before = self.guests.get(guest.instance_id)
            if before is None or before.state != guest.state:
                self.states.append((guest.instance_id, guest.state))
            self.guests[guest.instance_id] = guest
            if guest.console is not None:
                self.consoles[guest.instance_id] = guest.console
        self.doomed.difference_update(report.deleted_volumes)
        self.doomed_snapshots.difference_update(report.deleted_snapshots)
        if report.keys_wanted and self._peer is not None:
            keys = tuple(map(self._key, report.keys_wanted))
            self._peer.sendall(encode(Assignment((), complete=False, keys=keys)))
        for snapshot in report.snapshots:
            self.taken[snapshot.snapshot_id] = snapshot
            if snapshot.percent == 100:
                self.snapshots.pop(snapshot.snapshot_id, None)
                self.copies.pop(snapshot.snapshot_id, None)
        for reading in report.traffic:
            self.traffic[reading.public_ip] = reading


class AgentProcess:
    """The real agent, as the supervisor runs it: in the cloud's namespace."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self.log = data_dir / "agent.log"
        self.start()

    def start(self, *options: str, wrapper: tuple[str | Path, ...] = ()) -> None:
        """`wrapper`: a command that runs what follows it, here the agent."""
        command = (sys.executable, "-m", "freehold.host", "--data-dir", self._data_dir, "--host-id", HOST, *options)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                (*wrapper, *command),
                preexec_fn=partial(namespace.enter, Paths(self._data_dir).namespace),  # noqa: PLW1509 it only calls setns
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(20)


@contextmanager
def running_agent(data_dir: Path) -> Iterator[AgentProcess]:
    agent = AgentProcess(data_dir)
    try:
        yield agent
    except BaseException:
        print(agent.log.read_text()[-4000:])
        raise
    finally:
        if agent.process.poll() is None:
            agent.end()
    assert agent.process.returncode in (0, -signal.SIGKILL), agent.log.read_text()[-4000:]


def key_of(volume_id: str) -> bytes:
    return hashlib.sha256(volume_id.encode()).digest()


def guest_spec(number: int, image_id: str, **changes: Any) -> GuestSpec:
    """Guest `number`: 10.0.1.<number> in VPC 1, as tests/fabric/views.py names things; number 251 has the address of
    number 1, and so on."""
    place = (number - 1) % 250 + 1
    metadata = MetadataSpec(
        account_id="111122223333",
        region="us-east-1",
        zone="us-east-1a",
        image_id=image_id,
        instance_type="t3.nano",
        reservation_id="r-0123456789abcdef0",
        launch_index=0,
        hostname=f"ip-10-0-1-{place}.ec2.internal",
        public_keys=(),
        user_data=None,
        tags=None,
        launched_at=dt.datetime(2026, 11, 25, tzinfo=dt.UTC),
        http_tokens="required",
        http_put_response_hop_limit=1,
        http_endpoint="enabled",
    )
    volume = f"vol-{number:017x}"
    return replace(
        GuestSpec(
            instance_id=f"i-{number:017x}",
            generation=1,
            desired="running",
            vcpus=1,
            memory_mib=128,
            reboots=0,
            shutdown_grace_seconds=60,
            volumes=(VolumeSpec(volume, 1, image_id, "/dev/xvda", boot=True, encrypted=True),),
            delete_volumes=(volume,),
            interfaces=(
                InterfaceSpec(
                    interface_id=f"eni-{65536 + number:017x}",
                    vpc_id=f"vpc-{1:017x}",
                    subnet_id=f"subnet-{257:017x}",
                    mac_address=f"0a:00:01:01:00:{place:02x}",
                    private_ip=f"10.0.1.{place}",
                    subnet_cidr="10.0.1.0/24",
                    vpc_cidr="10.0.0.0/16",
                    public_ip=None,
                    device_index=0,
                    security_groups=((f"sg-{1:017x}", "web"),),
                ),
            ),
            metadata=metadata,
            kernel_image_id=image_id,
        ),
        **changes,
    )


def leftovers(data_dir: Path, switch: Path) -> list[str]:
    """What there is of guests on this machine: processes, taps, ports, control groups, files. What stands ready for the
    next launch is not left over."""
    paths = Paths(data_dir)
    ready = standbys(paths.tag)
    pids = {str(who.pid) for who in ready.values()}
    files = (path for part in ("guests", "volumes") for path in sorted((paths.host / part).iterdir()))
    found = [f"file {path}" for path in files if path.name not in ready]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name not in pids:
            try:
                if f"guest=freehold-{paths.tag}-".encode() in (entry / "cmdline").read_bytes():
                    found.append(f"process {entry.name}")
            except (FileNotFoundError, ProcessLookupError):
                continue

    def interfaces() -> list[str]:
        return [f"tap {name}" for _, name in socket.if_nameindex() if name.startswith(("fh", "fm")) and len(name) > 11]

    found += namespace.inside(paths.namespace, interfaces)
    listed = subprocess.run(
        ("ovs-vsctl", "--timeout=10", f"--db=unix:{switch}", "list-ports", "br-int"), check=True, capture_output=True
    )
    found += [f"port {name}" for name in listed.stdout.decode().split() if name.startswith(("fh", "fm"))]
    for mount in ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/memory", "/sys/fs/cgroup"):
        group = os.path.join(mount, f"freehold-{paths.tag}")
        if os.path.isdir(group):
            found += [f"group {entry.path}" for entry in os.scandir(group) if entry.is_dir()]
    return found
