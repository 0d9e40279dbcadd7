"""A cloud's network for tests: namespace, link and daemons, as `freehold up` runs them; a guest is a namespace too.

with ovn_cloud(tmp_path, IPv4Network("198.51.100.0/25")) as cloud:
    fabric = Fabric(cloud.paths.northbound) …
    guest = cloud.plug("eni-0123456789abcdef0", "0a:00:00:00:00:01")
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

from freehold.host.cgroup import Cgroups
from freehold.network import namespace
from freehold.network.daemons import Daemon, daemons, prepare
from freehold.network.names import BR_INT, CloudNetwork
from freehold.paths import Paths
from freehold.processes import end, guests, standbys

LINK_RANGE = IPv4Network("100.64.0.0/16")


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 90) -> None:
    """Return once the condition holds. The limit is only there for a test that would never end."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for: {what}"
        time.sleep(0.02)


def run(*command: str | Path, netns: str | None = None, check: bool = True) -> str:
    """The output of a command, run in a network namespace."""
    enter = None if netns is None else partial(namespace.enter, netns)
    done = subprocess.run(command, preexec_fn=enter, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert not check or done.returncode == 0, f"{command}: {done.stdout}"
    return done.stdout


def succeeds(*command: str | Path, netns: str | None = None) -> bool:
    enter = None if netns is None else partial(namespace.enter, netns)
    return (
        subprocess.run(command, preexec_fn=enter, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    )


@dataclass
class Cloud:
    network: CloudNetwork
    paths: Paths
    daemons: tuple[Daemon, ...]
    log: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    guests: list[str] = field(default_factory=list)

    def start(self, name: str) -> None:
        """Start one daemon, and wait until it is ready."""
        (daemon,) = (daemon for daemon in self.daemons if daemon.name == name)
        with self.log.open("ab") as log:
            self.processes[name] = subprocess.Popen(
                daemon.argv,
                env=daemon.env,
                preexec_fn=partial(namespace.enter, self.network.namespace),  # noqa: PLW1509 (one thread)
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: daemon.ready() or self.processes[name].poll() is not None, f"{name} is ready")
        assert self.processes[name].poll() is None, self.log.read_text()[-2000:]
        daemon.started()

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        process = self.processes.pop(name)
        process.send_signal(how)
        process.wait(20)

    def plug(self, interface: str, mac: str) -> str:
        """A namespace whose `eth0` is plugged into the port `interface` of OVN; returns the namespace's name."""
        return self._guest(interface, mac, "eth0")

    def plug_with_address(self, interface: str, mac: str, address: str, gateway: str) -> str:
        """As `plug`, with a fixed address (``10.0.0.5/24``)."""
        guest = self.plug(interface, mac)
        run("ip", "addr", "add", address, "dev", "eth0", netns=guest)
        run("ip", "route", "add", "default", "via", gateway, netns=guest)
        return guest

    def unplug(self, guest: str) -> None:
        number = self.guests.index(guest)
        self.vsctl("--if-exists", "del-port", f"p{number}")
        run("ip", "netns", "del", guest)
        self.guests[number] = ""

    def vsctl(self, *arguments: str) -> str:
        return run("ovs-vsctl", "--timeout=20", f"--db=unix:{self.paths.switch}", *arguments)

    def _guest(self, interface: str, mac: str, device: str) -> str:
        number = len(self.guests)
        guest, outer = f"{self.network.chassis}-g{number}", f"p{number}"
        self.guests.append(guest)
        run("ip", "netns", "add", guest)
        inside = self.network.namespace
        run("ip", "link", "add", outer, "type", "veth", "peer", "name", device, "netns", guest, netns=inside)
        run("ethtool", "-K", outer, "tx", "off", netns=inside)
        run("ip", "link", "set", outer, "up", netns=inside)
        run("ethtool", "-K", device, "tx", "off", netns=guest)
        run("ip", "link", "set", "lo", "up", netns=guest)
        run("ip", "link", "set", device, "address", mac, "up", netns=guest)
        self.vsctl(
            "--may-exist",
            "add-port",
            BR_INT,
            outer,
            "--",
            "set",
            "interface",
            outer,
            f"external_ids:iface-id={interface}",
        )
        return guest


@contextmanager
def ovn_cloud(directory: Path, pool: IPv4Network) -> Iterator[Cloud]:
    """The running network of a cloud whose data directory is `directory`; nothing of it is left afterwards."""
    paths = Paths(directory)
    network = CloudNetwork(paths.tag, pool, LINK_RANGE)
    cloud = Cloud(network, paths, daemons(network, paths), directory / "ovn.log")
    try:
        namespace.create(network)
        prepare(paths)
        for daemon in cloud.daemons:
            cloud.start(daemon.name)
        yield cloud
    finally:
        for who in (*guests(paths.tag).values(), *standbys(paths.tag).values()):  # a test that failed may leave some
            end(who, seconds=0)
        for name in reversed(list(cloud.processes)):
            cloud.stop(name)
        for guest in filter(None, cloud.guests):
            if os.path.exists(f"/run/netns/{guest}"):
                run("ip", "netns", "del", guest)
        namespace.remove(network)
        groups = Cgroups.detect(paths.tag)
        for instance_id in groups.guests():
            groups.remove(instance_id)
        groups.remove_parent()
