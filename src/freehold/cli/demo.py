"""``freehold demo``: a cloud of its own, real servers in it by the AWS API, a command in each by SSH, and their bill.

It reads as a person would do it: `_tour` is the story, and nothing in it is Freehold's own but the host keys that
are read from the console.
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from freehold.cli import fail
from freehold.cli.bill import show as show_bill
from freehold.cli.endpoint import client
from freehold.cli.instances import BOOT_SECONDS_MAX, default_user, printed_keys, ssh_command, trust
from freehold.cli.temporary import TemporaryCloud, temporary_cloud

IMAGES = {"freehold-micro": "fh1.nano", "debian-12": "t3.micro"}
"""The images to choose from, and the smallest instance type that each is at ease on."""

_COMMAND = "uname -srm; df -h / | tail -n 1"
# No person's configuration, no questions, no waiting for ever.
_SSH = ("-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-o", "ServerAliveInterval=10")
_WHOLE_BILL_MAX = 5  # servers; the bill of more is shown by item
_BOOT_SECONDS_MAX_EACH = 20  # more than for one, as servers share the machine's cores


@dataclass
class Clock:
    """Says what happens, and when: in seconds since the demo began."""

    began: float = field(default_factory=time.monotonic)

    def say(self, line: str) -> None:
        print(f"{time.monotonic() - self.began:7.1f} s  {line}", flush=True)


def demo(servers: int, image: str, pool: str | None) -> None:
    try:
        wanted = IPv4Network(pool) if pool else None
    except ValueError as error:
        raise fail(f"--pool: {error}; name a network such as 203.0.113.0/24.") from None
    clock = Clock()
    clock.say("starting a cloud of its own")
    try:
        with temporary_cloud(image, wanted, clock.say) as cloud:
            clock.say(f"the cloud is up at {cloud.endpoint.url}, public addresses {cloud.network.pool}")
            _tour(cloud, servers, image, clock)
    except ClientError as error:
        raise fail(str(error)) from None
    clock.say("nothing is left: no process, disk, interface, namespace or directory")


def _tour(cloud: TemporaryCloud, servers: int, image: str, clock: Clock) -> None:
    ec2 = client(cloud.endpoint, "ec2")

    key_file = cloud.paths.data_dir / "demo.pem"
    key_file.touch(mode=0o600)
    key_file.write_text(ec2.create_key_pair(KeyName="demo", KeyType="ed25519")["KeyMaterial"])
    # A security group lets nothing in until it is told to: SSH, from this machine.
    ec2.authorize_security_group_ingress(
        GroupName="default", IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp=f"{cloud.network.machine}/32"
    )
    clock.say("key pair demo; the default security group lets SSH in from this machine")

    (found,) = ec2.describe_images(Owners=["amazon"], Filters=[{"Name": "name", "Values": [f"{image}-*"]}])["Images"]
    launch = Launch(cloud, ec2, key_file, default_user(cloud.paths, found["ImageId"]))
    instances = ec2.run_instances(
        ImageId=found["ImageId"], InstanceType=IMAGES[image], KeyName="demo", MinCount=servers, MaxCount=servers
    )["Instances"]
    instance_ids = [instance["InstanceId"] for instance in instances]
    clock.say(f"launched {_servers(servers)}: {found['Name']}, {IMAGES[image]}")

    times = launch.visit_all(instance_ids, clock)
    clock.say(f"launch to SSH: first {times[0]:.1f} s, median {statistics.median(times):.1f} s, last {times[-1]:.1f} s")

    ec2.terminate_instances(InstanceIds=instance_ids)
    ec2.get_waiter("instance_terminated").wait(
        InstanceIds=instance_ids, WaiterConfig={"Delay": 1, "MaxAttempts": 60 + 10 * servers}
    )
    clock.say(f"terminated {_servers(servers)}; the bill:\n")
    ec2.close()
    show_bill(cloud.paths.data_dir, None, as_json=False, by_item=servers > _WHOLE_BILL_MAX)


@dataclass
class Launch:
    """Servers that were just launched, on their way to answer."""

    cloud: TemporaryCloud
    ec2: Any
    key_file: Path
    user: str
    began: float = field(default_factory=time.monotonic)
    given_up: threading.Event = field(default_factory=threading.Event)

    def visit_all(self, instance_ids: Sequence[str], clock: Clock) -> list[float]:
        """Run the command in every server as soon as it answers; the seconds that each took, shortest first."""
        deadline = self.began + BOOT_SECONDS_MAX + _BOOT_SECONDS_MAX_EACH * len(instance_ids)
        times: list[float] = []
        with ThreadPoolExecutor(max_workers=len(instance_ids)) as executor:
            try:
                left: set[Future[tuple[float, str]]] = {executor.submit(self._visit, each) for each in instance_ids}
                while left:
                    done, left = wait(left, timeout=5, return_when=FIRST_COMPLETED)
                    for visit in done:
                        seconds, said = visit.result()
                        times.append(seconds)
                        clock.say(said)
                    if not done:
                        self._look(instance_ids)
                    if time.monotonic() > deadline:
                        raise fail(f"{_servers(len(left))} of {len(instance_ids)} did not answer by SSH in time.")
            finally:
                self.given_up.set()
        return sorted(times)

    def _visit(self, instance_id: str) -> tuple[float, str]:
        """Log in to a server by OpenSSH, which must show the host key that it printed on its console."""
        address = self._address(instance_id)
        trusted = self.cloud.paths.run / "ssh" / instance_id
        command = ssh_command(address, self.user, trusted, self.key_file, [_COMMAND], *_SSH)
        listens = False
        while not self.given_up.wait(0.2):
            # It is not knocked at again: under emulation, the process that sshd starts for each connection costs what
            # cloud-init needs to come to print the keys.
            if not (listens := listens or _listens(address)):
                continue
            if not trusted.exists():
                if not (keys := printed_keys(self.ec2, instance_id)):
                    continue
                trust(trusted, address, keys)
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                seconds = time.monotonic() - self.began
                said = " ".join(done.stdout.split())
                return seconds, f"{instance_id} {address} answers after {seconds:.1f} s: {said}"
        return 0.0, ""

    def _address(self, instance_id: str) -> str:
        (reservation,) = self.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
        return str(reservation["Instances"][0]["PublicIpAddress"])

    def _look(self, instance_ids: Sequence[str]) -> None:
        """End the demo with a sentence if a server has failed."""
        for reservation in self.ec2.describe_instances(InstanceIds=instance_ids)["Reservations"]:
            for instance in reservation["Instances"]:
                if instance["State"]["Name"] not in ("pending", "running"):
                    reason = instance.get("StateReason", {}).get("Message", "")
                    raise fail(f"{instance['InstanceId']} is {instance['State']['Name']}. {reason}")


def _listens(address: str) -> bool:
    try:
        socket.create_connection((address, 22), timeout=1).close()
    except OSError:
        return False
    return True


def _servers(number: int) -> str:
    return "1 server" if number == 1 else f"{number} servers"
