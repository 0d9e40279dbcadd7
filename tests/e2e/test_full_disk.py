"""A disk that is full: what can not be done is said plainly, nothing is lost, and with room all goes on."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from freehold.processes import guests
from tests.cli.clouds import running_cloud
from tests.e2e.servers import Servers, tcp, wait
from tests.host.plane import leftovers

POOL = "203.0.113.208/28"
LARGE, SMALL = "size=3200m", "size=1000m"  # `freehold up` needs 3072 MiB free, the start of a server 1024


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """A small file system of its own."""
    place = Path(tempfile.mkdtemp(prefix="fh-"))
    subprocess.run(("mount", "-t", "tmpfs", "-o", LARGE, "freehold-test", place), check=True)
    try:
        yield place
    finally:
        subprocess.run(("umount", place), check=True)
        place.rmdir()


@pytest.fixture(scope="module")
def servers(disk: Path) -> Iterator[Servers]:
    with running_cloud(disk / "cloud", POOL) as cloud:
        made = Servers(cloud)
        resize(disk, SMALL)
        yield made
        made.close()


def resize(disk: Path, size: str) -> None:
    subprocess.run(("mount", "-o", f"remount,{size}", disk), check=True)


def test_a_launch_without_room_fails_and_says_to_each_what_is_theirs(servers: Servers, disk: Path) -> None:
    """The tenant learns that it was no fault of theirs, the operator what to do; nothing of the server is left."""
    (instance_id,) = servers.launch()
    servers.wait_for_state("terminated", instance_id)
    reason = servers.get(instance_id)["StateReason"]
    assert reason == {"Code": "Server.InternalError", "Message": "Server.InternalError: Internal error on launch"}
    (failure,) = servers.cloud.status()["failures"]
    assert failure["id"] == instance_id
    assert failure["why"].startswith("No disk space left: ")
    assert failure["why"].endswith("MiB; free some or delete volumes.")
    assert failure["why"] in servers.cloud.ok("status")
    assert failure["why"] in (servers.cloud.data_dir / "log" / "control.log").read_text()

    assert leftovers(servers.cloud.data_dir, servers.cloud.paths.switch) == []
    assert servers.ec2.describe_volumes()["Volumes"] == []
    assert servers.ec2.describe_addresses()["Addresses"] == []
    assert not any(line["running"] for line in json.loads(servers.cloud.ok("bill", "--json"))["lines"])
    (host,) = servers.cloud.status()["hosts"]
    assert (host["vcpus_used"], host["memory_used_mib"]) == (0, 0)


def test_a_cloud_on_a_full_disk_can_be_started(servers: Servers) -> None:
    servers.cloud.ok("down")
    servers.cloud.up()
    assert servers.cloud.identity()


@pytest.fixture(scope="module")
def server(servers: Servers, disk: Path) -> str:
    """Launched once there was room."""
    resize(disk, LARGE)
    (instance_id,) = servers.launch(servers.group("ssh", tcp(22)))
    servers.wait_until_ready(instance_id)
    return instance_id


def test_with_room_a_launch_works(servers: Servers, server: str) -> None:
    assert servers.ssh(server, "echo kept >/root/file; sync; cat /root/file") == "kept\n"


def fill(disk: Path) -> Path:
    """Leave not a byte; returns the file that has them."""
    filler = disk / "filler"
    assert subprocess.run(("dd", "if=/dev/zero", f"of={filler}", "bs=64k"), capture_output=True).returncode == 1
    return filler


def test_on_a_disk_without_a_byte_servers_run_on_and_nothing_is_lost(servers: Servers, server: str, disk: Path) -> None:
    """A call that finds no room for its change fails as a whole; when there is room, all is as it was. (The database's
    log has room for some hundred calls.)"""
    before = servers.get(server)
    filler = fill(disk)
    kept = {}
    for number in range(5000):
        tag = {"Key": f"k{number % 40}", "Value": f"{number}" * 40}
        try:
            servers.ec2.create_tags(Resources=[server], Tags=[tag])
            kept[tag["Key"]] = tag["Value"]
        except ClientError as error:
            assert error.response["Error"]["Code"] == "InternalError"  # noqa: PT017 either may be
            break
    else:
        pytest.fail("there was room for all tags")
    assert servers.state(server) == "running"
    assert servers.ssh(server, "hostname")
    filler.unlink()

    wait(lambda: tag_works(servers, server), "calls that change something work again")
    servers.cloud.wait_running()
    after = servers.get(server)
    assert {tag["Key"]: tag["Value"] for tag in after["Tags"]} == {**kept, "Name": "web"}
    assert after["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert servers.ssh(server, "cat /root/file") == "kept\n"
    servers.ec2.terminate_instances(InstanceIds=[server])
    servers.wait_for_state("terminated", server)
    assert guests(servers.cloud.paths.tag) == {}


def tag_works(servers: Servers, server: str) -> bool:
    try:
        servers.ec2.create_tags(Resources=[server], Tags=[{"Key": "Name", "Value": "web"}])
    except ClientError:
        return False
    return True


def test_a_cloud_on_a_disk_without_a_byte_can_be_stopped_and_removed(servers: Servers, disk: Path) -> None:
    fill(disk)
    assert servers.cloud.ok("down") == "Freehold is stopped.\n"
    assert servers.cloud.status()["state"] == "stopped"
    servers.cloud.destroy()
    assert not servers.cloud.data_dir.exists()
