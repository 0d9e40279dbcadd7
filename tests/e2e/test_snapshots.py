"""Snapshots of real servers' disks."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from freehold.host.layout import Layout
from freehold.paths import Paths
from tests.e2e.servers import Servers, tcp, wait
from tests.e2e.test_volumes import attach, made, wait_for

POOL = "198.18.2.32/27"


@pytest.fixture(scope="module")
def server(servers: Servers) -> str:
    (instance_id,) = servers.launch(servers.group("ssh", tcp(22)))
    servers.wait_until_ready(instance_id)
    return instance_id


@pytest.fixture
def volume(servers: Servers, server: str) -> str:
    (mapping,) = servers.get(server)["BlockDeviceMappings"]
    return mapping["Ebs"]["VolumeId"]


def test_a_snapshot_is_taken_when_the_call_returns(servers: Servers, server: str, volume: str) -> None:
    layout = Layout(Paths(servers.cloud.data_dir))
    snapshot = servers.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    assert layout.layer(snapshot).exists()
    assert not layout.guest(server).guest_agent.exists()  # its image has no agent that could be asked to hold still

    def shown() -> str:
        return servers.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["State"]

    wait(lambda: shown() == "completed", "the snapshot is completed")
    servers.ssh(server, "echo it runs on >/root/words && sync")
    servers.ec2.delete_snapshot(SnapshotId=snapshot)


def test_twenty_at_once_are_all_taken_when_their_calls_return(servers: Servers, server: str) -> None:
    """Of four disks, two of which the server has: five at once of each are allowed."""
    layout = Layout(Paths(servers.cloud.data_dir))
    zone = servers.get(server)["Placement"]["AvailabilityZone"]
    volumes = [made(servers, AvailabilityZone=zone) for _ in range(4)]
    for volume_id, device in zip(volumes[:2], ("/dev/sdf", "/dev/sdg"), strict=True):
        attach(servers, volume_id, server, device)

    def take(number: int) -> tuple[str, bool]:
        snapshot: str = servers.ec2.create_snapshot(VolumeId=volumes[number % 4])["SnapshotId"]
        return snapshot, layout.layer(snapshot).exists()

    with ThreadPoolExecutor(20) as callers:
        taken = dict(callers.map(take, range(20)))
    assert len(taken) == 20
    assert all(taken.values())
    for volume_id in volumes[:2]:
        servers.ec2.detach_volume(VolumeId=volume_id)
        wait_for(servers, volume_id, "available")
    for volume_id in volumes:
        servers.ec2.delete_volume(VolumeId=volume_id)
    for snapshot in taken:
        servers.ec2.delete_snapshot(SnapshotId=snapshot)


@pytest.fixture(scope="module")
def ebs(servers: Servers) -> Any:
    return servers.client("ebs")


def completed(servers: Servers, volume: str) -> str:
    snapshot = servers.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    servers.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot], WaiterConfig={"Delay": 1})
    return snapshot


def block(ebs: Any, snapshot: str, index: int, token: str) -> bytes:
    answer = ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=index, BlockToken=token)
    data: bytes = answer["BlockData"].read()
    assert base64.b64encode(hashlib.sha256(data).digest()).decode() == answer["Checksum"]
    return data


def test_backup_tools_read_and_write_snapshots_by_blocks(servers: Servers, server: str, volume: str, ebs: Any) -> None:
    """The disk is encrypted, and the server runs on."""
    before = completed(servers, volume)
    servers.ssh(server, "for n in $(seq 500); do echo what a backup has to have; done >/root/words && sync")
    after = completed(servers, volume)
    listed = ebs.list_snapshot_blocks(SnapshotId=after)
    assert (listed["BlockSize"], listed["VolumeSize"]) == (512 << 10, 1)
    changed = ebs.list_changed_blocks(FirstSnapshotId=before, SecondSnapshotId=after)["ChangedBlocks"]
    assert 0 < len(changed) < len(listed["Blocks"])
    later = [block(ebs, after, each["BlockIndex"], each["SecondBlockToken"]) for each in changed]
    assert any(b"what a backup has to have" in data for data in later)
    earlier = [
        block(ebs, before, each["BlockIndex"], each["FirstBlockToken"]) for each in changed if "FirstBlockToken" in each
    ]
    assert not any(b"what a backup has to have" in data for data in earlier)

    # What was read is put back: over the earlier one, the changed blocks make the later one.
    started = ebs.start_snapshot(VolumeSize=1, ParentSnapshotId=before, Description="restored", Tags=[])
    sums = b""
    for each, data in zip(changed, later, strict=True):
        digest = hashlib.sha256(data).digest()
        sums += digest
        ebs.put_snapshot_block(
            SnapshotId=started["SnapshotId"],
            BlockIndex=each["BlockIndex"],
            BlockData=data,
            DataLength=len(data),
            Checksum=base64.b64encode(digest).decode(),
            ChecksumAlgorithm="SHA256",
        )
    done = ebs.complete_snapshot(
        SnapshotId=started["SnapshotId"],
        ChangedBlocksCount=len(changed),
        Checksum=base64.b64encode(hashlib.sha256(sums).digest()).decode(),
        ChecksumAlgorithm="SHA256",
        ChecksumAggregationMethod="LINEAR",
    )
    assert done["Status"] == "completed"
    again = ebs.list_snapshot_blocks(SnapshotId=started["SnapshotId"])["Blocks"]
    assert [each["BlockIndex"] for each in again] == [each["BlockIndex"] for each in listed["Blocks"]]
    for one, other in zip(listed["Blocks"][:5], again[:5], strict=True):
        index = one["BlockIndex"]
        assert block(ebs, after, index, one["BlockToken"]) == block(
            ebs, started["SnapshotId"], index, other["BlockToken"]
        )
    with pytest.raises(ebs.exceptions.ValidationException):
        block(ebs, before, changed[0]["BlockIndex"], listed["Blocks"][0]["BlockToken"])
    for snapshot in (before, started["SnapshotId"], after):
        servers.ec2.delete_snapshot(SnapshotId=snapshot)


def test_a_volume_of_a_snapshot_has_its_data_at_once(servers: Servers, server: str, volume: str) -> None:
    """The server whose disk it is of runs on, and mounts it; the snapshot is deleted before."""
    servers.ssh(server, "echo what it was >/root/state && sync")
    snapshot = servers.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    servers.ssh(server, "echo what it is >/root/state && sync")
    servers.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot], WaiterConfig={"Delay": 1})
    zone = servers.get(server)["Placement"]["AvailabilityZone"]
    restored = servers.ec2.create_volume(SnapshotId=snapshot, AvailabilityZone=zone)
    assert (restored["Size"], restored["SnapshotId"], restored["Encrypted"]) == (1, snapshot, True)
    servers.ec2.delete_snapshot(SnapshotId=snapshot)
    servers.ec2.get_waiter("volume_available").wait(VolumeIds=[restored["VolumeId"]], WaiterConfig={"Delay": 1})
    servers.ec2.attach_volume(VolumeId=restored["VolumeId"], InstanceId=server, Device="/dev/sdf")
    wait(lambda: "vdb" in servers.ssh(server, "ls /sys/block"), "the server has the disk")
    mounted = "mkdir -p /mnt/restored && mount -o ro,noload /dev/vdb /mnt/restored 2>&1"
    assert servers.ssh(server, f"{mounted} && cat /mnt/restored/root/state") == "what it was\n"
    assert servers.ssh(server, "umount /mnt/restored && cat /root/state") == "what it is\n"
    servers.ec2.detach_volume(VolumeId=restored["VolumeId"])
    servers.ec2.get_waiter("volume_available").wait(VolumeIds=[restored["VolumeId"]], WaiterConfig={"Delay": 1})
    servers.ec2.delete_volume(VolumeId=restored["VolumeId"])


def test_a_copy_of_a_volume_has_what_it_held_when_the_call_returned(servers: Servers, server: str, volume: str) -> None:
    """The server whose disk it is of runs on, and mounts it."""
    servers.ssh(server, "echo as it was >/root/copied && sync")
    (copy,) = servers.ec2.copy_volumes(SourceVolumeId=volume, Size=2)["Volumes"]
    servers.ssh(server, "echo as it is >/root/copied && sync")
    assert (copy["SourceVolumeId"], copy["Size"], copy["Encrypted"]) == (volume, 2, True)
    servers.ec2.get_waiter("volume_available").wait(VolumeIds=[copy["VolumeId"]], WaiterConfig={"Delay": 1})
    servers.ec2.attach_volume(VolumeId=copy["VolumeId"], InstanceId=server, Device="/dev/sdg")
    wait(lambda: "vdb" in servers.ssh(server, "ls /sys/block"), "the server has the disk")
    assert servers.ssh(server, "cat /sys/block/vdb/size") == f"{2 << 21}\n"
    mounted = "mkdir -p /mnt/copy && mount -o ro,noload /dev/vdb /mnt/copy"
    assert servers.ssh(server, f"{mounted} && cat /mnt/copy/root/copied") == "as it was\n"
    assert servers.ssh(server, "umount /mnt/copy && cat /root/copied") == "as it is\n"
    of_it = [{"Name": "volume-id", "Values": [volume]}]
    assert servers.ec2.describe_snapshots(Filters=of_it)["Snapshots"] == []
    servers.ec2.detach_volume(VolumeId=copy["VolumeId"])
    servers.ec2.get_waiter("volume_available").wait(VolumeIds=[copy["VolumeId"]], WaiterConfig={"Delay": 1})
    servers.ec2.delete_volume(VolumeId=copy["VolumeId"])
