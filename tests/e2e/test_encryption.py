"""Disks of real servers are encrypted, under keys that the account has in its hand."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from freehold import config as configuration
from freehold.front.serve import open_store
from freehold.host.layout import Layout
from freehold.processes import guests
from freehold.records.encryption import WrappedKey
from freehold.records.secrets import Sealer
from freehold.services.kms.volume_keys import open_volume_key
from tests.e2e.servers import Servers, tcp, wait
from tests.e2e.test_volumes import attach, wait_for

POOL = "203.0.113.240/28"
TEXT = "the words that a tenant wrote"
WRITE = f"for n in $(seq 1000); do echo '{TEXT}'; done >/root/words && sync"


@pytest.fixture(scope="module")
def kms(servers: Servers) -> Any:
    return servers.client("kms")


@pytest.fixture(scope="module")
def arn(kms: Any) -> str:
    created: str = kms.create_key(Description="disks")["KeyMetadata"]["Arn"]
    return created


@pytest.fixture(scope="module")
def server(servers: Servers, arn: str) -> str:
    """A server with a disk of 2 GiB, grown from the image's 1, that has written text."""
    group = servers.group("ssh", tcp(22))
    (instance_id,) = servers.launch(group, **root(VolumeSize=2, Encrypted=True, KmsKeyId=arn))
    servers.wait_until_ready(instance_id)
    servers.ssh(instance_id, WRITE)
    return instance_id


def root(**ebs: Any) -> dict[str, Any]:
    return {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": ebs}]}


def volume_of(servers: Servers, instance_id: str) -> Any:
    named = [{"Name": "attachment.instance-id", "Values": [instance_id]}]
    (volume,) = servers.ec2.describe_volumes(Filters=named)["Volumes"]  # type: ignore[arg-type]
    return volume


def disk_of(servers: Servers, instance_id: str) -> Path:
    return Layout(servers.cloud.paths).volume(volume_of(servers, instance_id)["VolumeId"])


def contains(path: Path, words: bytes) -> bool:
    return words in path.read_bytes()


def test_the_disk_is_encrypted_and_grown_and_the_host_has_no_key(servers: Servers, server: str, arn: str) -> None:
    volume = volume_of(servers, server)
    assert (volume["Encrypted"], volume["KmsKeyId"], volume["Size"]) == (True, arn, 2)
    assert int(servers.ssh(server, "df -m / | tail -n 1 | awk '{print $2}'")) > 1800
    assert not contains(disk_of(servers, server), TEXT.encode())

    data_dir = servers.cloud.data_dir
    store = open_store(data_dir, configuration.load(data_dir))
    with store.read() as tx:
        (wrapped,) = tx.select(WrappedKey)
        key = open_volume_key(tx, Sealer.of(data_dir), wrapped.made_for, wrapped.ciphertext)
    store.close()
    pids = [*servers.cloud.pids().values(), guests(servers.cloud.paths.tag)[server].pid]
    places = [Path(f"/proc/{pid}/{file}") for pid in pids for file in ("cmdline", "environ")]
    places += [path for path in data_dir.rglob("*") if path.is_file()]
    for form in (key, key.hex().encode(), base64.b64encode(key)):
        assert [place for place in places if contains(place, form)] == []


def test_a_disk_under_another_key_needs_neither_its_snapshot_nor_that_ones_key(
    servers: Servers, server: str, kms: Any, arn: str
) -> None:
    """What lies in the snapshot is read at once, and what is written is under the new key."""
    snapshot_id = servers.ec2.create_snapshot(VolumeId=volume_of(servers, server)["VolumeId"])["SnapshotId"]
    servers.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot_id], WaiterConfig={"Delay": 1})
    other = kms.create_key()["KeyMetadata"]["Arn"]
    zone = servers.get(server)["Placement"]["AvailabilityZone"]
    made = servers.ec2.create_volume(AvailabilityZone=zone, SnapshotId=snapshot_id, Encrypted=True, KmsKeyId=other)
    volume_id = made["VolumeId"]
    assert made["KmsKeyId"] == other
    wait_for(servers, volume_id, "available")
    disk = attach(servers, volume_id, server)
    write = f"mkdir /copy && mount {disk} /copy && tail -n 1 /copy/root/words && echo '{TEXT} again' >/copy/new && sync"
    assert servers.ssh(server, write).strip() == TEXT
    servers.ssh(server, "umount /copy")
    servers.ec2.detach_volume(VolumeId=volume_id)
    wait_for(servers, volume_id, "available")

    kms.disable_key(KeyId=arn)
    servers.ec2.delete_snapshot(SnapshotId=snapshot_id)
    disk = attach(servers, volume_id, server)
    read = f"mount {disk} /copy && tail -n 1 /copy/root/words && cat /copy/new && umount /copy"
    assert servers.ssh(server, read).splitlines() == [TEXT, f"{TEXT} again"]
    assert not contains(Layout(servers.cloud.paths).volume(volume_id), TEXT.encode())
    kms.enable_key(KeyId=arn)
    servers.ec2.detach_volume(VolumeId=volume_id)
    wait_for(servers, volume_id, "available")
    kms.disable_key(KeyId=other)
    servers.ec2.attach_volume(VolumeId=volume_id, InstanceId=server, Device="/dev/sdf")
    wait_for(servers, volume_id, "available")  # given up
    servers.ec2.delete_volume(VolumeId=volume_id)


