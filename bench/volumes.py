"""Volumes: ``python -m bench.volumes``.

From AttachVolume to the disk in a server that runs, seen by a program in it; and a volume's storage stack, served by
QEMU's storage daemon, against a plain file of the host served in the same way, plain and encrypted, by turns.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.encryption import PATTERNS, Volumes, exported, served, transfer
from bench.launch import IMAGE, Freehold
from freehold.cli.endpoint import client
from freehold.cli.temporary import temporary_cloud

ATTACH_SECONDS_MAX = 0.5
_WANTED = {"sequential": 0.8, "scattered": 0.6}
_MIB = 1 << 20


@contextmanager
def host_file(directory: Path) -> Iterator[str]:
    """The address of a file of 1 GiB that QEMU's storage daemon serves as it is."""
    path = directory / "host.raw"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with served(directory / "host.sock", "--blockdev", f"driver=file,node-name=disk,filename={path}") as address:
        yield address


def throughput(directory: Path, rounds: int) -> dict[str, tuple[float, float, float]]:
    """Medians of MiB a second (the host's file, a plain volume, an encrypted one) of each pattern, on disks that have
    been written to once."""
    volumes = Volumes(directory)
    with (
        host_file(directory) as host,
        exported(*volumes.make(encrypted=False)) as plain,
        exported(*volumes.make(encrypted=True)) as secret,
    ):
        for address in (host, plain, secret):
            transfer(address, _MIB, 1024, write=True)
        found = {}
        for name, (size, count, write, step) in PATTERNS.items():
            speeds: dict[str, list[float]] = {address: [] for address in (host, plain, secret)}
            for _ in range(rounds):
                for address, taken in speeds.items():
                    taken.append(size * count / _MIB / transfer(address, size, count, write=write, step=step))
            found[name] = (*map(statistics.median, speeds.values()),)
        return found  # type: ignore[return-value]


def attaching(rounds: int) -> float:
    """The median of seconds from AttachVolume to the disk in a server."""
    with temporary_cloud(IMAGE, None, print) as cloud:
        freehold = Freehold(cloud)
        freehold.launch(1)
        ec2: Any = client(cloud.endpoint, "ec2")
        (reservation,) = ec2.describe_instances()["Reservations"]
        (instance,) = reservation["Instances"]
        zone = instance["Placement"]["AvailabilityZone"]
        taken = [_attach(ec2, instance, zone, cloud.paths.data_dir / "bench.pem") for _ in range(rounds)]
        freehold.terminate()
        return statistics.median(taken)


def _attach(ec2: Any, instance: Any, zone: str, key: Path) -> float:
    volume_id = ec2.create_volume(AvailabilityZone=zone, Size=1, VolumeType="gp3")["VolumeId"]
    waiting = {"Delay": 1, "MaxAttempts": 60}
    ec2.get_waiter("volume_available").wait(VolumeIds=[volume_id], WaiterConfig=waiting)
    disk = "/sys/block/vdb/serial"  # the root volume is vda
    command = f"echo ready; until [ -e {disk} ]; do sleep 0.01; done; cat {disk}"
    options = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR")
    address = f"root@{instance['PublicIpAddress']}"
    with subprocess.Popen(("ssh", "-i", str(key), *options, address, command), stdout=subprocess.PIPE) as watcher:
        assert watcher.stdout is not None
        watcher.stdout.readline()
        began = time.monotonic()
        ec2.attach_volume(VolumeId=volume_id, InstanceId=instance["InstanceId"], Device="/dev/sdf")
        serial = watcher.stdout.read().decode().strip()
        seconds = time.monotonic() - began
    if serial != volume_id.replace("-", ""):
        raise RuntimeError(f"{volume_id} came as {serial!r}")
    print(f"attached: {seconds:.2f} s")
    ec2.detach_volume(VolumeId=volume_id)
    ec2.get_waiter("volume_available").wait(VolumeIds=[volume_id], WaiterConfig=waiting)
    ec2.delete_volume(VolumeId=volume_id)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.volumes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    table = Table(title="Volumes against the host's own file")
    for name in ("", "host", "plain", "encrypted", "plain : host", "wanted"):
        table.add_column(name, justify="right" if table.columns else "left")
    with tempfile.TemporaryDirectory(prefix="fh-bench-", dir="/var/tmp") as directory:
        for name, (host, plain, secret) in throughput(Path(directory), rounds).items():
            speeds = (f"{speed:,.0f} MiB/s" for speed in (host, plain, secret))
            table.add_row(name, *speeds, f"{plain / host:.2f}×", f"≥ {_WANTED[name.split()[0]]}×")
    seconds = attaching(rounds)
    table.add_row("attach to seen in the guest", "", f"{seconds:.2f} s", "", "", f"≤ {ATTACH_SECONDS_MAX} s")
    Console().print(table)


if __name__ == "__main__":
    main()
