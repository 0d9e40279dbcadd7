"""Launch that boots against a bare boot, both on this machine, in one run: ``python -m bench.launch``.

From RunInstances to a login by SSH, against the same image under `qemu-system` with the same devices and a DHCP
and metadata server ready beside it. Then forty servers at once, against the mean of forty bare boots two at a time
before them and forty after them, for a machine's speed changes within minutes; all forty run on until the last has
answered, on both sides.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from freehold.cli.endpoint import client
from freehold.cli.temporary import TemporaryCloud, temporary_cloud
from freehold.images.build import build
from freehold.images.catalog import ImageManifest, paths
from freehold.network import namespace
from tests.images.conftest import instance_metadata
from tests.images.guest import ADDRESS, Guest, Network, run

IMAGE = "freehold-micro"
MEMORY_MIB = 128  # of fh1.nano
_SECONDS_MAX = 900.0
_OPTIONS = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")


def wait_for_login(address: str, key: Path, netns: str | None = None, user: str = "root") -> None:
    """Return once a command has run in the guest; looked for by a cheap connection before OpenSSH is started."""
    enter = () if netns is None else ("nsenter", f"--net=/run/netns/{netns}")
    options = [word for option in _OPTIONS for word in ("-o", option)]
    command = (*enter, "ssh", "-F", "none", *options, "-i", str(key), f"{user}@{address}", "true")
    deadline = time.monotonic() + _SECONDS_MAX
    while time.monotonic() < deadline:
        if listens(address) and subprocess.run(command, stdin=subprocess.DEVNULL).returncode == 0:
            return
        time.sleep(0.05)
    raise RuntimeError(f"{address} did not answer by SSH")


def listens(address: str) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection((address, 22), timeout=0.5).close()
        return True
    return False


class Bare:
    """Guests of a plain QEMU, each in a namespace of its own with its own DHCP and metadata server."""

    def __init__(self, directory: Path, stack: ExitStack, number: int) -> None:
        self._directory = directory
        self._stack = stack
        self._image: ImageManifest = build(IMAGE, directory, lambda _line: None)
        self._key = directory / "key"
        if not self._key.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._key))
        self._networks = [self._network(each) for each in range(number)]

    def _network(self, number: int) -> Network:
        directory = self._directory / f"bare-{number}"
        directory.mkdir()
        return self._stack.enter_context(Network(directory, instance_metadata(f"i-{number:017x}", [self._key], "")))

    def boot(self) -> float:
        """Seconds from QEMU's start to a login; the guest runs on until the stack is closed."""
        network = self._networks.pop()
        volume = network.documents.with_name("root.qcow2")
        began = time.monotonic()
        base = str(paths(self._directory, self._image).disk)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, str(volume), "1G")
        self._stack.enter_context(Guest(self._image, self._directory, network, volume, memory=MEMORY_MIB))
        namespace.inside(network.name, lambda: wait_for_login(ADDRESS, self._key, network.name))
        return time.monotonic() - began


@contextmanager
def bare(number: int) -> Iterator[Bare]:
    with tempfile.TemporaryDirectory(prefix="fh-bare-", dir="/var/tmp") as directory, ExitStack() as stack:
        yield Bare(Path(directory), stack, number)


class Freehold:
    """Servers by the AWS API."""

    def __init__(self, cloud: TemporaryCloud, instance_type: str = "fh1.nano", user: str = "root") -> None:
        self._type = instance_type
        self._user = user
        self._ec2: Any = client(cloud.endpoint, "ec2")
        self._key = cloud.paths.data_dir / "bench.pem"
        self._key.touch(mode=0o600)
        self._key.write_text(self._ec2.create_key_pair(KeyName="bench", KeyType="ed25519")["KeyMaterial"])
        self._ec2.authorize_security_group_ingress(
            GroupName="default", IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0"
        )
        self._image = self._ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]

    def encrypt(self, encrypted: bool) -> None:
        """Whether the volumes of later launches are encrypted."""
        if encrypted:
            self._ec2.enable_ebs_encryption_by_default()
        else:
            self._ec2.disable_ebs_encryption_by_default()

    def launch(self, number: int) -> float:
        """Seconds from RunInstances to a login in each of them."""
        began = time.monotonic()
        launched = self._ec2.run_instances(
            ImageId=self._image, InstanceType=self._type, KeyName="bench", MinCount=number, MaxCount=number
        )
        self._ids = [instance["InstanceId"] for instance in launched["Instances"]]
        described = self._ec2.describe_instances(InstanceIds=self._ids)["Reservations"][0]["Instances"]
        addresses = [instance["PublicIpAddress"] for instance in described]
        with ThreadPoolExecutor(number) as executor:
            list(executor.map(lambda address: wait_for_login(address, self._key, user=self._user), addresses))
        return time.monotonic() - began

    def terminate(self) -> None:
        self._ec2.terminate_instances(InstanceIds=self._ids)
        self._ec2.get_waiter("instance_terminated").wait(
            InstanceIds=self._ids, WaiterConfig={"Delay": 1, "MaxAttempts": 600}
        )


def two_at_a_time(number: int, boot: Callable[[], float]) -> float:
    began = time.monotonic()
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        for each in [executor.submit(boot) for _ in range(number)]:
            each.result()
    return time.monotonic() - began


def many_bare(number: int) -> float:
    """Seconds until all of so many bare guests have let somebody in."""
    with bare(number) as many:
        seconds = two_at_a_time(number, many.boot)
    print(f"{number} bare: {seconds:.1f} s")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="single launches on each side")
    parser.add_argument("--many", type=int, default=40, help="servers at once")
    options = parser.parse_args()
    table = Table(title="Seconds from launch to a login by SSH: Freehold against a bare QEMU")
    for name in ("servers", "Freehold", "bare", "ratio", "wanted"):
        table.add_column(name, justify="right", no_wrap=name == "servers")
    ours, theirs = [], []
    with temporary_cloud(IMAGE, None, print, "[compute]\ntemplate_memory_mib = 0\n") as cloud:
        freehold = Freehold(cloud)
        for _ in range(options.rounds):
            with bare(1) as one:
                theirs.append(one.boot())
            ours.append(freehold.launch(1))
            freehold.terminate()
            print(f"bare {theirs[-1]:.2f} s, Freehold {ours[-1]:.2f} s")
        single = statistics.median(ours), statistics.median(theirs)
        before = many_bare(options.many)
        we = freehold.launch(options.many)
        print(f"{options.many} of Freehold: {we:.1f} s")
        freehold.terminate()
        they = statistics.mean((before, many_bare(options.many)))
    for number, seconds, peer, wanted in ((1, *single, 1.3), (options.many, we, they, 1.2)):
        table.add_row(str(number), f"{seconds:.2f}", f"{peer:.2f}", f"{seconds / peer:.2f}×", f"≤ {wanted}×")
    Console().print(table)


if __name__ == "__main__":
    main()
