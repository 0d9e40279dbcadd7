"""Volumes of real servers: plugged in and out while they run, from one to another, with all that was written; and one
in both at once: what one writes the other reads, whatever happens to the process that has its files open."""

from __future__ import annotations

import os
import signal
from string import ascii_lowercase
from typing import Any

import botocore.exceptions
import pytest

from freehold import processes
from freehold.host.layout import Layout
from freehold.volume_types import DEVICES_MAX
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
    wait(lambda: states(servers, volume_id).get(instance_id) == "attached", f"{volume_id} is attached")
    return name_of(servers, volume_id, instance_id)


def name_of(servers: Servers, volume_id: str, instance_id: str) -> str:
    found = servers.ssh(instance_id, f"grep -l {volume_id.replace('-', '')} /sys/block/*/serial")
    return "/dev/" + found.split("/")[3]


def states(servers: Servers, volume_id: str) -> dict[str, str]:
    """Of a volume's attachments, by instance."""
    return {each["InstanceId"]: each["State"] for each in volume(servers, volume_id)["Attachments"]}


def completed(servers: Servers, volume_id: str) -> bool:
    (found,) = servers.ec2.describe_volumes_modifications(VolumeIds=[volume_id])["VolumesModifications"]
    return bool(found["ModificationState"] == "completed")


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
    wait(lambda: completed(servers, volume_id), "volume is modified")
    assert servers.ssh(one, f"blockdev --getsize64 {disk}").strip() == str(2 << 30)
    servers.ssh(one, f"resize2fs {disk} && sync")

    snapshot_id = servers.ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
    servers.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot_id], WaiterConfig={"Delay": 1})
    restored = servers.ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot_id)["VolumeId"]
    wait_for(servers, restored, "available")
    copy = attach(servers, restored, other, "/dev/sdh")
    assert TEXT in servers.ssh(other, f"mkdir -p /copy && mount {copy} /copy && cat /copy/text")
    assert servers.ssh(other, f"blockdev --getsize64 {copy}").strip() == str(2 << 30)


def test_a_disk_does_as_much_as_it_was_given(servers: Servers, pair: tuple[str, str]) -> None:
    """400 requests, 100 in a second and then up to 3,000."""
    volume_id = made(servers, VolumeType="io1", Iops=100, Size=4)
    disk = attach(servers, volume_id, pair[0], "/dev/sdi")
    write = f"dd if=/dev/zero of={disk} bs=4k count=400 oflag=direct 2>/dev/null"

    def seconds() -> float:
        said = servers.ssh(pair[0], f"read a _ </proc/uptime; {write}; read b _ </proc/uptime; echo $a $b")
        begun, ended = map(float, said.split())
        return ended - begun

    slow = seconds()
    servers.ec2.modify_volume(VolumeId=volume_id, VolumeType="gp3")
    wait(lambda: completed(servers, volume_id), "the volume is modified")
    assert slow > 2 * min(seconds() for _ in range(2))
    servers.ec2.detach_volume(VolumeId=volume_id)
    wait_for(servers, volume_id, "available")
    servers.ec2.delete_volume(VolumeId=volume_id)


def test_every_slot_has_a_disk(servers: Servers, pair: tuple[str, str]) -> None:
    names = [f"/dev/sd{letter}" for letter in ascii_lowercase[1:]] + ["/dev/xvdba"]
    mappings = [{"DeviceName": name, "Ebs": {"VolumeSize": 1}} for name in names]
    group = servers.get(pair[0])["SecurityGroups"][0]["GroupId"]
    (full,) = servers.launch(group, Placement={"AvailabilityZone": ZONE}, BlockDeviceMappings=mappings)
    disks = servers.get(full)["BlockDeviceMappings"]
    assert len(disks) == DEVICES_MAX - 1  # the network card has the other slot

    def finds_all() -> bool:
        serials = servers.ssh(full, "for each in /sys/block/vd*/serial; do echo $(cat $each); done").split()
        return sorted(serials) == sorted(disk["Ebs"]["VolumeId"].replace("-", "") for disk in disks)

    servers.wait_until_ready(full)
    wait(finds_all, "the clone has found its disks")
    one_more = made(servers)
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        servers.ec2.attach_volume(VolumeId=one_more, InstanceId=full, Device="/dev/xvdbb")
    assert refused.value.response["Error"]["Code"] == "AttachmentLimitExceeded"
    servers.ec2.reboot_instances(InstanceIds=[full])
    servers.wait_until_ready(full, boots=2)
    assert finds_all()
    servers.ec2.terminate_instances(InstanceIds=[full])


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


@pytest.fixture(scope="module")
def shared(servers: Servers, pair: tuple[str, str]) -> tuple[str, str]:
    """A volume that both have, and the name that their kernels give it."""
    volume_id = made(servers, Size=4, VolumeType="io2", Iops=1000, MultiAttachEnabled=True, Encrypted=True)
    names = {attach(servers, volume_id, each) for each in pair}
    assert len(names) == 1
    return volume_id, names.pop()


def write(servers: Servers, instance_id: str, name: str, block: int, text: str) -> None:
    servers.ssh(instance_id, f"echo '{text}' | dd of={name} bs=4096 conv=sync,notrunc oflag=direct seek={block}")


def read(servers: Servers, instance_id: str, name: str, block: int) -> str:
    text = servers.ssh(instance_id, f"dd if={name} bs=4096 count=1 iflag=direct skip={block} 2>/dev/null | head -n 1")
    return text.strip()


