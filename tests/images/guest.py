"""A real guest for tests: QEMU (TCG) with a tap in a network namespace of its own, DHCP and IMDSv2 beside it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from freehold.host.hypervisor.qemu import EMULATED_CPU, Hardware
from freehold.host.hypervisor.slots import place
from freehold.images.catalog import ImageManifest, paths

SERVER = Path(__file__).with_name("metadata_server.py")
ADDRESS = "10.77.0.10"
QEMU = "qemu-system-x86_64"


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


class Network:
    """A namespace with a tap and the server behind it; everything goes with it."""

    tap = "tap0"

    def __init__(self, directory: Path, metadata: dict[str, str]) -> None:
        self.name = f"fh-img-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self.documents = directory / "metadata.json"
        self.documents.write_text(json.dumps(metadata))

    def __enter__(self) -> Self:
        run("ip", "netns", "add", self.name)
        for command in (
            "link set lo up",
            f"tuntap add {self.tap} mode tap",
            f"addr add 10.77.0.1/24 dev {self.tap}",
            f"addr add 169.254.169.254/32 dev {self.tap}",
            f"link set {self.tap} up",
        ):
            run("ip", "-n", self.name, *command.split())
        inside = ("ip", "netns", "exec", self.name)
        self.server = subprocess.Popen((*inside, sys.executable, str(SERVER), self.tap, str(self.documents)))
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.kill()
        self.server.wait()
        run("ip", "netns", "delete", self.name)


class Guest:
    """One run of QEMU over a root volume that outlives it."""

    def __init__(
        self,
        image: ImageManifest,
        data_dir: Path,
        network: Network,
        volume: Path,
        *,
        memory: int,
        cpu: str = EMULATED_CPU,
        vcpus: int = 1,
    ) -> None:
        self.network = network
        self.console = volume.with_suffix(f".{uuid.uuid4().hex[:6]}.console")
        self._qmp_path = volume.with_suffix(".qmp")
        files = paths(data_dir, image)
        disk = {"driver": "qcow2", "node-name": "root", "discard": "unmap"}
        disk |= {"file": {"driver": "file", "filename": str(volume), "discard": "unmap"}}  # type: ignore[dict-item]
        # The SMBIOS identity by which cloud-init takes the machine for an EC2 instance (notes of its ds-identify).
        identity = "ec20e498-0000-0000-0000-000000000001"
        block = {"driver": "virtio-blk-pci", "drive": "root", "serial": "vol0123456789abcdef0", **place(1)}
        card = {"driver": "virtio-net-pci", "netdev": "net0", "mac": "02:00:00:00:00:0a", "romfile": "", **place(2)}
        self.command = (
            *(QEMU, "-nodefaults", "-no-user-config", "-display", "none"),
            *("-M", "pc-q35-7.2", "-accel", "tcg,tb-size=64", "-cpu", cpu, "-smp", str(vcpus), "-m", str(memory)),
            *("-smbios", f"type=1,manufacturer=Amazon EC2,product=t3.nano,serial={identity},uuid={identity}"),
            *Hardware(vcpus, memory, "tcg").devices(),  # those of Freehold's machines
            *("-blockdev", json.dumps(disk), "-device", json.dumps(block)),
            *("-netdev", f"tap,id=net0,ifname={network.tap},script=no,downscript=no"),
            *("-device", json.dumps(card)),
            *("-chardev", f"file,id=serial0,path={self.console}", "-serial", "chardev:serial0"),
            *("-qmp", f"unix:{self._qmp_path},server=on,wait=off"),
            *("-kernel", str(files.kernel), "-initrd", str(files.initrd), "-append", image.append),
        )

    def __enter__(self) -> Self:
        self.started = time.monotonic()
        self.process = subprocess.Popen(("ip", "netns", "exec", self.network.name, *self.command))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if kind is not None:
            print(self.log()[-4000:])

    def log(self) -> str:
        return self.console.read_text(errors="replace").replace("\r", "") if self.console.exists() else ""

    def wait_for(self, text: str, *, times: int = 1, limit: float = 120) -> str:
        """The console log, once it holds `text` that many times."""
        deadline = time.monotonic() + limit
        while self.log().count(text) < times:
            assert self.process.poll() is None, f"QEMU ended with {self.process.returncode}"
            assert time.monotonic() < deadline, f"{text!r} is not on the console after {limit} s"
            time.sleep(0.02)
        return self.log()

    def wait_for_exit(self, limit: float = 60) -> int:
        return self.process.wait(limit)

    def ssh(self, key: Path, command: str, *, user: str = "root") -> str:
        """Run a command in the guest; its standard output. The guest must be up: see `wait_for`."""
        done = self.try_ssh(command, "-i", str(key), user=user)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def try_ssh(self, command: str, *options: str, user: str = "root") -> subprocess.CompletedProcess[str]:
        inside = ("ip", "netns", "exec", self.network.name)
        common = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "LogLevel=ERROR")
        flags = [word for option in (*common, "ConnectTimeout=30") for word in ("-o", option)]
        argv = (*inside, "ssh", "-F", "/dev/null", *flags, *options, f"{user}@{ADDRESS}", command)
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)

    def presented_host_key(self) -> str:
        """The ed25519 host key that the guest's SSH server shows to a client: type and base64."""
        found = run("ip", "netns", "exec", self.network.name, "ssh-keyscan", "-T", "30", "-t", "ed25519", ADDRESS)
        return " ".join(found.split()[1:3])

    def printed_host_keys(self) -> list[str]:
        """The host keys that the guest printed on its console, last boot's: type and base64 of each line."""
        lines = self.log().split("-----BEGIN SSH HOST KEY KEYS-----\n")[-1]
        block = lines.split("-----END SSH HOST KEY KEYS-----")[0]
        return [" ".join(line.split()[:2]) for line in block.splitlines()]

    def qmp(self, command: str) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._qmp_path))
            stream = connection.makefile("rw")
            stream.readline()  # greeting
            for name in ("qmp_capabilities", command):
                stream.write(json.dumps({"execute": name}) + "\n")
                stream.flush()
                answer: dict[str, Any] = json.loads(stream.readline())
                assert "error" not in answer, answer
            return answer
