"""Launch as a clone of a template against a bare resume, both on this machine, in one run: ``python -m bench.warm``.

From RunInstances to the banner of SSH and to a login that ran a command; against a QEMU that resumes the same template,
gets the same kinds of device plugged in, and has a DHCP and metadata server ready beside it. Then forty servers at once
against forty bare resumes two at a time, and what memory each of them takes when it is idle.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from bench.api import EC2
from bench.client import Connection, signed
from bench.launch import IMAGE, MEMORY_MIB, Freehold, listens, two_at_a_time, wait_for_login
from freehold.cli.temporary import TemporaryCloud, temporary_cloud
from freehold.host import images
from freehold.host.hypervisor import slots
from freehold.host.hypervisor.qemu import Hardware, boot
from freehold.host.templates import maker, reclaim
from freehold.host.templates.store import Recipe, Shape, Store, Template
from freehold.images.build import build
from freehold.images.catalog import paths
from freehold.network import namespace
from freehold.processes import guests
from tests.images.conftest import instance_metadata
from tests.images.guest import ADDRESS, Network, run

_SECONDS_MAX = 900.0
_SETTLE_SECONDS = 15.0
_CALM_SECONDS = 2.0  # until the machine has done with what was before


def wait_for_banner(address: str) -> None:
    """Return once a server of SSH has said what it is."""
    deadline = time.monotonic() + _SECONDS_MAX
    while time.monotonic() < deadline:
        if listens(address):
            with socket.create_connection((address, 22), timeout=5) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        time.sleep(0.01)
    raise RuntimeError(f"{address} did not answer by SSH")


class Monitor:
    """QEMU's monitor, by the words that it is spoken to."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self._socket.connect(str(path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.002)
        self._lines = self._socket.makefile("rb")
        self._lines.readline()
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: object) -> None:
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while "return" not in (said := json.loads(self._lines.readline())):
            if "error" in said:
                raise RuntimeError(f"{command}: {said}")

    def wait_until_loaded(self) -> None:
        while json.loads(self._lines.readline()).get("data", {}).get("status") != "completed":
            pass


class Bare:
    """Clones of a template by a plain QEMU, each in a namespace of its own."""

    def __init__(self, directory: Path, stack: ExitStack, number: int) -> None:
        self._directory, self._stack = directory, stack
        self._image = build(IMAGE, directory, lambda _line: None)
        self.key = directory / "key"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        self._template = _template(directory, self._image.image_id)
        stack.callback(self._template.close)
        stack.callback(os.close, self._template.library)
        self._networks = [self._network(each) for each in range(number)]

    def _network(self, number: int) -> Network:
        directory = self._directory / f"bare-{number}"
        directory.mkdir()
        return self._stack.enter_context(Network(directory, instance_metadata(f"i-{number:017x}", [self.key], "")))

    def launch(self) -> tuple[float, float]:
        """Seconds from QEMU's start to the banner and to a login; the guest runs on until the stack is closed."""
        network = self._networks.pop()
        place = network.documents.parent
        began = time.monotonic()
        volume = place / "root.qcow2"
        base = str(paths(self._directory, self._image).disk)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, str(volume), "1G")
        self._stack.enter_context(self._resumed(network, place, volume))
        return namespace.inside(network.name, lambda: self._answered(network, began))

    def _answered(self, network: Network, began: float) -> tuple[float, float]:
        wait_for_banner(ADDRESS)
        banner = time.monotonic() - began
        wait_for_login(ADDRESS, self.key, network.name)
        return banner, time.monotonic() - began

    @contextmanager
    def _resumed(self, network: Network, place: Path, volume: Path) -> Iterator[None]:
        files = paths(self._directory, self._image)
        state = os.open(f"/proc/self/fd/{self._template.state}", os.O_RDONLY)
        kernel, initrd = os.open(files.kernel, os.O_PATH), os.open(files.initrd, os.O_PATH)
        library = self._template.library
        hardware = Hardware(1, MEMORY_MIB, "tcg")
        command = (
            *("ip", "netns", "exec", network.name, "env", f"LD_PRELOAD=/dev/fd/{library}"),
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config"),
            *("-display", "none", "-incoming", "defer", *hardware.in_file(self._template.memory, shared=False)),
            *("-chardev", f"file,id=console,path={place / 'console'}", "-serial", "chardev:console"),
            *("-qmp", f"unix:{place / 'qmp'},server=on,wait=on", *boot(kernel, initrd, self._image.append)),
        )
        own = (state, kernel, initrd)
        with subprocess.Popen(command, pass_fds=(self._template.memory, library, *own)) as process:
            for each in own:
                os.close(each)
            monitor = Monitor(place / "qmp")
            capable = [{"capability": name, "state": True} for name in ("x-ignore-shared", "events")]
            monitor.execute("migrate-set-capabilities", capabilities=capable)
            monitor.execute("migrate-incoming", uri=f"fd:{state}")
            monitor.wait_until_loaded()
            file = {"driver": "file", "filename": str(volume), "discard": "unmap"}
            monitor.execute(
                "blockdev-add", **{"node-name": "root", "driver": "qcow2", "discard": "unmap", "file": file}
            )
            monitor.execute(
                "device_add", driver="virtio-blk-pci", drive="root", serial="vol0123456789abcdef0", **slots.place(1)
            )
            monitor.execute("netdev_add", type="tap", id="net0", ifname=network.tap, script="no", downscript="no")
            card = {
                "driver": "virtio-net-pci",
                "netdev": "net0",
                "mac": "02:00:00:00:00:0a",
                "romfile": "",
                **slots.place(2),
            }
            monitor.execute("device_add", **card)
            monitor.execute("cont")
            try:
                yield
            finally:
                process.kill()


