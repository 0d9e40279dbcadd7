"""``freehold ssh`` and ``freehold console``."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import termios
import time
import tty
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from freehold.cli import fail
from freehold.cli.endpoint import client, cloud_paths, running_endpoint
from freehold.cli.host_keys import host_keys, known_hosts
from freehold.cli.progress import say
from freehold.host.layout import Layout
from freehold.images.catalog import load
from freehold.paths import Paths
from freehold.records.ids import is_ec2_id

BOOT_SECONDS_MAX = 600  # Debian under emulation on a busy machine
_CONNECT_SECONDS_MAX = 10
_SILENT_MAX = 4  # connections that nothing answers: a boot that has just begun, or a security group
_LEAVE = b"\x1d"  # Ctrl-]
_SSH_OPTIONS = ("StrictHostKeyChecking=yes", "GlobalKnownHostsFile=/dev/null", "UpdateHostKeys=no")


def ssh(data_dir: Path, instance: str, key: Path | None, user: str | None, command: list[str]) -> NoReturn:
    """Become an `ssh` that takes only the host keys that the guest printed on its console."""
    paths = cloud_paths(data_dir)
    endpoint = running_endpoint(data_dir)
    ec2 = client(endpoint, "ec2")
    found = _find(ec2, instance)
    instance_id = found["InstanceId"]
    address = found.get("PublicIpAddress")
    if found["State"]["Name"] not in ("pending", "running") or not address:
        raise fail(f"{instance_id} is {found['State']['Name']} and has no public address to reach it by.")
    deadline = time.monotonic() + BOOT_SECONDS_MAX
    if not (keys := printed_keys(ec2, instance_id)):
        say(f"{instance_id} boots: it is waited for until its SSH host keys are on its console")
    while not keys:
        if time.monotonic() > deadline:
            raise fail(f"{instance_id} has not printed its SSH host keys: `freehold console {instance_id}` shows why.")
        time.sleep(0.5)
        keys = printed_keys(ec2, instance_id)
    ec2.close()
    _wait_for_boot(address, deadline)
    trusted = paths.run / "ssh" / instance_id
    trust(trusted, address, keys)
    argv = ssh_command(address, user or default_user(paths, found["ImageId"]), trusted, key, command)
    os.execvp(argv[0], argv)  # noqa: S606 an argument list, no shell


def _wait_for_boot(address: str, deadline: float) -> None:
    """Wait for a server that boots again: its console still shows the keys that it printed before."""
    for silent in range(_SILENT_MAX):
        try:
            while time.monotonic() < deadline:
                with contextlib.suppress(ConnectionRefusedError):
                    socket.create_connection((address, 22), _CONNECT_SECONDS_MAX).close()
                    return
                time.sleep(0.5)
        except OSError:
            if silent == 0:
                say(f"{address} does not answer on port 22 yet; once it has booted, its security groups may be why")


def printed_keys(ec2: Any, instance_id: str) -> list[str]:
    """The host keys on the console of an instance; none as long as it has not printed them."""
    return host_keys(ec2.get_console_output(InstanceId=instance_id, Latest=True).get("Output", ""))


def trust(trusted: Path, address: str, keys: list[str]) -> None:
    """Write the known_hosts file of an instance, whole at any time."""
    trusted.parent.mkdir(mode=0o700, exist_ok=True)
    fresh = trusted.with_suffix(f".{os.getpid()}")
    fresh.write_text(known_hosts(address, keys))
    fresh.rename(trusted)


def ssh_command(
    address: str, user: str, trusted: Path, key: Path | None, command: Sequence[str], *more: str
) -> list[str]:
    """The `ssh` command. `trusted`: a known_hosts file with the only keys to accept. `more`: further options."""
    options = [word for option in (*_SSH_OPTIONS, f"UserKnownHostsFile={trusted}") for word in ("-o", option)]
    identity = ["-i", str(key), "-o", "IdentitiesOnly=yes"] if key else []
    return ["ssh", *options, *identity, *more, "-l", user, "--", address, *command]


def console(data_dir: Path, instance_id: str) -> None:
    """Join the terminal and the guest's serial line until Ctrl-] or the end of either."""
    paths = cloud_paths(data_dir)
    if not is_ec2_id("i", instance_id):
        raise fail(f"{instance_id!r} is not the id of an instance: `freehold aws ec2 describe-instances` lists them.")
    line = socket.socket(socket.AF_UNIX)
    try:
        line.connect(str(Layout(paths).guest(instance_id).console))
    except OSError:
        raise fail(f"{instance_id} does not run on this machine.") from None
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal) if os.isatty(terminal) else None
    if before is not None:
        tty.setraw(terminal)
        print("Ctrl-] leaves.", end="\r\n", file=sys.stderr)
    try:
        _join(terminal, sys.stdout.fileno(), line)
    finally:
        if before is not None:
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        line.close()


def _join(reading: int, writing: int, line: socket.socket) -> None:
    while True:
        ready, _, _ = select.select([reading, line.fileno()], [], [])
        if line.fileno() in ready:
            output = line.recv(65536)
            if not output:
                return
            while output:
                output = output[os.write(writing, output) :]
        if reading in ready:
            typed = os.read(reading, 4096)
            if not typed or _LEAVE in typed:
                return
            line.sendall(typed)


def _find(ec2: Any, instance: str) -> dict[str, Any]:
    """The instance with this id, or the one that has this Name tag and is not terminated."""
    name = "instance-id" if is_ec2_id("i", instance) else "tag:Name"
    pages = ec2.get_paginator("describe_instances").paginate(Filters=[{"Name": name, "Values": [instance]}])
    found = [each for page in pages for reservation in page["Reservations"] for each in reservation["Instances"]]
    alive: list[dict[str, Any]] = [each for each in found if each["State"]["Name"] != "terminated"]
    if len(alive) > 1:
        raise fail(f"{len(alive)} servers are named {instance!r}: give the id of one.")
    if not alive:
        raise fail(f"There is no server {instance!r}: `freehold aws ec2 describe-instances` lists them.")
    return alive[0]


def default_user(paths: Paths, image_id: str) -> str:
    """Whom an image lets in by SSH."""
    return next((image.default_user for image in load(paths.data_dir) if image.image_id == image_id), "root")
