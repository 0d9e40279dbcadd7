"""Bad days: any process of Freehold is killed, also QEMU, at any moment; servers run on, and all converges."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator

import boto3
import pytest
from botocore.exceptions import ClientError

from freehold.fabric.differ import Fabric
from freehold.processes import guests
from tests.e2e.servers import Servers, ssh_command, tcp, wait
from tests.host.plane import leftovers

POOL = "203.0.113.96/27"
PARTS = ("control", "front", "host", "ovn-controller", "ovn-northd", "ovsdb-server", "ovs-vswitchd")


@pytest.fixture(scope="module")
def group(servers: Servers) -> str:
    return servers.group("ssh", tcp(22))


@pytest.fixture(scope="module")
def server(servers: Servers, group: str) -> str:
    (instance_id,) = servers.launch(group)
    servers.wait_until_ready(instance_id)
    return instance_id


def qemu(servers: Servers, instance_id: str) -> int:
    return guests(servers.cloud.paths.tag)[instance_id].pid


def kill(servers: Servers, part: str) -> None:
    with contextlib.suppress(ProcessLookupError, TypeError):  # it was just killed, and has no process now
        os.kill(servers.cloud.pids()[part], signal.SIGKILL)


@contextlib.contextmanager
def session(servers: Servers, instance_id: str) -> Iterator[subprocess.Popen[str]]:
    """An open SSH session in which the server says again what it is told."""
    servers.ssh(instance_id, "true")
    address = servers.get(instance_id)["PublicIpAddress"]
    known = servers.key.with_name(f"known-{instance_id}")
    command = (*ssh_command(servers.key, known), f"root@{address}", "cat")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as opened:
        try:
            yield opened
        finally:
            opened.terminate()


def assert_answers(opened: subprocess.Popen[str], line: str) -> None:
    assert opened.stdin is not None
    assert opened.stdout is not None
    opened.stdin.write(f"{line}\n")
    opened.stdin.flush()
    assert opened.stdout.readline() == f"{line}\n"


def test_a_server_and_its_connections_outlive_every_part(servers: Servers, server: str) -> None:
    process = qemu(servers, server)
    with session(servers, server) as opened:
        for part in PARTS:
            servers.cloud.replace(part)
            assert_answers(opened, part)
    assert qemu(servers, server) == process
    assert servers.state(server) == "running"


def test_a_server_outlives_down_and_up(servers: Servers, server: str) -> None:
    process = qemu(servers, server)
    with session(servers, server) as opened:
        servers.cloud.ok("down")
        assert_answers(opened, "while Freehold is down")
        servers.cloud.up()
        assert_answers(opened, "when it is up again")
    assert qemu(servers, server) == process


def test_a_server_whose_qemu_is_killed_is_started_again_with_its_disk(servers: Servers, server: str) -> None:
    servers.ssh(server, "echo kept >/root/file; sync")
    process = qemu(servers, server)
    os.kill(process, signal.SIGKILL)
    servers.wait_until_ready(server, boots=2)
    assert qemu(servers, server) != process
    assert servers.ssh(server, "cat /root/file") == "kept\n"


def test_whatever_is_killed_while_servers_come_and_go_nothing_is_lost(servers: Servers, group: str) -> None:
    """Control plane and host are killed at moments spread over launches, stops, starts and terminations."""
    moments = random.Random(7)
    launched: list[str] = []
    for part in ("host", "control", "host", "control"):
        first, second = servers.launch(group, count=2)
        launched += [first, second]
        time.sleep(moments.uniform(0, 1.5))
        kill(servers, part)
        servers.wait_for_state("running", first, second)
        servers.ec2.stop_instances(InstanceIds=[first], Force=True)
        time.sleep(moments.uniform(0, 0.5))
        kill(servers, part)
        servers.wait_for_state("stopped", first)
        servers.ec2.start_instances(InstanceIds=[first])
        time.sleep(moments.uniform(0, 0.5))
        kill(servers, part)
        servers.wait_for_state("running", first)
        servers.ec2.terminate_instances(InstanceIds=[first, second])
        time.sleep(moments.uniform(0, 0.5))
        kill(servers, part)
    servers.wait_for_state("terminated", *launched)
    servers.cloud.wait_running()
    assert guests(servers.cloud.paths.tag).keys().isdisjoint(launched)
    bill = json.loads(servers.cloud.ok("bill", "--json"))
    billed = {line["resource_id"] for line in bill["lines"] if line["item"] == "instance:fh1.nano"}
    assert billed >= set(launched)
    assert not {line["resource_id"] for line in bill["lines"] if line["running"]} & set(launched)


def test_in_the_end_nothing_is_left(servers: Servers, server: str) -> None:
    servers.ec2.terminate_instances(InstanceIds=[server])
    servers.wait_for_state("terminated", server)
    wait(lambda: leftovers(servers.cloud.data_dir, servers.cloud.paths.switch) == [], "nothing is left")
    status = servers.cloud.status()
    assert not any(line["running"] for line in json.loads(servers.cloud.ok("bill", "--json"))["lines"])
    assert [(host["vcpus_used"], host["memory_used_mib"]) for host in status["hosts"]] == [(0, 0)]


def test_a_deleted_account_leaves_its_bill_and_nothing_else(servers: Servers) -> None:
    """It has a server that runs and a volume that outlived another one."""
    cloud = servers.cloud
    keys = json.loads(cloud.ok("account", "create", "lab"))
    ec2 = boto3.client(
        "ec2",
        endpoint_url=f"http://127.0.0.1:{cloud.port}",
        region_name="us-east-1",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
    )
    launched = ec2.run_instances(
        ImageId=servers.image,
        InstanceType="fh1.nano",
        MinCount=2,
        MaxCount=2,
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}}],
    )
    running, ended = (instance["InstanceId"] for instance in launched["Instances"])
    ec2.get_waiter("instance_running").wait(InstanceIds=[running, ended], WaiterConfig={"Delay": 1})
    ec2.terminate_instances(InstanceIds=[ended], SkipOsShutdown=True)
    ec2.get_waiter("volume_available").wait(
        Filters=[{"Name": "status", "Values": ["available"]}], WaiterConfig={"Delay": 1}
    )
    assert running in guests(cloud.paths.tag)

    assert "is being deleted" in cloud.ok("account", "delete", keys["AccountId"], "--yes")
    with pytest.raises(ClientError, match="AuthFailure"):
        ec2.describe_instances()
    ec2.close()
    wait(lambda: keys["AccountId"] not in {each["id"] for each in cloud.status()["accounts"]}, "the account is gone")
    wait(lambda: leftovers(cloud.data_dir, cloud.paths.switch) == [], "nothing is left")
    wait(lambda: networks(servers) == set(), "its network is gone")
    lines = json.loads(cloud.ok("bill", "--account", keys["AccountId"], "--json"))["lines"]
    assert {line["item"] for line in lines} >= {"instance:fh1.nano", "volume:gp3"}
    assert not any(line["running"] for line in lines)


def networks(servers: Servers) -> set[str]:
    """The VPCs that OVN has."""
    fabric = Fabric(servers.cloud.paths.northbound)
    try:
        return fabric.vpcs_present()
    finally:
        fabric.close()
