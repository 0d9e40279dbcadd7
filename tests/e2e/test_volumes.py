"""Volumes of real servers: plugged in and out while they run, from one to another, with all that was written."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.host.layout import Layout
from tests.e2e.servers import Servers, tcp, wait

POOL = "198.18.1.0/28"
TEXT = "what one server wrote"
ZONE = "us-east-1a"


@pytest.fixture(scope="module")
def pair(servers: Servers) -> tuple[str, str]:
    """Two servers in one zone that may be logged in to."""
    group = servers.group("ssh", tcp(22))
    one, other = servers.launch(group, count=2, Placement={"AvailabilityZone": ZONE})
    servers.wait_until_ready(one, other)
    return one, other


def volume(servers: Servers, volume_id: str) -> Any:
    (found,) = servers.ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"]
    return found


def wait_for(servers: Servers, volume_id: str, state: str, attachment: str | None = None) -> None:
    def reached() -> bool:
        found = volume(servers, volume_id)
        return bool(
            found["State"] == state
            and [each["State"] for each in found["Attachments"]] == ([] if attachment is None else [attachment])
        )

    wait(reached, f"{volume_id} is {state}, {attachment}")


def made(servers: Servers, **settings: Any) -> str:
    given = {"AvailabilityZone": ZONE, "Size": 1, "VolumeType": "gp3"} | settings
    volume_id = servers.ec2.create_volume(**given)["VolumeId"]
    wait_for(servers, volume_id, "available")
    return volume_id


def attach(servers: Servers, volume_id: str, instance_id: str, device: str = "/dev/sdf") -> str:
    """The name that the guest's kernel gives the disk, found by its serial number."""
    servers.ec2.attach_volume(VolumeId=volume_id, InstanceId=instance_id, Device=device)
    wait_for(servers, volume_id, "in-use", "attached")
    serial = volume_id.replace("-", "")
    found = servers.ssh(instance_id, f"grep -l {serial} /sys/block/*/serial")
    return "/dev/" + found.split("/")[3]


def test_a_disk_grows_while_it_is_used_and_a_snapshot_of_it_becomes_another(
    servers: Servers, pair: tuple[str, str]
) -> None:
    one, other = pair
    volume_id = made(servers, Encrypted=True)
    disk = attach(servers, volume_id, one, "/dev/sdh")
    servers.ssh(
        one, f"mkfs.ext4 -q {disk} && mkdir -p /grown && mount {disk} /grown && echo '{TEXT}' >/grown/text && sync"
    )
    modification = servers.ec2.modify_volume(VolumeId=volume_id, Size=2, Throughput=250)["VolumeModification"]
    assert (modification["OriginalSize"], modification["TargetSize"], modification["TargetThroughput"]) == (1, 2, 250)

    def completed() -> bool:
        (found,) = servers.ec2.describe_volumes_modifications(VolumeIds=[volume_id])["VolumesModifications"]
        return found["ModificationState"] == "completed"

    wait(completed, "volume is modified")
    assert servers.ssh(one, f"blockdev --getsize64 {disk}").strip() == str(2 << 30)
    servers.ssh(one, f"resize2fs {disk} && sync")

    snapshot_id = servers.ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
    servers.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot_id], WaiterConfig={"Delay": 1})
    restored = servers.ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot_id)["VolumeId"]
    wait_for(servers, restored, "available")
    copy = attach(servers, restored, other, "/dev/sdh")
    assert TEXT in servers.ssh(other, f"mkdir -p /copy && mount {copy} /copy && cat /copy/text")
    assert servers.ssh(other, f"blockdev --getsize64 {copy}").strip() == str(2 << 30)


def test_a_disk_goes_from_one_server_to_another(servers: Servers, pair: tuple[str, str]) -> None:
    one, other = pair
    volume_id = made(servers, Encrypted=True)
    disk = attach(servers, volume_id, one)
    assert servers.ssh(one, f"blockdev --getsize64 {disk}").strip() == str(1 << 30)
    servers.ssh(one, f"mkfs.ext4 -q {disk} && mkdir -p /data && mount {disk} /data && echo '{TEXT}' >/data/text")
    servers.ssh(one, "umount /data")
    servers.ec2.detach_volume(VolumeId=volume_id)
    wait_for(servers, volume_id, "available")
    assert servers.try_ssh(one, f"test -e {disk}").returncode == 1

    disk = attach(servers, volume_id, other, "/dev/sdg")
    assert TEXT in servers.ssh(other, f"mkdir -p /data && mount {disk} /data && cat /data/text")
    (mapping,) = [each for each in servers.get(other)["BlockDeviceMappings"] if each["DeviceName"] == "/dev/sdg"]
    assert (mapping["Ebs"]["VolumeId"], mapping["Ebs"]["Status"]) == (volume_id, "attached")

    # By force: what the guest still holds open fails from now on.
    servers.ec2.detach_volume(VolumeId=volume_id, Force=True)
    wait_for(servers, volume_id, "available")
    assert servers.try_ssh(other, f"dd if={disk} of=/dev/null bs=4k count=1 skip=77777 iflag=direct").returncode != 0
    assert TEXT in servers.ssh(one, f"d={attach(servers, volume_id, one)}; mount $d /data && cat /data/text")
    servers.ec2.detach_volume(VolumeId=volume_id, Force=True)
    wait_for(servers, volume_id, "available")
    servers.ec2.delete_volume(VolumeId=volume_id)
    path = Layout(servers.cloud.paths).volume(volume_id)
    wait(lambda: not path.exists(), f"{path} is gone")