def _template(directory: Path, image_id: str) -> Template:
    """One made and kept by Freehold's own code: the guests on both sides are the same."""
    shape = Shape(image_id, "fh1.nano", 1, MEMORY_MIB)
    image = images.load_kernel(directory / "images", image_id)
    recipe = Recipe(shape, "bench", "", "", image.append, maker.machine(shape, "tcg", image))
    store = Store(directory / "templates")
    asyncio.run(maker.make(store, recipe, image, "tcg", "freehold-bench-template"))
    return store.load(recipe, asyncio.run(reclaim.library()))


@contextmanager
def bare(number: int) -> Iterator[Bare]:
    with tempfile.TemporaryDirectory(prefix="fh-bare-", dir="/var/tmp") as directory, ExitStack() as stack:
        yield Bare(Path(directory), stack, number)


class Warm(Freehold):
    """Servers of a cloud that has a template."""

    def __init__(self, cloud: TemporaryCloud) -> None:
        super().__init__(cloud)
        self._tag = cloud.paths.tag
        self._endpoint = cloud.endpoint
        self._connection = Connection(urlsplit(cloud.endpoint.url).port or 80)
        log = cloud.paths.log / "host.log"
        while "template ready" not in log.read_text():
            time.sleep(0.1)

    def one(self) -> tuple[float, float, float]:
        """Seconds from the state pending, which RunInstances answers, to the state running; from the call to the banner
        of SSH, and to a login."""
        began = time.monotonic()
        launched = self._ec2.run_instances(
            ImageId=self._image, InstanceType="fh1.nano", KeyName="bench", MinCount=1, MaxCount=1
        )
        pending = time.monotonic()
        self._ids = [launched["Instances"][0]["InstanceId"]]
        while b"<name>pending</name>" in (shown := self._describe()):
            time.sleep(0.01)
        running = time.monotonic() - pending
        address = shown.partition(b"<ipAddress>")[2].partition(b"<")[0].decode()
        wait_for_banner(address)
        banner = time.monotonic() - began
        wait_for_login(address, self._key)
        return running, banner, time.monotonic() - began

    def memory_mib(self) -> float:
        """What each of the guests takes, once they are idle: its proportional set size (proc_pid_smaps(5))."""
        time.sleep(_SETTLE_SECONDS)
        pids = [who.pid for who in guests(self._tag).values()]
        return statistics.mean(_pss_kib(pid) for pid in pids) / 1024

    def _describe(self) -> bytes:
        """By a client that costs little: boto3's own work would be most of what a launch is waited for."""
        keys = self._endpoint.access_key_id, self._endpoint.secret_access_key
        asked = {"InstanceId.1": self._ids[0]}
        return self._connection.send(signed(self._endpoint.url, keys, *EC2, "DescribeInstances", **asked))


def _pss_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise RuntimeError("smaps_rollup has no Pss")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="single launches on each side")
    parser.add_argument("--many", type=int, default=40, help="servers at once")
    options = parser.parse_args()
    ours, theirs = [], []
    with temporary_cloud(IMAGE, None, print) as cloud:
        freehold = Warm(cloud)
        for _ in range(options.rounds):
            with bare(1) as one:
                time.sleep(_CALM_SECONDS)
                theirs.append(one.launch())
            time.sleep(_CALM_SECONDS)
            ours.append(freehold.one())
            freehold.terminate()
            print("running {:.2f}, banner {:.2f}, login {:.2f} s".format(*ours[-1]), end="; ")
            print("bare banner {:.2f}, login {:.2f} s".format(*theirs[-1]))
        running, banner, login = (statistics.median(each) for each in zip(*ours, strict=True))
        bare_banner, bare_login = (statistics.median(each) for each in zip(*theirs, strict=True))
        they = we = memory = 0.0
        if options.many:
            with bare(options.many) as many:
                they = two_at_a_time(options.many, lambda: many.launch()[1])
            we = freehold.launch(options.many)
            memory = freehold.memory_mib()
    table = Table(title="Launch as a clone of a template: Freehold against a bare resume")
    for name in ("what", "Freehold", "bare", "ratio", "wanted"):
        table.add_column(name, justify="left" if name == "what" else "right")
    table.add_row("pending → running (s)", f"{running:.2f}", "", "", "≤ 0.3")
    for name, mine, peer, wanted in (
        ("banner of SSH (s)", banner, bare_banner, "≤ 1.0, ≤ 1.4×"),
        ("login (s)", login, bare_login, "≤ 1.5, ≤ 1.4×"),
        (f"{options.many} at once, login (s)", we, they, "≤ 1.25×"),
    ):
        table.add_row(name, f"{mine:.2f}", f"{peer:.2f}", f"{mine / peer:.2f}×" if peer else "", wanted)
    table.add_row("memory of an idle guest (MiB)", f"{memory:.0f}", "", "", "≤ 64")
    Console().print(table)


if __name__ == "__main__":
    main()
