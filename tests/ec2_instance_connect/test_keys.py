"""Keys that let in their users for a minute: who may send them, where they go, when they are gone."""

from __future__ import annotations

import datetime as dt
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from freehold.config import Config
from freehold.control.housekeeping import keep_house
from freehold.control.specs import guest_specs
from freehold.host.metadata import documents
from freehold.host.wire import GuestSpec
from freehold.records.compute import Host
from freehold.records.connect import ConnectKey
from freehold.services.ec2_instance_connect.keys import KEYS_MAX
from tests.cloudapi import ApiServer, api_server
from tests.ec2.launching import IMAGE, add_host, add_images, host_reports, record
from tests.iam.granting import Grants, allow

ACTIVE = "latest/meta-data/managed-ssh-keys/active-keys"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("cloud")) as served:
        add_host(served.store)
        add_images(served.store)
        yield served


@pytest.fixture(scope="module")
def public_key(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("key") / "id"
    subprocess.run(("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-C", "me", "-f", path), check=True)
    return path.with_suffix(".pub").read_text()


@pytest.fixture
def instance_id(api: ApiServer) -> str:
    launched = api.client("ec2").run_instances(ImageId=IMAGE, InstanceType="fh1.nano", MinCount=1, MaxCount=1)
    found: str = launched["Instances"][0]["InstanceId"]
    host_reports(api.store, found, "running")
    return found


def told(api: ApiServer, instance_id: str) -> GuestSpec:
    with api.store.read() as tx:
        (spec,) = guest_specs(tx, Config(), [record(api.store, instance_id)])
    return spec


def refused(code: str) -> Any:
    return pytest.raises(ClientError, match=code)


def test_imds_tells_a_key_to_its_user_for_a_minute(api: ApiServer, instance_id: str, public_key: str) -> None:
    connect = api.client("ec2-instance-connect")
    answer = connect.send_ssh_public_key(
        InstanceId=instance_id, InstanceOSUser="admin", SSHPublicKey=public_key, AvailabilityZone="us-east-1a"
    )
    assert answer["Success"] is True
    spec = told(api, instance_id)
    now = dt.datetime.now(dt.UTC).timestamp()
    text = (documents.find(spec, f"{ACTIVE}/admin", None, now) or b"").decode()
    *comments, key = text.splitlines()
    assert key == " ".join(public_key.split()[:2])
    assert f"#Request={answer['RequestId']}" in comments
    assert f"#Instance={instance_id}" in comments
    assert documents.find(spec, ACTIVE, None, now) == b"admin"
    assert documents.find(spec, f"{ACTIVE}/root", None, now) is None
    for path in (f"{ACTIVE}/admin", ACTIVE, "latest/meta-data/managed-ssh-keys"):
        assert documents.find(spec, path, None, now + 61) is None

    with api.store.write() as tx:
        (kept,) = tx.select(ConnectKey, instance_id=instance_id)
        tx.update(kept, expires_at=tx.now)
    assert told(api, instance_id).metadata.connect_keys == ()
    keep_house(api.store, Config())
    with api.store.read() as tx:
        assert tx.count(ConnectKey) == 0


def test_only_so_many_in_a_minute(api: ApiServer, instance_id: str, public_key: str) -> None:
    connect = api.client("ec2-instance-connect")
    sent = {"InstanceId": instance_id, "SSHPublicKey": public_key}
    for number in range(KEYS_MAX):
        connect.send_ssh_public_key(**sent, InstanceOSUser=f"user{number}")
    with refused("InvalidArgsException"):
        connect.send_ssh_public_key(**sent, InstanceOSUser="one.more")
    with api.store.write() as tx:
        for kept in tx.select(ConnectKey, instance_id=instance_id):
            tx.update(kept, expires_at=tx.now - dt.timedelta(seconds=1))
    connect.send_ssh_public_key(**sent, InstanceOSUser="one.more")
    assert [key.os_user for key in told(api, instance_id).metadata.connect_keys] == ["one.more"]


def test_what_is_refused(api: ApiServer, instance_id: str, public_key: str) -> None:
    connect = api.client("ec2-instance-connect")
    sent = {"InstanceId": instance_id, "InstanceOSUser": "root", "SSHPublicKey": public_key}
    for key in ("x" * 80, 'command="id" ' + public_key, "ssh-ed25519 " + "A" * 80):
        with refused("InvalidArgsException"):
            connect.send_ssh_public_key(**sent | {"SSHPublicKey": key})
    for name in ("../root", "a b", "-oProxy", "x" * 33, "a\nb"):
        with refused("(?i)validation|pattern|InvalidArgs|Member must"):
            connect.send_ssh_public_key(**sent | {"InstanceOSUser": name})
    for changed in ({"InstanceId": "i-0123456789abcdef9"}, {"AvailabilityZone": "us-east-1b"}):
        with refused("EC2InstanceNotFoundException"):
            connect.send_ssh_public_key(**sent | changed)
    _, strangers = api.create_account()
    other = api.client("ec2-instance-connect", keys=strangers)
    with refused("EC2InstanceNotFoundException"):
        other.send_ssh_public_key(**sent)

    with api.store.write() as tx:
        host = tx.get(Host, "host-1")
        assert host is not None
        tx.update(host, connected=False)
    with refused("EC2InstanceUnavailableException"):
        connect.send_ssh_public_key(**sent)
    with api.store.write() as tx:
        tx.update(host, connected=True)
    api.client("ec2").stop_instances(InstanceIds=[instance_id])
    with refused("EC2InstanceStateInvalidException"):
        connect.send_ssh_public_key(**sent)
    assert told(api, instance_id).metadata.connect_keys == ()


def test_policies_may_name_the_user_and_the_tags_of_the_instance(
    api: ApiServer, instance_id: str, public_key: str
) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/permissions-for-ec2-instance-connect.html"""
    arn = f"arn:aws:ec2:us-east-1:{record(api.store, instance_id).account_id}:instance/*"
    action = "ec2-instance-connect:SendSSHPublicKey"
    admins = allow(action, arn, StringEquals={"ec2:osuser": "admin", "aws:ResourceTag/team": "blue"})
    connect = api.client("ec2-instance-connect", keys=Grants(api).user("visitor", admins))
    sent = {"InstanceId": instance_id, "SSHPublicKey": public_key}
    with refused("AccessDenied"):
        connect.send_ssh_public_key(**sent, InstanceOSUser="admin")
    api.client("ec2").create_tags(Resources=[instance_id], Tags=[{"Key": "team", "Value": "blue"}])
    connect.send_ssh_public_key(**sent, InstanceOSUser="admin")
    with refused("AccessDenied"):
        connect.send_ssh_public_key(**sent, InstanceOSUser="root")


def test_serial_consoles_are_off_until_the_account_wants_them(
    api: ApiServer, instance_id: str, public_key: str
) -> None:
    ec2, connect = api.client("ec2"), api.client("ec2-instance-connect")
    sent = {"InstanceId": instance_id, "SSHPublicKey": public_key}

    def status(client: Any) -> bool:
        answer = client.get_serial_console_access_status()
        assert answer["ManagedBy"] == "account"
        enabled: bool = answer["SerialConsoleAccessEnabled"]
        return enabled

    assert not status(ec2)
    with refused("SerialConsoleAccessDisabledException"):
        connect.send_serial_console_ssh_public_key(**sent)
    assert ec2.enable_serial_console_access()["SerialConsoleAccessEnabled"]
    assert status(ec2)
    with refused("SerialConsoleSessionUnsupportedException.*freehold console"):
        connect.send_serial_console_ssh_public_key(**sent)
    assert not ec2.disable_serial_console_access()["SerialConsoleAccessEnabled"]
    assert not status(ec2)
