"""Real servers by the command: logged in to, watched on their console, left running, stopped, destroyed; the demo."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from freehold import config, parts
from freehold.cli.endpoint import client, running_endpoint
from freehold.cli.instances import ssh_command, trust
from freehold.cli.leftovers import leftovers
from freehold.paths import Paths
from freehold.processes import guests
from tests.ovn import wait_until
from tests.templates import SharedTemplates

from .clouds import COMMAND, CommandCloud, running_cloud, short_place

DEMO_POOL = "203.0.113.176/28"


@pytest.fixture(scope="module")
def cloud(templates: SharedTemplates) -> Iterator[CommandCloud]:
    with short_place() as place, running_cloud(place / "one", "203.0.113.160/28", templates=templates) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def ec2(cloud: CommandCloud) -> Iterator[Any]:
    made = client(running_endpoint(cloud.data_dir), "ec2")
    yield made
    made.close()


@pytest.fixture(scope="module")
def key(cloud: CommandCloud, ec2: Any) -> Path:
    path = cloud.data_dir / "key.pem"
    path.touch(mode=0o600)
    path.write_text(ec2.create_key_pair(KeyName="lab", KeyType="ed25519")["KeyMaterial"])
    return path


@pytest.fixture(scope="module")
def server(ec2: Any, key: Path) -> str:
    """The id of a server called web that lets SSH in."""
    ec2.authorize_security_group_ingress(
        GroupName="default", IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0"
    )
    return launch(ec2, "web")


def launch(ec2: Any, name: str) -> str:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}]
    (image,) = ec2.describe_images(Owners=["amazon"])["Images"]
    (instance,) = ec2.run_instances(
        ImageId=image["ImageId"],
        InstanceType="fh1.nano",
        KeyName="lab",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=tags,
    )["Instances"]
    return str(instance["InstanceId"])


def test_ssh_waits_for_the_server_and_runs_a_command(cloud: CommandCloud, server: str, key: Path) -> None:
    assert cloud.ok("ssh", server, "-i", str(key), "--", "id", "-u").strip() == "0"


def test_ssh_finds_a_server_by_name_and_passes_the_exit_status_on(cloud: CommandCloud, server: str, key: Path) -> None:
    assert cloud.run("ssh", "web", "-i", str(key), "--", "exit 7").returncode == 7
    assert cloud.ok("ssh", "web", "-i", str(key), "-l", "ec2-user", "--", "whoami").strip() == "ec2-user"


def test_ssh_waits_for_a_server_that_starts_again(cloud: CommandCloud, server: str, key: Path, ec2: Any) -> None:
    ec2.stop_instances(InstanceIds=[server])
    ec2.get_waiter("instance_stopped").wait(InstanceIds=[server], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    ec2.start_instances(InstanceIds=[server])
    assert cloud.ok("ssh", server, "-i", str(key), "--", "id", "-u").strip() == "0"


def test_ssh_turns_away_from_a_server_with_other_host_keys(
    cloud: CommandCloud, server: str, key: Path, ec2: Any
) -> None:
    (reservation,) = ec2.describe_instances(InstanceIds=[server])["Reservations"]
    address = reservation["Instances"][0]["PublicIpAddress"]
    trusted = cloud.paths.run / "ssh" / "other"
    public = subprocess.run(["ssh-keygen", "-y", "-f", key], capture_output=True, text=True, check=True).stdout
    trust(trusted, address, [" ".join(public.split()[:2])])
    done = subprocess.run(ssh_command(address, "root", trusted, key, ["id"]), capture_output=True, text=True)
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


def test_status_shows_the_server_and_what_it_takes(cloud: CommandCloud, server: str) -> None:
    status = cloud.status()
    assert status["guests"] == [server]
    assert status["instances"]["running"] == 1
    (host,) = status["hosts"]
    assert (host["connected"], host["vcpus_used"], host["memory_used_mib"]) == (True, 1, 128)
    (listed,) = status["servers"]
    assert (listed["id"], listed["type"], listed["state"]) == (server, "fh1.nano", "running")
    shown = cloud.ok("status")
    assert "Servers: 1 running" in shown
    assert server in shown


def test_console_joins_the_terminal_and_the_serial_line(cloud: CommandCloud, server: str) -> None:
    """The guest's prompt opens when Enter comes, and Ctrl-C goes to the guest."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "FREEHOLD_DATA_DIR": str(cloud.data_dir)}
    command = [*COMMAND, "console", server]
    joined = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=environment)
    assert joined.stderr is not None
    assert joined.stderr.readline() == b"Ctrl-] leaves.\r\n"
    os.write(ours, b"\x03\r")
    shown = b""
    while b"assword" not in shown:
        assert select.select([ours], [], [], 60)[0], shown
        shown += os.read(ours, 1000)
    os.write(ours, b"\x1d")
    assert joined.wait(30) == 0
    joined.stderr.close()
    os.close(ours)
    os.close(theirs)