def test_nothing_starts_under_a_disabled_key_until_it_is_enabled(servers: Servers, server: str, kms: Any) -> None:
    key_id = volume_of(servers, server)["KmsKeyId"]
    kms.disable_key(KeyId=key_id)
    assert servers.ssh(server, "head -n 1 /root/words").strip() == TEXT
    servers.ec2.stop_instances(InstanceIds=[server])
    servers.wait_for_state("stopped", server)

    kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    for spoilt in (True, False):
        answer = servers.ec2.start_instances(InstanceIds=[server])["StartingInstances"][0]
        assert answer["CurrentState"]["Name"] == "pending"
        servers.wait_for_state("stopped", server)
        assert servers.get(server)["StateReason"] == {
            "Code": "Client.InvalidKMSKey.InvalidState",
            "Message": "Client.InvalidKMSKey.InvalidState: The KMS key provided is in an incorrect state",
        }
        if spoilt:
            kms.cancel_key_deletion(KeyId=key_id)  # it is disabled again then

    kms.enable_key(KeyId=key_id)
    servers.ec2.start_instances(InstanceIds=[server])
    servers.wait_until_ready(server, boots=2)
    assert servers.ssh(server, "tail -n 1 /root/words").strip() == TEXT


def test_a_host_gets_the_keys_again_when_it_has_lost_them(servers: Servers, server: str) -> None:
    """After the machine's restart, say: neither the agent nor QEMU is there, and no file has the key."""
    servers.cloud.ok("down", "--guests")
    wait(lambda: server not in guests(servers.cloud.paths.tag), "the server is stopped")
    servers.cloud.up()
    wait(lambda: servers.state(server) == "stopped", "the server is known to be stopped")
    servers.ec2.start_instances(InstanceIds=[server])
    servers.wait_until_ready(server, boots=3)


def test_where_the_account_wants_no_encryption_the_words_lie_in_clear(servers: Servers) -> None:
    """And so the other tests would have seen them."""
    servers.ec2.disable_ebs_encryption_by_default()
    (plain,) = servers.launch(servers.group("plain", tcp(22)))
    servers.ec2.enable_ebs_encryption_by_default()
    assert volume_of(servers, plain)["Encrypted"] is False
    servers.wait_until_ready(plain)
    servers.ssh(plain, WRITE)
    wait(lambda: contains(disk_of(servers, plain), TEXT.encode()), "the words are on the disk")
