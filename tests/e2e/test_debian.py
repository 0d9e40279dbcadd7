"""The debian-12 image as clones of a template: users are let in before systemd and cloud-init have done their work, and
what these do then is what they do after a boot. Minutes of work, so only `make test-debian` runs it."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest

from freehold.cli.host_keys import host_keys
from freehold.host.layout import Layout
from freehold.images.build import build
from freehold.processes import guests
from tests.cli.clouds import COMMAND, CommandCloud, short_place
from tests.e2e.servers import Servers, wait
from tests.e2e.test_roles import API, TRUST

pytestmark = pytest.mark.debian
POOL, DEMO_POOL = "198.18.10.0/24", "198.18.22.32/28"
TYPE = "t3.micro"
MINUTES = 600.0
SCRIPT = "#!/bin/sh\necho ran >>/root/runs\n"
CONFIG = """#cloud-config
users:
  - name: bob
    ssh_authorized_keys: ["{key}"]
"""
SECRETS = """
echo "boot=$(cat /proc/sys/kernel/random/boot_id)" "random=$(head -c 24 /dev/urandom | base64)"
echo "key=$(cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub)" "uuid=$(sudo cat /sys/class/dmi/id/product_uuid)"
"""
LISTENER = "cat /run/sshd.pid"
# From the middle of a boot to its end.
FOLLOW = f"{LISTENER}; cloud-init status; until cloud-init status --wait; do sleep 1; done"
SERVICE = "systemctl show --property=MainPID --value ssh"


class Guests(Servers):
    """Servers of the debian-12 image. The host key that is seen first must stay."""

    sessions: list[subprocess.Popen[str]]

    def start(self, group: str, user_data: str) -> str:
        (instance_id,) = self.launch(group, ImageId=self.image, InstanceType=TYPE, UserData=user_data)
        self.wait_for_state("running", instance_id)
        assert self._is_clone(instance_id)
        return instance_id

    def command(self, instance_id: str, user: str = "admin") -> tuple[str, ...]:
        known = self.key.with_name(f"known-{instance_id}")
        options = ("BatchMode=yes", "StrictHostKeyChecking=accept-new", f"UserKnownHostsFile={known}", "LogLevel=ERROR")
        words = (word for option in (*options, "HostKeyAlias=server", "ConnectTimeout=120") for word in ("-o", option))
        address = self.get(instance_id)["PublicIpAddress"]
        return ("ssh", "-F", "none", "-i", str(self.key), *words, f"{user}@{address}")

    def try_run(self, instance_id: str, command: str, user: str = "admin") -> subprocess.CompletedProcess[str]:
        said = (*self.command(instance_id, user), command)
        return subprocess.run(said, capture_output=True, text=True, timeout=MINUTES)

    def run(self, instance_id: str, command: str, user: str = "admin") -> str:
        done = self.try_run(instance_id, command, user)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def wait_for_login(self, instance_id: str, user: str = "admin") -> None:
        wait(lambda: self.try_run(instance_id, "true", user).returncode == 0, f"{user} logs in", MINUTES)

    def follow(self, instance_id: str) -> subprocess.Popen[str]:
        command = (*self.command(instance_id), FOLLOW)
        self.sessions.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return self.sessions[-1]

    def close(self) -> None:
        for each in self.sessions:
            each.kill()
            each.wait()
        super().close()

    def _is_clone(self, instance_id: str) -> bool:
        pid = guests(self.cloud.paths.tag)[instance_id].pid
        return b"\0-incoming\0" in Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.fixture(scope="module")
def debian() -> Iterator[Guests]:
    with short_place() as place:
        cloud = CommandCloud.at(place / "e2e", POOL, f'[compute]\ntemplate_types = ["fh1.nano", "{TYPE}"]\n')
        try:
            image = build("debian-12", cloud.data_dir, print)
            cloud.up()
            made = Guests(cloud)
            made.image, made.sessions = image.image_id, []
            log = cloud.paths.log / "host.log"
            ready = re.compile(f'"{image.image_id}", "type": "{TYPE}".*"template ready"')
            wait(lambda: ready.search(log.read_text()) is not None, "there is a template", MINUTES)
            yield made
            made.close()
            assert f'"{image.image_id}", "type": "fh1.nano"' not in log.read_text()  # too small for it
        finally:
            cloud.destroy()


@pytest.fixture(scope="module")
def group(debian: Guests) -> str:
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    return debian.group("ssh", ssh)


def test_users_are_let_in_first_and_stay_while_the_rest_comes(debian: Guests, group: str) -> None:
    """Two clones have nothing alike; one then reboots, the other stops and starts."""
    ids = [debian.start(group, SCRIPT) for _ in range(2)]
    found: dict[str, list[str]] = {}
    sessions, listeners = [], []
    for each in ids:
        debian.wait_for_login(each)
        sessions.append(debian.follow(each))
    for each, session in zip(ids, sessions, strict=True):
        said = session.communicate(timeout=MINUTES)[0]
        assert said.count("\n") > 2, said
        listener, early, *_, late = said.split("\n")[:-1]
        assert early in ("status: not run", "status: running"), said
        assert late == "status: done", said
        listeners.append(listener)
        for name, value in re.findall("(boot|random|key|uuid)=([^ \n]+)", debian.run(each, SECRETS)):
            found.setdefault(name, []).append(value)
        found.setdefault("machine", []).append(debian.run(each, "cat /etc/machine-id"))
    assert {name: len(set(values)) for name, values in found.items()} == dict.fromkeys(
        ("boot", "random", "key", "uuid", "machine"), 2
    )
    for each, listener, key in zip(ids, listeners, found["key"], strict=True):
        assert debian.run(each, SERVICE) == listener  # the server that was there first is systemd's
        assert debian.run(each, "sudo cat /root/runs") == "ran"
        assert debian.run(each, "systemctl --failed --quiet; hostname").startswith("ip-")
        wait(lambda each=each, key=key: key in str(host_keys(debian.console(each))), "the host key is told")  # type: ignore[misc]
        debian.run(each, "sudo systemctl restart ssh")
        assert debian.run(each, SERVICE) not in (listener, "0")

    rebooted, stopped = ids
    debian.try_run(rebooted, "sudo systemctl reboot")
    debian.ec2.stop_instances(InstanceIds=[stopped])
    debian.wait_for_state("stopped", stopped)
    debian.ec2.start_instances(InstanceIds=[stopped])
    for each, boot in zip(ids, found["boot"], strict=True):
        wait(lambda each=each, boot=boot: has_booted(debian, each, boot), f"{each} boots", MINUTES)  # type: ignore[misc]
        assert debian.run(each, "cloud-init status --wait").endswith("status: done")
        assert debian.run(each, "sudo cat /root/runs") == "ran"
        debian.run(each, "test ! -e /run/systemd/system/ssh.service.d")
    debian.ec2.terminate_instances(InstanceIds=ids)
    debian.wait_for_state("terminated", *ids)


def has_booted(debian: Guests, instance_id: str, before: str) -> bool:
    said = debian.try_run(instance_id, "cat /proc/sys/kernel/random/boot_id")
    return said.returncode == 0 and said.stdout.strip() != before


def test_user_data_that_may_say_who_is_let_in_is_read_before_anybody_is(debian: Guests, group: str) -> None:
    public = subprocess.run(("ssh-keygen", "-y", "-f", debian.key), check=True, capture_output=True, text=True).stdout
    server = debian.start(group, CONFIG.format(key=public.strip()))
    debian.wait_for_login(server, "bob")
    assert "Permission denied" in debian.try_run(server, "true").stderr
    debian.ec2.terminate_instances(InstanceIds=[server])
    debian.wait_for_state("terminated", server)


WRITE = "head -c 4M /dev/urandom >/var/tmp/words && md5sum </var/tmp/words"
JOURNAL = "sudo dumpe2fs -h /dev/vdb 2>&1 | grep -c needs_recovery || true"
CHECK = """
sudo e2fsck -fn /dev/vdb >/tmp/check 2>&1 || cat /tmp/check
sudo mount -o ro,noload /dev/vdb /mnt && md5sum </mnt/var/tmp/words && test ! -e /mnt/var/tmp/later && sudo umount /mnt
"""
FREEZES = "sudo journalctl --unit qemu-guest-agent --output cat | grep -c 'fsfreeze called' || true"
GOES_ON = "date >/var/tmp/later && sync"


def test_snapshots_have_file_systems_as_if_they_had_been_unmounted(debian: Guests, group: str) -> None:
    """What was written is in them though nobody has said `sync`, and nothing is to be recovered: the agent of the guest
    freezes them once for all that is taken at an instant. The guest goes on, whoever is killed meanwhile."""
    (server,) = debian.launch(group, ImageId=debian.image, InstanceType=TYPE, HibernationOptions={"Configured": True})
    debian.wait_for_state("running", server)
    debian.wait_for_login(server)
    debian.run(server, "cloud-init status --wait && systemctl is-active qemu-guest-agent")
    (root,) = volumes_of(debian, server)
    written = debian.run(server, WRITE)
    snapshot = debian.ec2.create_snapshot(VolumeId=root)["SnapshotId"]
    debian.run(server, GOES_ON)
    assert debian.run(server, FREEZES) == "1"
    volume = attached(debian, server, snapshot)
    assert debian.run(server, JOURNAL) == "0"
    assert debian.run(server, CHECK) == written

    # Both disks in one instant; an image of the server that runs; then one that went on where it was.
    debian.ec2.create_snapshots(InstanceSpecification={"InstanceId": server})
    debian.run(server, GOES_ON)
    assert debian.run(server, FREEZES) == "2"
    debian.ec2.create_image(InstanceId=server, Name="as it runs", NoReboot=True)
    debian.run(server, GOES_ON)
    assert debian.run(server, FREEZES) == "3"
    detach(debian, volume)
    booted = debian.run(server, "cat /proc/sys/kernel/random/boot_id")
    debian.ec2.stop_instances(InstanceIds=[server], Hibernate=True)
    debian.wait_for_state("stopped", server)
    debian.ec2.start_instances(InstanceIds=[server])
    debian.wait_for_state("running", server)
    debian.wait_for_login(server)
    assert not has_booted(debian, server, booted)
    debian.ec2.create_snapshot(VolumeId=root)
    debian.run(server, GOES_ON)
    assert debian.run(server, FREEZES) == "4"

    # The host agent is killed when the guest is told to freeze. The next one thaws it, and takes the snapshot.
    mark, agent = Layout(debian.cloud.paths).guest(server).frozen, debian.cloud.pids()["host"]
    with ThreadPoolExecutor(1) as caller:
        asked = caller.submit(debian.ec2.create_snapshot, VolumeId=root)
        deadline = time.monotonic() + MINUTES
        while not mark.exists():
            assert time.monotonic() < deadline
        os.kill(agent, signal.SIGKILL)
        debian.run(server, GOES_ON)
        wait(lambda: not mark.exists(), "the guest has said that it is thawed", MINUTES)
        snapshot = asked.result()["SnapshotId"]
    debian.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot], WaiterConfig={"Delay": 1})

    # Without the agent it is as after a power cut: there is a journal to go through.
    debian.run(server, "sudo systemctl stop qemu-guest-agent")
    snapshot = debian.ec2.create_snapshot(VolumeId=root)["SnapshotId"]
    attached(debian, server, snapshot)
    assert debian.run(server, JOURNAL) == "1"
    debian.ec2.terminate_instances(InstanceIds=[server])
    debian.wait_for_state("terminated", server)


def volumes_of(debian: Guests, instance_id: str) -> list[str]:
    return [each["Ebs"]["VolumeId"] for each in debian.get(instance_id)["BlockDeviceMappings"]]


def attached(debian: Guests, instance_id: str, snapshot: str) -> str:
    """A volume of a snapshot, which the guest sees as its second disk."""
    zone = debian.get(instance_id)["Placement"]["AvailabilityZone"]
    volume = debian.ec2.create_volume(SnapshotId=snapshot, AvailabilityZone=zone)["VolumeId"]
    debian.ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig={"Delay": 1})
    debian.ec2.attach_volume(VolumeId=volume, InstanceId=instance_id, Device="/dev/sdf")
    wait(lambda: debian.try_run(instance_id, "test -b /dev/vdb").returncode == 0, "it has the disk")
    return volume


def detach(debian: Guests, volume: str) -> None:
    debian.ec2.detach_volume(VolumeId=volume)
    debian.ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig={"Delay": 1})
    debian.ec2.delete_volume(VolumeId=volume)


SDK = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six.py")
WHO_AM_I = "import boto3; print(boto3.client('sts', region_name='us-east-1').get_caller_identity()['Arn'])"


def test_boto3_in_a_server_needs_nothing_but_the_endpoint(debian: Guests, group: str) -> None:
    """Its own chain of providers finds the credentials of the server's role."""
    iam = debian.client("iam")
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.create_instance_profile(InstanceProfileName="worker")
    iam.add_role_to_instance_profile(InstanceProfileName="worker", RoleName="worker")
    profile = {"Name": "worker"}
    (server,) = debian.launch(group, ImageId=debian.image, InstanceType=TYPE, IamInstanceProfile=profile)
    debian.wait_for_state("running", server)
    debian.wait_for_login(server)
    unpack = (*debian.command(server), "mkdir /var/tmp/sdk && tar xz -C /var/tmp/sdk")
    subprocess.run(unpack, input=sdk(), check=True, timeout=MINUTES)
    said = debian.run(server, f'AWS_ENDPOINT_URL={API} PYTHONPATH=/var/tmp/sdk python3 -c "{WHO_AM_I}"')
    assert said.endswith(f":assumed-role/worker/{server}")
    debian.ec2.terminate_instances(InstanceIds=[server])
    debian.wait_for_state("terminated", server)


def sdk() -> bytes:
    """The SDK as it is installed here, which is Python alone, packed."""

    def wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        compiled = member.name.endswith(("__pycache__", ".so"))
        other = member.isdir() and member.name.startswith("botocore/data/") and member.name.split("/")[2] != "sts"
        return None if compiled or other else member

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in SDK:
            archive.add(Path(boto3.__file__).parents[1] / name, name, filter=wanted)
    return packed.getvalue()


def test_the_demo_gets_in_while_the_server_boots() -> None:
    """In a cloud without a template, under emulation: who connects again and again keeps cloud-init from its work."""
    command = [*COMMAND, "demo", "--image", "debian-12", "--pool", DEMO_POOL]
    done = subprocess.run(command, capture_output=True, text=True, timeout=MINUTES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"i-[0-9a-f]{17} 198\.18\.22\.\d+ answers after [0-9.]+ s: Linux ", done.stdout)
    assert "nothing is left" in done.stdout
