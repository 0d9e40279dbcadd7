"""Ansible's modules, unmodified, against a cloud: each playbook does its work once, and its second run finds it done.

`make test-clients` installs Ansible in an environment of its own and names that in FREEHOLD_CLIENTS.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.e2e.servers import Servers

POOL = "198.18.8.0/26"
PLAYBOOKS = Path(__file__).parent

pytestmark = pytest.mark.clients


class Ansible:
    """ansible-playbook, pointed to one cloud as its users are told to: by the environment."""

    def __init__(self, servers: Servers, home: Path) -> None:
        self._program = Path(os.environ["FREEHOLD_CLIENTS"]) / "bin" / "ansible-playbook"
        self._environment = {
            **os.environ,
            **servers.environment,
            "ANSIBLE_HOME": str(home),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        }
        key = Ed25519PrivateKey.generate().public_key()
        self._variables = {"public_key": key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()}

    def play(self, name: str) -> list[str]:
        """The tasks of a playbook that changed something; the test fails if one does."""
        done = subprocess.run(
            (self._program, PLAYBOOKS / name, "--extra-vars", json.dumps(self._variables)),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{name}: {done.stdout[-4000:]}{done.stderr[-2000:]}"
        plays: list[Any] = json.loads(done.stdout)["plays"]
        tasks = [(task["task"]["name"], task["hosts"]["localhost"]) for play in plays for task in play["tasks"]]
        return [task for task, result in tasks if result.get("changed")]


@pytest.fixture(scope="module")
def ansible(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    return Ansible(servers, tmp_path_factory.mktemp("ansible"))


def test_servers_and_their_disks(ansible: Ansible, servers: Servers) -> None:
    assert ansible.play("servers.yml") == ["A key pair", "A security group", "A server that runs"]
    assert ansible.play("servers.yml") == []
    disks = ["A disk on it", "A snapshot of it, unless there is one of this hour", "An image of the server"]
    assert ansible.play("disks.yml") == disks
    assert ansible.play("disks.yml") == []
    assert ansible.play("disks_gone.yml") == ["No image", "No snapshots", "Not on the server", "No disk"]
    assert ansible.play("disks_gone.yml") == []
    assert ansible.play("servers_stopped.yml") == ["It is stopped"]
    assert ansible.play("servers_stopped.yml") == []
    assert ansible.play("servers.yml") == ["A server that runs"]
    assert ansible.play("servers_gone.yml") == ["It is terminated", "No security group", "No key pair"]
    assert ansible.play("servers_gone.yml") == []
    keys = servers.ec2.describe_key_pairs()["KeyPairs"]
    assert [key["KeyName"] for key in keys] == ["e2e"]
    assert servers.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    assert servers.ec2.describe_volumes()["Volumes"] == []
