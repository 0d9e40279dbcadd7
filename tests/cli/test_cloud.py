"""A cloud made, used, hurt and removed by the command."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import boto3
import click
import pytest

from freehold.cli.app import app
from freehold.processes import identity
from tests.ovn import wait_until

from .clouds import CommandCloud, running_cloud, short_place

PARTS = ["ovsdb-server", "ovs-vswitchd", "ovn-northd", "ovn-controller", "control", "front", "host"]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with short_place() as place:
        yield place


@pytest.fixture(scope="module")
def cloud(place: Path) -> Iterator[CommandCloud]:
    with running_cloud(place / "one", "203.0.113.128/28") as cloud:
        yield cloud


def test_the_aws_command_finds_the_default_account(cloud: CommandCloud) -> None:
    keys = json.loads((cloud.paths.keys / "default-account.json").read_text())
    assert cloud.identity() == keys["AccountId"]
    assert (cloud.paths.keys / "default-account.json").stat().st_mode & 0o777 == 0o600
    assert cloud.data_dir.stat().st_mode & 0o777 == 0o700


def test_env_points_boto3_here(cloud: CommandCloud) -> None:
    lines = [shlex.split(line) for line in cloud.ok("env").splitlines()]
    variables = dict(words[1].split("=", 1) for words in lines if words[0] == "export")
    assert variables["AWS_ENDPOINT_URL"] == f"http://127.0.0.1:{cloud.port}"
    client = boto3.client(
        "ec2",
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        region_name=variables["AWS_DEFAULT_REGION"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
    )
    (image,) = client.describe_images(Filters=[{"Name": "name", "Values": ["freehold-micro-*"]}])["Images"]
    client.close()
    assert image["ImageOwnerAlias"] == "amazon"
    assert (cloud.paths.images / image["ImageId"] / "image.json").exists()


def test_a_second_up_is_refused_by_one_sentence(cloud: CommandCloud) -> None:
    assert cloud.refused("up", "--port", "1") == (
        f"This cloud already runs at http://127.0.0.1:{cloud.port}: `freehold status` shows it, "
        "`freehold down` stops it."
    )


def test_status_shows_every_part(cloud: CommandCloud) -> None:
    status = cloud.status()
    assert status["state"] == "running"
    assert [part["name"] for part in status["parts"]] == ["supervisor", *PARTS]
    assert all(part["memory_mib"] > 1 for part in status["parts"])
    shown = cloud.ok("status")
    assert all(name in shown for name in ("ovsdb-server", "control", "front", f"127.0.0.1:{cloud.port}"))


def test_images_are_listed(cloud: CommandCloud) -> None:
    (image,) = json.loads(cloud.ok("image", "list", "--json"))
    assert cloud.ok("image", "build", "freehold-micro") == f"{image['image_id']}\n"
    assert image["name"].startswith("freehold-micro-")
    assert image["image_id"] in cloud.ok("image", "list")
    assert "There is no recipe for 'windows'" in cloud.refused("image", "build", "windows")


def test_ssh_and_console_say_which_server_there_is_not(cloud: CommandCloud) -> None:
    assert "There is no server 'web'" in cloud.refused("ssh", "web")
    assert "There is no server 'i-0123456789abcdef0'" in cloud.refused("ssh", "i-0123456789abcdef0", "--", "id")
    assert "does not run on this machine" in cloud.refused("console", "i-0123456789abcdef0")
    assert "is not the id of an instance" in cloud.refused("console", "../i-0123456789abcdef0")


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_is_killed_comes_back(cloud: CommandCloud, name: str) -> None:
    before = cloud.pids()
    cloud.replace(name)
    after = cloud.pids()
    assert {part for part in after if after[part] != before[part]} == {name}
    cloud.identity()


def test_up_takes_over_from_a_supervisor_that_was_killed(cloud: CommandCloud) -> None:
    before = cloud.pids()
    os.kill(before["supervisor"], signal.SIGKILL)
    wait_until(lambda: identity(before["supervisor"]) is None, "the supervisor is dead")
    assert cloud.status()["state"] == "stopped"
    cloud.up()
    after = cloud.pids()
    assert {part for part in after if after[part] != before[part]} == {"supervisor"}


def test_down_and_up_keep_accounts_and_lost_keys_are_written_again(cloud: CommandCloud) -> None:
    account, keys = cloud.identity(), (cloud.paths.keys / "default-account.json").read_text()
    assert cloud.ok("down") == "Freehold is stopped.\n"
    assert cloud.status()["state"] == "stopped"
    assert "does not run: `freehold up` starts it." in cloud.refused("aws", "sts", "get-caller-identity")
    (cloud.paths.keys / "default-account.json").unlink()
    cloud.up()
    assert cloud.identity() == account
    assert (cloud.paths.keys / "default-account.json").read_text() == keys


def test_down_ends_what_a_dead_supervisor_left(cloud: CommandCloud) -> None:
    pids = cloud.pids()
    os.kill(pids["supervisor"], signal.SIGKILL)
    wait_until(lambda: identity(pids["supervisor"]) is None, "the supervisor is dead")
    cloud.ok("down")
    assert not any(identity(pid) for pid in pids.values())
    cloud.up()


def test_two_clouds_run_side_by_side_and_destroy_leaves_nothing_of_one(cloud: CommandCloud, place: Path) -> None:
    other = CommandCloud.at(place / "two", "203.0.113.144/28")
    try:
        other.up()
        assert other.identity() != cloud.identity()
        pids = other.pids()
        other.ok("destroy", "--yes")
        assert not any(identity(pid) for pid in pids.values())
        assert not other.data_dir.exists()
        assert not Path("/run/netns", other.paths.namespace).exists()
        links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
        assert f"fh{other.paths.tag}h" not in links
        assert f"fh{cloud.paths.tag}h" in links
        cloud.identity()
    finally:
        other.destroy()


def test_a_port_that_is_taken_is_said_and_nothing_runs(place: Path) -> None:
    cloud = CommandCloud.at(place / "three", "203.0.113.144/28")
    with socket.create_server(("127.0.0.1", cloud.port)):
        assert cloud.refused("up", "--port", str(cloud.port)) == (
            f"Port {cloud.port} is taken by another program: give another one with --port."
        )
    cloud.destroy()


def test_a_pool_that_the_machine_reaches_already_is_refused(cloud: CommandCloud, place: Path) -> None:
    other = CommandCloud.at(place / "four", "203.0.113.128/29")
    done = other.run("up", "--port", str(other.port))
    assert done.returncode == 1
    assert re.search(r"public pool 203\.0\.113\.128/29 overlaps .* name another network", done.stderr)
    other.destroy()


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    cloud = CommandCloud(tmp_path, 1)
    assert cloud.refused("up") == f"{tmp_path} is not empty and no cloud's: name another --data-dir."
    assert "There is no cloud in" in cloud.refused("destroy", "--yes")
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_path_too_long_for_sockets_is_said_and_nothing_is_made(place: Path) -> None:
    directory = place / ("long" * 20)
    assert "too long for sockets in it; choose a shorter one." in CommandCloud(directory, 1).refused("up")
    assert not directory.exists()


def test_a_wrong_key_in_the_configuration_is_named(place: Path) -> None:
    cloud = CommandCloud.at(place / "five", "203.0.113.144/28")
    (cloud.data_dir / "freehold.toml").write_text("prot = 1\n")
    assert "`prot`" in cloud.refused("up", "--port", "1")


@pytest.mark.parametrize(
    "command", [["--help"], ["--version"], ["up", "--help"], ["env"], ["console", "i-0123456789abcdef0"]]
)
def test_what_should_start_at_once_loads_nothing_heavy(place: Path, command: list[str]) -> None:
    program = (
        f"import atexit, sys; sys.argv = ['freehold', *{command}]; "
        "atexit.register(lambda: print('loaded', *sys.modules)); from freehold.cli import main; main()"
    )
    environment = {**os.environ, "FREEHOLD_DATA_DIR": str(place / "none")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    loaded = done.stdout.rpartition("loaded")[2].split()
    assert "freehold.cli.app" in loaded
    assert not {"sqlalchemy", "alembic", "botocore", "cryptography", "rich", "pyroute2", "ssl"} & set(loaded)


def test_version_is_that_of_the_package(place: Path) -> None:
    shown = CommandCloud(place / "none", 1).ok("--version")
    assert shown == f"freehold {version('freehold')}\n"


def test_help_shows_examples_of_every_command(place: Path) -> None:
    commands = []
    for name, command in app.commands.items():
        commands += [[name, inner] for inner in command.commands] if isinstance(command, click.Group) else [[name]]
    for command in commands:
        option = "--freehold-help" if command == ["aws"] else "--help"
        shown = CommandCloud(place / "none", 1).ok(*command, option)
        assert re.search(rf"Examples?:\n .*freehold {' '.join(command)}", shown), shown
