"""The data test, as a user would do it: a server writes known blocks without pause while snapshots are taken, the host
agent and the server's machine are killed, and the volume moves to another server. Each snapshot has exactly what was on
the disk at one moment between its call and its answer, also when the volume and other snapshots have gone."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from freehold import processes
from tests.e2e.servers import Servers, tcp, wait
from tests.e2e.test_volumes import ZONE, attach, made, wait_for

POOL = "198.18.22.16/28"
# No two of them are in one cluster of the disk's file, nor in one block of a backup.
BLOCKS = " ".join(str(3 * number) for number in range(6))
# Round after round: its number in each of the blocks, one after the other, each on the disk before the next is begun.
WRITER = f"""n=$2; while :; do n=$((n + 1)); for block in {BLOCKS}; do
printf %08d $n | dd of=$1 bs=1M seek=$block conv=notrunc,fsync 2>/dev/null || exit; done
echo $n >/run/round.new; mv /run/round.new /run/round; sleep 0.1; done"""
READER = f"for block in {BLOCKS}; do dd if=$1 bs=1M skip=$block count=1 2>/dev/null | head -c 8; echo; done"


class Disk:
    """A volume that one server after the other has, and what its snapshots may have: the first and the last round that
    can have been on it at their instants."""

    def __init__(self, servers: Servers, volume_id: str) -> None:
        self.servers = servers
        self.volume_id = volume_id
        self.taken: dict[str, tuple[int, int]] = {}

    def begin(self, instance_id: str) -> None:
        """The server goes on with the rounds."""
        self.instance_id = instance_id
        self.name = attach(self.servers, self.volume_id, instance_id)
        self.go_on()

    def go_on(self) -> None:
        start = f"sh /run/writer {self.name} {max(self.rounds())}"
        self._ssh(f"echo '{WRITER}' >/run/writer\n{start} </dev/null >/dev/null 2>&1 & echo $! >/run/writer.pid")
        wait(lambda: self._whole() > 0, "a round has been written")

    def end(self) -> None:
        self._ssh("kill $(cat /run/writer.pid); sleep 1; sync")
        self.servers.ec2.detach_volume(VolumeId=self.volume_id)
        wait_for(self.servers, self.volume_id, "available")

    def snapshot(self) -> str:
        return self.servers.ec2.create_snapshot(VolumeId=self.volume_id)["SnapshotId"]

    def take(self, kill: Callable[[], None] | None = None) -> None:
        """A snapshot; something is killed in the middle of it."""
        first = self._whole()
        with ThreadPoolExecutor(1) as caller:
            asked = caller.submit(self.snapshot)
            if kill is not None:
                time.sleep(random.random() / 5)
                kill()
            snapshot = asked.result()
        wait(lambda: self.servers.try_ssh(self.instance_id, "true").returncode == 0, "the server may be logged in to")
        self.taken[snapshot] = (first, max(self.rounds()))

    def rounds(self) -> list[int]:
        """What is in the blocks, in the order in which they are written."""
        return rounds(self.servers, self.instance_id, self.name)

    def _whole(self) -> int:
        """The last round of which all is on the disk."""
        return int(self._ssh("cat /run/round || echo 0"))

    def _ssh(self, command: str) -> str:
        return self.servers.ssh(self.instance_id, command)


def rounds(servers: Servers, instance_id: str, disk: str) -> list[int]:
    said = servers.ssh(instance_id, f"set -- {disk}; {READER}")
    return [int(line.strip("\0") or 0) for line in said.splitlines()]


def test_every_snapshot_is_what_the_disk_was_at_one_moment(servers: Servers) -> None:
    group = servers.group("ssh", tcp(22))
    one, other = servers.launch(group, count=2, Placement={"AvailabilityZone": ZONE})
    servers.wait_until_ready(one, other)
    disk = Disk(servers, made(servers, Encrypted=True))
    host, qemu = partial(servers.cloud.replace, "host"), processes.guests(servers.cloud.paths.tag)[one].pid
    disk.begin(one)
    disk.take()
    for _ in range(2):
        disk.take(kill=host)
    disk.take(kill=partial(os.kill, qemu, signal.SIGKILL))
    disk.go_on()
    disk.end()
    disk.begin(other)
    disk.take(kill=host)
    disk.end()

    snapshots = list(disk.taken)
    servers.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=snapshots, WaiterConfig={"Delay": 1})
    servers.ec2.delete_volume(VolumeId=disk.volume_id)
    servers.ec2.delete_snapshot(SnapshotId=snapshots.pop(1))
    for snapshot, device in zip(snapshots, "fghi", strict=True):
        first, last = disk.taken[snapshot]
        name = attach(servers, made(servers, SnapshotId=snapshot), one, f"/dev/sd{device}")
        found = rounds(servers, one, name)
        assert found == sorted(found, reverse=True), (snapshot, found)
        assert first <= found[-1] <= found[0] <= min(found[-1] + 1, last), (snapshot, found, first, last)
