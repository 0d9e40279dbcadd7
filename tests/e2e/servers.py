"""Real servers for tests: launched by boto3 in a cloud that `freehold up` started, and logged in to by OpenSSH."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3

from freehold.cli.host_keys import host_keys, known_hosts
from freehold.cli.temporary import free_port
from freehold.host.layout import Layout
from tests.cli.clouds import CommandCloud
from tests.hung import examine

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import InstanceTypeDef

READY = "freehold-micro ready"
SECONDS_MAX = 120.0


def wait(condition: Callable[[], bool], what: str, seconds: float = SECONDS_MAX) -> None:
    """Return once the condition holds; the limit is there for a test that would never end."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for: {what}"
        time.sleep(0.1)


class Servers:
    """The EC2 of one cloud, as its user sees it, with one key pair."""

    def __init__(self, cloud: CommandCloud) -> None:
        self.cloud = cloud
        self.environment = dict(
            line.removeprefix("export ").split("=", 1)
            for line in cloud.ok("env").splitlines()
            if line.startswith("export AWS_")
        )
        self._clients: list[Any] = []
        self.ec2: EC2Client = self.client("ec2")
        self.image: str = self.ec2.describe_images(Filters=[{"Name": "name", "Values": ["freehold-micro-*"]}])[
            "Images"
        ][0]["ImageId"]
        self.key = cloud.data_dir.parent / "key.pem"
        self.key.touch(mode=0o600)
        self.key.write_text(self.ec2.create_key_pair(KeyName="e2e", KeyType="ed25519")["KeyMaterial"])

    def client(self, service: str, **options: Any) -> Any:
        """A client of another service, with the root's keys unless `options` have others; closed with the cloud."""
        root = {
            "aws_access_key_id": self.environment["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": self.environment["AWS_SECRET_ACCESS_KEY"],
        }
        endpoint = self.environment["AWS_ENDPOINT_URL"]
        made = boto3.client(service, endpoint_url=endpoint, region_name="us-east-1", **(root | options))
        self._clients.append(made)
        return made

    def close(self) -> None:
        for each in self._clients:
            each.close()

    def launch(self, *groups: str, count: int = 1, **parameters: Any) -> list[str]:
        """Ids of new micro servers, which need not have booted yet."""
        launched = self.ec2.run_instances(
            KeyName="e2e",
            MinCount=count,
            MaxCount=count,
            **({"SecurityGroupIds": list(groups)} if groups else {}),
            **{"ImageId": self.image, "InstanceType": "fh1.nano", **parameters},
        )
        return [instance["InstanceId"] for instance in launched["Instances"]]

    def get(self, instance_id: str) -> InstanceTypeDef:
        return self.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]

    def state(self, instance_id: str) -> str:
        return self.get(instance_id)["State"]["Name"]

    def wait_for_state(self, state: str, *instance_ids: str) -> None:
        for each in instance_ids:
            wait(lambda each=each: self.state(each) == state, f"{each} is {state}")  # type: ignore[misc]

    def console(self, instance_id: str) -> str:
        return self.ec2.get_console_output(InstanceId=instance_id, Latest=True).get("Output", "")

    def wait_until_ready(self, *instance_ids: str, boots: int = 1) -> None:
        """Until each has printed the last line of its start."""
        for each in instance_ids:
            try:
                wait(lambda each=each: self.console(each).count(READY) >= boots, f"{each} is ready")  # type: ignore[misc]
            except AssertionError:
                print(self.console(each)[-4000:])
                print(examine(Layout(self.cloud.paths), each))
                raise

    def _login(self, instance_id: str, user: str = "root") -> tuple[str, ...]:
        """The start of an SSH command to a server, which must show the host keys that it printed on its console."""
        address = self.get(instance_id)["PublicIpAddress"]
        trusted = self.key.with_name(f"known-{instance_id}")
        trusted.write_text(known_hosts(address, host_keys(self.console(instance_id))))
        return (*ssh_command(self.key, trusted), f"{user}@{address}")

    def try_ssh(
        self, instance_id: str, command: str, user: str = "root", seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a server. Raises TimeoutExpired."""
        login = self._login(instance_id, user)
        return subprocess.run((*login, command), capture_output=True, text=True, timeout=seconds)

    @contextmanager
    def tunnel(self, instance_id: str, *targets: str) -> Iterator[list[str]]:
        """Local addresses whose connections a server opens on to the targets, each ``address:port``."""
        local = [f"127.0.0.1:{free_port()}" for _ in targets]
        forwards = (word for pair in zip(local, targets, strict=True) for word in ("-L", ":".join(pair)))
        with subprocess.Popen((*self._login(instance_id), "-N", "-o", "ExitOnForwardFailure=yes", *forwards)) as ssh:
            try:
                for address in local:
                    host, _, port = address.partition(":")
                    wait(lambda to=(host, int(port)): answers(*to), f"a tunnel at {address}")  # type: ignore[misc]
                yield local
            finally:
                ssh.terminate()

    def ssh(self, instance_id: str, command: str, user: str = "root") -> str:
        done = self.try_ssh(instance_id, command, user)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def group(self, name: str, *permissions: Any) -> str:
        """The id of a new security group that lets in what the permissions say."""
        group = self.ec2.create_security_group(GroupName=name, Description=name)["GroupId"]
        if permissions:
            self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=list(permissions))
        return group


def answers(address: str, port: int) -> bool:
    """Whether a connection from the machine to a public address is taken."""
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True


def ssh_command(key: Path, known: Path) -> tuple[str, ...]:
    options = (
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        f"UserKnownHostsFile={known}",
        "GlobalKnownHostsFile=/dev/null",
        "IdentitiesOnly=yes",
        "ConnectTimeout=10",
    )
    return ("ssh", "-i", str(key), *(word for option in options for word in ("-o", option)))


def tcp(port: int, cidr: str = "0.0.0.0/0") -> dict[str, Any]:
    """Permission to come in by a TCP port from a network."""
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": cidr}]}