def test_the_server_outlives_down_and_up(cloud: CommandCloud, server: str, key: Path) -> None:
    pid = guests(cloud.paths.tag)[server]
    assert cloud.ok("down") == "Freehold is stopped; 1 server runs on.\n"
    assert "1 server runs, but Freehold does not: `freehold up` first" in cloud.refused("down", "--guests")
    cloud.up()
    assert guests(cloud.paths.tag)[server] == pid
    assert cloud.ok("ssh", server, "-i", str(key), "--", "id", "-u").strip() == "0"


def test_down_with_guests_stops_them_by_their_power_button(cloud: CommandCloud, server: str, ec2: Any) -> None:
    done = cloud.run("down", "--guests")
    assert (done.returncode, done.stdout) == (0, "Freehold is stopped.\n"), done.stderr
    assert "stopping: 1 server runs" in done.stderr
    assert guests(cloud.paths.tag) == {}
    cloud.up()
    (reservation,) = ec2.describe_instances(InstanceIds=[server])["Reservations"]
    assert reservation["Instances"][0]["State"]["Name"] == "stopped"
    assert "is stopped and has no public address" in cloud.refused("ssh", "web")


def test_a_demo_says_what_is_wrong_with_its_pool(cloud: CommandCloud) -> None:
    assert "reaches 203.0.113.160/29 already" in cloud.refused("demo", "--pool", "203.0.113.160/29")
    assert "has no addresses that a server may have" in cloud.refused("demo", "--pool", "127.0.0.0/24")
    assert "is too small" in cloud.refused("demo", "--pool", "198.18.0.0/30")
    assert "name a network such as" in cloud.refused("demo", "--pool", "everywhere")


def test_destroy_ends_running_servers_and_leaves_nothing(cloud: CommandCloud, ec2: Any, key: Path) -> None:
    instance_id = launch(ec2, "other")
    wait_until(lambda: instance_id in guests(cloud.paths.tag), "the server runs")
    network = parts.cloud_network(cloud.data_dir, config.load(cloud.data_dir))
    assert leftovers(cloud.paths, network)
    cloud.ok("destroy", "--yes")
    assert leftovers(cloud.paths, network) == []


def test_the_demo_launches_uses_and_deletes_servers_and_leaves_nothing() -> None:
    done = subprocess.run(
        [*COMMAND, "demo", "--servers", "2", "--pool", DEMO_POOL], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"i-[0-9a-f]{17} 203\.0\.113\.\d+ answers after [0-9.]+ s: Linux ", done.stdout)) == 2
    assert re.search(r"launch to SSH: first [0-9.]+ s, median [0-9.]+ s, last [0-9.]+ s", done.stdout)
    assert done.stdout.count("instance:fh1.nano") == 2
    assert "nothing is left" in done.stdout


@pytest.mark.parametrize("moment", ["starting a cloud", "the cloud is up", "launched 1 server"])
def test_a_demo_that_is_interrupted_leaves_nothing(moment: str) -> None:
    before = set(Path("/var/tmp").glob("freehold-*"))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a demo that a shell's background job starts ignores it
    running = subprocess.Popen([*COMMAND, "demo", "--pool", DEMO_POOL], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    while moment not in running.stdout.readline():
        assert running.poll() is None
    made = set(Path("/var/tmp").glob("freehold-*")) - before
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=120)
    assert "removing the cloud" in said or not made
    assert running.returncode == 1
    for data_dir in made:
        paths = Paths(data_dir)
        assert not paths.data_dir.exists()
        assert not Path("/run/netns", paths.namespace).exists()
        assert guests(paths.tag) == {}