def qemu(servers: Servers, volume_id: str) -> int:
    """The process that has the volume open."""
    return processes.shares(servers.cloud.paths.tag)[volume_id].pid


def test_what_one_server_writes_the_other_reads(
    servers: Servers, pair: tuple[str, str], shared: tuple[str, str]
) -> None:
    volume_id, name = shared
    assert volume(servers, volume_id)["State"] == "in-use"
    assert states(servers, volume_id) == dict.fromkeys(pair, "attached")
    for number, (writer, reader) in enumerate((pair, pair[::-1])):
        write(servers, writer, name, 7, f"written {number}")
        assert read(servers, reader, name, 7) == f"written {number}"


def test_a_volume_is_modified_and_a_snapshot_taken_while_both_use_it(
    servers: Servers, pair: tuple[str, str], shared: tuple[str, str]
) -> None:
    (one, other), (volume_id, name) = pair, shared
    write(servers, one, name, 9, "before")
    servers.ec2.modify_volume(VolumeId=volume_id, Size=5, Iops=2000)
    wait(lambda: completed(servers, volume_id), "volume is modified")
    for each in pair:
        assert servers.ssh(each, f"blockdev --getsize64 {name}").strip() == str(5 << 30)
    end = (5 << 30) // 4096 - 1
    write(servers, other, name, end, "at the end")
    assert read(servers, one, name, end) == "at the end"

    snapshot_id = servers.ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
    servers.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot_id], WaiterConfig={"Delay": 1})
    write(servers, other, name, 9, "after")
    assert read(servers, one, name, 9) == "after"
    restored = servers.ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot_id)["VolumeId"]
    wait(lambda: volume(servers, restored)["State"] == "available", "volume is restored")
    copy = attach(servers, restored, other, "/dev/sdg")
    assert (read(servers, other, copy, 9), read(servers, other, copy, end)) == ("before", "at the end")
    servers.ec2.detach_volume(VolumeId=restored)
    wait(lambda: volume(servers, restored)["State"] == "available", "volume is detached")

    # What the snapshot froze goes into the volume's own file, in the process that has it open.
    servers.ec2.delete_volume(VolumeId=restored)
    servers.ec2.delete_snapshot(SnapshotId=snapshot_id)
    layer = Layout(servers.cloud.paths).layer(snapshot_id)
    wait(lambda: not layer.exists(), "layer is merged")
    assert read(servers, one, name, end) == "at the end"


def test_neither_the_agent_nor_the_volumes_own_process_is_missed(
    servers: Servers, pair: tuple[str, str], shared: tuple[str, str]
) -> None:
    (one, other), (volume_id, name) = pair, shared
    before = qemu(servers, volume_id)
    os.kill(servers.cloud.pids()["host"], signal.SIGKILL)
    write(servers, one, name, 11, "without an agent")
    assert read(servers, other, name, 11) == "without an agent"
    assert qemu(servers, volume_id) == before

    os.kill(before, signal.SIGKILL)
    write(servers, one, name, 12, "waited for")
    assert [read(servers, other, name, block) for block in (11, 12)] == ["without an agent", "waited for"]
    assert qemu(servers, volume_id) != before
    assert states(servers, volume_id) == dict.fromkeys(pair, "attached")


def test_servers_come_and_go(servers: Servers, pair: tuple[str, str], shared: tuple[str, str]) -> None:
    (one, other), (volume_id, name) = pair, shared
    with pytest.raises(botocore.exceptions.ClientError, match="MissingParameter"):
        servers.ec2.detach_volume(VolumeId=volume_id)
    servers.ec2.detach_volume(VolumeId=volume_id, InstanceId=one)
    wait(lambda: states(servers, volume_id) == {other: "attached"}, "one server has let go of it")
    assert volume(servers, volume_id)["State"] == "in-use"
    assert servers.try_ssh(one, f"test -e {name}").returncode == 1
    write(servers, other, name, 13, "alone")

    servers.ec2.stop_instances(InstanceIds=[other])
    servers.wait_for_state("stopped", other)
    wait(lambda: not processes.shares(servers.cloud.paths.tag), "no server that runs has it")
    assert attach(servers, volume_id, one) == name
    assert read(servers, one, name, 13) == "alone"
    servers.ec2.start_instances(InstanceIds=[other])
    servers.wait_until_ready(other, boots=2)
    wait(lambda: servers.try_ssh(other, "ls /sys/block/*/serial").returncode == 0, "server has it again")
    again = name_of(servers, volume_id, other)
    write(servers, one, name, 14, "both again")
    assert read(servers, other, again, 14) == "both again"

    # By force: what the guest still holds open fails from now on; the other's does not.
    servers.ec2.detach_volume(VolumeId=volume_id, InstanceId=other, Force=True)
    wait(lambda: states(servers, volume_id) == {one: "attached"}, "the other has lost it")
    write(servers, one, name, 15, "left")

    # The last one takes it along.
    mapping = {"DeviceName": "/dev/sdf", "Ebs": {"DeleteOnTermination": True}}
    servers.ec2.modify_instance_attribute(InstanceId=one, BlockDeviceMappings=[mapping])
    path = Layout(servers.cloud.paths).volume(volume_id)
    assert path.exists()
    servers.ec2.terminate_instances(InstanceIds=[one])
    wait(lambda: not path.exists(), f"{path} is gone")
    assert processes.shares(servers.cloud.paths.tag) == {}
