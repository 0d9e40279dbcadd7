"""A server sleeps and goes on: its processes, its disks, its clock."""

from __future__ import annotations

import time

from tests.e2e.servers import Servers, tcp, wait

POOL = "198.18.8.128/28"
COUNTER = "n=0; while sleep 0.2; do n=$((n + 1)); echo $n >/run/c/next; mv /run/c/next /run/c/n; done"
COUNT = f"mkdir /run/c && ({COUNTER}) >/dev/null 2>&1 & echo $!"


def test_processes_go_on_and_the_clock_is_right(servers: Servers) -> None:
    group = servers.group("ssh", tcp(22))
    (instance_id,) = servers.launch(group, HibernationOptions={"Configured": True})
    servers.wait_until_ready(instance_id)
    process = servers.ssh(instance_id, COUNT).strip()
    boot = servers.ssh(instance_id, "cat /proc/sys/kernel/random/boot_id")
    servers.ssh(instance_id, "date -s 2020-01-01")
    disk = attach(servers, instance_id)
    servers.ssh(instance_id, f"mke2fs {disk} && mount {disk} /mnt && echo kept >/mnt/file")

    servers.ec2.stop_instances(InstanceIds=[instance_id], Hibernate=True)
    servers.wait_for_state("stopped", instance_id)
    assert servers.get(instance_id)["StateReason"]["Code"] == "Client.UserInitiatedHibernate"
    servers.ec2.start_instances(InstanceIds=[instance_id])
    servers.wait_for_state("running", instance_id)

    before = int(servers.ssh(instance_id, f"kill -0 {process} && cat /run/c/n"))
    assert servers.ssh(instance_id, "cat /proc/sys/kernel/random/boot_id") == boot
    assert int(servers.ssh(instance_id, "sleep 1; cat /run/c/n")) > before
    assert servers.ssh(instance_id, "cat /mnt/file; echo more >>/mnt/file; sync; tail -n 1 /mnt/file") == "kept\nmore\n"
    assert abs(int(servers.ssh(instance_id, "date +%s")) - time.time()) < 60
    servers.ec2.terminate_instances(InstanceIds=[instance_id])
    servers.wait_for_state("terminated", instance_id)


def attach(servers: Servers, instance_id: str) -> str:
    """A new volume on a server that runs; its name there."""
    zone = servers.get(instance_id)["Placement"]["AvailabilityZone"]
    volume_id = servers.ec2.create_volume(AvailabilityZone=zone, Size=1, Encrypted=True)["VolumeId"]
    servers.ec2.get_waiter("volume_available").wait(VolumeIds=[volume_id], WaiterConfig={"Delay": 1})
    servers.ec2.attach_volume(VolumeId=volume_id, InstanceId=instance_id, Device="/dev/sdf")
    serial = volume_id.replace("-", "")
    find = f"grep -l {serial} /sys/block/vd*/serial | cut -d / -f 4"
    wait(lambda: servers.try_ssh(instance_id, find).stdout.startswith("vd"), "the disk is seen")
    return f"/dev/{servers.ssh(instance_id, find).strip()}"
