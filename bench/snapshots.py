"""What snapshots cost: ``python -m bench.snapshots``, in a cloud of its own.

A volume of 1 GiB is attached to a server. In each round 10 MiB of it are changed, in a row or in 160 places of 64 KiB,
as a guest would change them, and a snapshot is taken: what it takes on the host's disk against what was changed, and
how long CreateSnapshot took, which returns when it is taken. Then a volume is made of it and attached: from
CreateVolume until the server's machine has the disk.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from freehold.cli.endpoint import client
from freehold.cli.temporary import TemporaryCloud, temporary_cloud
from freehold.host.layout import Layout

CHANGED = 10 << 20
PIECE = 64 << 10
RATIO_MAX = 1.3
RESTORE_SECONDS_MAX = 0.5


class Server:
    """A server with a second volume, and the monitor of its QEMU, by which the volume is written to."""

    def __init__(self, cloud: TemporaryCloud) -> None:
        self.ec2: Any = client(cloud.endpoint, "ec2")
        self.layout = Layout(cloud.paths)
        image = self.ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        launched = self.ec2.run_instances(ImageId=image, InstanceType="fh1.nano", MinCount=1, MaxCount=1)
        self.instance_id: str = launched["Instances"][0]["InstanceId"]
        self.ec2.get_waiter("instance_running").wait(InstanceIds=[self.instance_id], WaiterConfig={"Delay": 1})
        self.zone = launched["Instances"][0]["Placement"]["AvailabilityZone"]
        time.sleep(10)  # a guest that boots does not hear of a disk
        self.volume_id, _ = self.attach("/dev/sdf", Size=1)
        self._monitor = Monitor(self.layout.guest(self.instance_id).spare_monitor)

    def attach(self, device: str, **asked: Any) -> tuple[str, float]:
        """A new volume's id, and the seconds until the server has it."""
        began = time.monotonic()
        volume_id = self.ec2.create_volume(AvailabilityZone=self.zone, VolumeType="gp3", **asked)["VolumeId"]
        self._until(lambda: self._volume(volume_id)["State"] == "available")
        self.ec2.attach_volume(VolumeId=volume_id, InstanceId=self.instance_id, Device=device)
        self._until(lambda: self._volume(volume_id)["Attachments"][0]["State"] == "attached")
        return volume_id, time.monotonic() - began

    def remove(self, volume_id: str) -> None:
        self.ec2.detach_volume(VolumeId=volume_id)
        self._until(lambda: self._volume(volume_id)["State"] == "available")
        self.ec2.delete_volume(VolumeId=volume_id)

    def change(self, step: int, value: int) -> None:
        """10 MiB, a piece each `step` bytes."""
        for number in range(CHANGED // PIECE):
            self._monitor.write(self.volume_id, (number * step) % (1 << 30), value)

    def snapshot(self) -> tuple[str, float, int]:
        """The id, the seconds that the call took, and the bytes that the snapshot takes."""
        began = time.monotonic()
        snapshot_id: str = self.ec2.create_snapshot(VolumeId=self.volume_id)["SnapshotId"]
        took = time.monotonic() - began
        self.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot_id], WaiterConfig={"Delay": 1})
        return snapshot_id, took, self.layout.layer(snapshot_id).stat().st_blocks * 512

    def _volume(self, volume_id: str) -> Any:
        return self.ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]

    def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            time.sleep(0.01)


class Monitor:
    """QEMU's second monitor."""

    def __init__(self, path: Path) -> None:
        line = socket.socket(socket.AF_UNIX)
        line.connect(str(path))
        self._stream = line.makefile("rwb")
        self._stream.readline()
        self._execute("qmp_capabilities")

    def write(self, volume_id: str, offset: int, value: int) -> None:
        line = f'qemu-io -d /machine/peripheral/{volume_id}/virtio-backend "write -P {value} {offset} {PIECE}"'
        self._execute("human-monitor-command", {"command-line": line})

    def _execute(self, command: str, arguments: dict[str, str] | None = None) -> None:
        self._stream.write(json.dumps({"execute": command, "arguments": arguments or {}}).encode() + b"\n")
        self._stream.flush()
        while "return" not in json.loads(self._stream.readline()):
            continue


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.snapshots", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    table = Table(title="Snapshots of a volume of 1 GiB of which 10 MiB have changed")
    for name in ("", "median", "wanted"):
        table.add_column(name, justify="right" if table.columns else "left")
    with temporary_cloud("freehold-micro", None, lambda _line: None) as cloud:
        server = Server(cloud)
        server.snapshot()
        seconds, restores = [], []
        for name, step in (("in a row", PIECE), ("in 160 places", 6 << 20)):
            ratios = []
            for number in range(rounds):
                server.change(step, number + 1)
                snapshot_id, took, taken = server.snapshot()
                seconds.append(took)
                ratios.append(taken / CHANGED)
                volume_id, restored = server.attach("/dev/sdg", SnapshotId=snapshot_id)
                restores.append(restored)
                server.remove(volume_id)
            table.add_row(f"taken on disk, changed {name}", f"{statistics.median(ratios):.2f}×", f"≤ {RATIO_MAX}×")
        table.add_row("CreateSnapshot", f"{statistics.median(seconds) * 1000:.0f} ms", "")
        restored = statistics.median(restores)
        table.add_row("CreateVolume to attached", f"{restored:.2f} s", f"< {RESTORE_SECONDS_MAX} s")
    Console().print(table)


if __name__ == "__main__":
    main()
