"""EC2 Instance Connect with a real server: a key that was sent lets in its user, alone and for a minute."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from freehold.cli.host_keys import host_keys, known_hosts
from tests.e2e.servers import Servers, ssh_command, tcp, wait

POOL = "198.18.7.32/27"


class Visitor:
    """Has a key of its own, which no server knows."""

    def __init__(self, servers: Servers, directory: Path, instance_id: str) -> None:
        self._servers = servers
        self._instance_id = instance_id
        self._key = directory / "visitor"
        command = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a visitor", "-f", self._key)
        subprocess.run(command, check=True)
        self.public = self._key.with_suffix(".pub").read_text()

    def try_ssh(self, user: str, command: str = "id -un") -> subprocess.CompletedProcess[str]:
        address = self._servers.get(self._instance_id)["PublicIpAddress"]
        trusted = self._key.with_name("known")
        trusted.write_text(known_hosts(address, host_keys(self._servers.console(self._instance_id))))
        argv = (*ssh_command(self._key, trusted), f"{user}@{address}", command)
        return subprocess.run(argv, capture_output=True, text=True, timeout=60)

    def is_let_in(self, user: str) -> bool:
        done = self.try_ssh(user)
        assert done.returncode == 0 or "Permission denied" in done.stderr, done.stderr
        return done.returncode == 0


@pytest.fixture(scope="module")
def server(servers: Servers) -> str:
    (instance_id,) = servers.launch(servers.group("connect", tcp(22)))
    servers.wait_until_ready(instance_id)
    return instance_id


@pytest.fixture(scope="module")
def connect(servers: Servers) -> Any:
    return servers.client("ec2-instance-connect")


def test_a_key_lets_in_its_user_for_a_minute(servers: Servers, server: str, connect: Any, tmp_path: Path) -> None:
    visitor = Visitor(servers, tmp_path, server)
    own = servers.ssh(server, "cat /root/.ssh/authorized_keys")
    assert not visitor.is_let_in("root")
    sent = {"InstanceId": server, "SSHPublicKey": visitor.public}
    assert connect.send_ssh_public_key(**sent, InstanceOSUser="root", AvailabilityZone="us-east-1a")["Success"] is True
    wait(lambda: visitor.is_let_in("root"), "the visitor is let in")
    assert not visitor.is_let_in("ec2-user")
    assert servers.ssh(server, "id -un") == "root\n"  # who had a key before still has
    connect.send_ssh_public_key(**sent, InstanceOSUser="ec2-user")
    wait(lambda: visitor.is_let_in("ec2-user"), "the visitor is let in")

    # What its owner writes meanwhile stays; what was sent goes, for everybody.
    servers.ssh(server, "echo '# a line of mine' >>/root/.ssh/authorized_keys")
    wait(lambda: not visitor.is_let_in("root"), "the minute is over")
    wait(lambda: not visitor.is_let_in("ec2-user"), "the minute is over")
    assert servers.ssh(server, "cat /root/.ssh/authorized_keys") == own + "# a line of mine\n"
    assert "ec2-instance-connect" not in servers.ssh(server, "cat /home/ec2-user/.ssh/authorized_keys")


def test_a_file_that_was_replaced_is_renewed_too(servers: Servers, server: str, connect: Any, tmp_path: Path) -> None:
    """As Ansible and editors write: a new file in the old one's place."""
    visitor = Visitor(servers, tmp_path, server)
    servers.ssh(server, "cd /root/.ssh && cp -p authorized_keys new && mv new authorized_keys")
    connect.send_ssh_public_key(InstanceId=server, SSHPublicKey=visitor.public, InstanceOSUser="root")
    wait(lambda: visitor.is_let_in("root"), "the visitor is let in")


def test_what_does_not_run_takes_no_key(servers: Servers, server: str, connect: Any, tmp_path: Path) -> None:
    visitor = Visitor(servers, tmp_path, server)
    servers.ec2.stop_instances(InstanceIds=[server], Force=True)
    with pytest.raises(ClientError, match="EC2InstanceStateInvalidException"):
        connect.send_ssh_public_key(InstanceId=server, SSHPublicKey=visitor.public, InstanceOSUser="root")
