"""What the audit trail says of each kind of caller and call, in CloudTrail's words; what a killed process loses."""

from __future__ import annotations

import datetime as dt
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config as BotoConfig
from botocore.exceptions import ClientError

from freehold.cli.temporary import free_port
from freehold.config import Config
from freehold.control.accounts import create_account
from freehold.front.recording import user_identity
from freehold.front.serve import open_store
from freehold.paths import Paths
from freehold.records.accounts import User
from freehold.records.audit import PROVIDER
from freehold.records.identities import InlinePolicy, Role
from freehold.records.ids import AccountId
from freehold.records.migrations import upgrade
from freehold.records.secrets import Sealer
from freehold.records.sessions import Holder
from freehold.services.operation import Principal
from tests.cloudapi import ApiServer, Keys, api_server
from tests.front.audited import recorded, records, written
from tests.front.test_https import listens

MASKED = "HIDDEN_DUE_TO_SECURITY_REASONS"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("cloud"), Config(https_address="127.0.0.1")) as served:
        yield served


def last(api: ApiServer, name: str, keys: Keys | None) -> dict[str, Any]:
    """The newest record of an operation that was called with a key."""
    wanted = keys and keys.access_key_id
    for _ in range(200):
        found = [
            record for record in written(api.store)
            if record["eventName"] == name and record["userIdentity"].get("accessKeyId") == wanted
        ]  # fmt: skip
        if found:
            return found[-1]
        time.sleep(0.05)
    pytest.fail(f"{name} is not recorded")


def test_a_change_by_root(api: ApiServer) -> None:
    ec2 = api.client("ec2")
    tags = [{"ResourceType": "key-pair", "Tags": [{"Key": "a", "Value": "b"}]}]
    answer = ec2.create_key_pair(KeyName="pair", TagSpecifications=tags)
    record = last(api, "CreateKeyPair", api.root)
    assert record.pop("userAgent").startswith("Boto3/")
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", record.pop("eventID"))
    at = dt.datetime.strptime(record.pop("eventTime"), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=dt.UTC)
    assert abs(dt.datetime.now(dt.UTC) - at) < dt.timedelta(minutes=5)
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert record == {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "Root",
            "principalId": api.account_id,
            "arn": f"arn:aws:iam::{api.account_id}:root",
            "accountId": api.account_id,
            "accessKeyId": api.root.access_key_id,
        },
        "eventSource": "ec2.amazonaws.com",
        "eventName": "CreateKeyPair",
        "awsRegion": "us-east-1",
        "sourceIPAddress": "127.0.0.1",
        "requestParameters": {
            "keyName": "pair",
            "tagSpecificationSet": {
                "items": [{"resourceType": "key-pair", "tags": [{"key": "a", "value": "b"}]}],
            },
        },
        "responseElements": {
            "requestId": request_id,
            "keyPairId": answer["KeyPairId"],
            "tagSet": {"items": [{"key": "a", "value": "b"}]},
            "keyName": "pair",
            "keyFingerprint": answer["KeyFingerprint"],
            "keyMaterial": MASKED,
        },
        "requestID": request_id,
        "readOnly": False,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": api.account_id,
        "eventCategory": "Management",
    }


def test_a_read_by_root(api: ApiServer) -> None:
    api.client("ec2").describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}], VpcIds=[])
    record = last(api, "DescribeVpcs", api.root)
    assert record["readOnly"] is True
    assert record["responseElements"] is None
    assert record["requestParameters"] == {
        "filterSet": {"items": [{"name": "is-default", "values": {"items": ["true"]}}]}
    }


def test_a_launch_has_its_instances_set(api: ApiServer) -> None:
    with pytest.raises(ClientError):
        api.client("ec2").run_instances(
            ImageId="ami-12345678", MinCount=1, MaxCount=2, UserData="secret", SecurityGroupIds=["sg-12345678"]
        )
    record = last(api, "RunInstances", api.root)
    assert record["requestParameters"].pop("clientToken")
    assert record["requestParameters"] == {
        "instancesSet": {"items": [{"imageId": "ami-12345678", "minCount": 1, "maxCount": 2}]},
        "groupSet": {"items": [{"groupId": "sg-12345678"}]},
        "userData": MASKED,
    }
    assert record["errorCode"] == "Client.MissingParameter"
    assert record["errorMessage"]
    assert record["responseElements"] is None


def test_a_denied_user(api: ApiServer) -> None:
    keys = api.create_user("alice")
    with pytest.raises(ClientError):
        api.client("ec2", keys=keys).delete_key_pair(KeyName="pair")
    record = last(api, "DeleteKeyPair", keys)
    with api.store.read() as tx:
        user = tx.find(User, name="alice")
    assert user is not None
    assert record["userIdentity"] == {
        "type": "IAMUser",
        "principalId": user.id,
        "arn": f"arn:aws:iam::{api.account_id}:user/alice",
        "accountId": api.account_id,
        "accessKeyId": keys.access_key_id,
        "userName": "alice",
    }
    assert (record["errorCode"], record["readOnly"]) == ("Client.UnauthorizedOperation", False)
    assert "not authorized" in record["errorMessage"]


def session_of(record: dict[str, Any]) -> dict[str, Any]:
    context: dict[str, Any] = record["userIdentity"]["sessionContext"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", context["attributes"].pop("creationDate"))
    return context


def issuer(kind: str, role: Role | User, arn: str) -> dict[str, str]:
    return {"type": kind, "principalId": role.id, "arn": arn, "accountId": role.account_id, "userName": role.name}


def test_the_session_of_a_role(api: ApiServer) -> None:
    role = api.create_role("worker")
    keys = api.create_session(Holder(api.account_id, "role", role.id, "job-1"), source_identity="carol")
    api.client("sts", keys=keys).get_caller_identity()
    record = last(api, "GetCallerIdentity", keys)
    assert session_of(record) == {
        "sessionIssuer": issuer("Role", role, f"arn:aws:iam::{api.account_id}:role/worker"),
        "attributes": {"mfaAuthenticated": "false"},
        "sourceIdentity": "carol",
    }
    identity = record["userIdentity"]
    assert (identity["type"], identity["principalId"]) == ("AssumedRole", f"{role.id}:job-1")
    assert identity["arn"] == f"arn:aws:sts::{api.account_id}:assumed-role/worker/job-1"


def test_the_sessions_of_a_user(api: ApiServer) -> None:
    api.create_user("dave")
    with api.store.read() as tx:
        user = tx.find(User, name="dave")
    assert user is not None
    own = api.create_session(Holder(api.account_id, "user", user.id), mfa_at=dt.datetime.now(dt.UTC))
    api.client("sts", keys=own).get_caller_identity()
    record = last(api, "GetCallerIdentity", own)
    assert session_of(record) == {"attributes": {"mfaAuthenticated": "true"}}
    assert (record["userIdentity"]["type"], record["userIdentity"]["userName"]) == ("IAMUser", "dave")

    federated = api.create_session(Holder(api.account_id, "federated", user.id, "bob"))
    api.client("sts", keys=federated).get_caller_identity()
    record = last(api, "GetCallerIdentity", federated)
    assert session_of(record) == {
        "sessionIssuer": issuer("IAMUser", user, f"arn:aws:iam::{api.account_id}:user/dave"),
        "attributes": {"mfaAuthenticated": "false"},
    }
    assert (record["userIdentity"]["type"], record["userIdentity"]["principalId"]) == (
        "FederatedUser",
        f"{api.account_id}:bob",
    )


def test_a_role_of_another_account(api: ApiServer) -> None:
    """Both accounts have a record of it, the owner's without who it was by name."""
    other, _ = api.create_account()
    user_keys = api.create_user("erin")
    with api.store.write() as tx:
        user = tx.find(User, name="erin")
        assert user is not None
        arn = f"arn:aws:iam::{other}:role/theirs"
        allow = f'{{"Statement": [{{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "{arn}"}}]}}'
        tx.insert(InlinePolicy(user.id, "may", api.account_id, allow))
    role = api.create_role("theirs", other)
    principal = f'{{"AWS": "arn:aws:iam::{api.account_id}:root"}}'
    trust = f'{{"Statement": [{{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {principal}}}]}}'
    with api.store.write() as tx:
        tx.update(role, trust_policy=trust)
    sts = api.client("sts", keys=user_keys)
    sts.assume_role(RoleArn=arn, RoleSessionName="visit")
    records(api, "AssumeRole", 2)
    own, theirs = (record for record in written(api.store) if record["eventName"] == "AssumeRole")
    assert (own["recipientAccountId"], theirs["recipientAccountId"]) == (api.account_id, other)
    assert own["sharedEventID"] == theirs["sharedEventID"] != own["eventID"] != theirs["eventID"]
    assert own["userIdentity"]["userName"] == "erin"
    assert theirs["userIdentity"] == {"type": "AWSAccount", "principalId": user.id, "accountId": api.account_id}
    assert own["resources"] == theirs["resources"] == [{"accountId": other, "type": "AWS::IAM::Role", "ARN": arn}]
    credentials = own["responseElements"]["credentials"]
    assert credentials["accessKeyId"].startswith("ASIA")
    assert credentials["secretAccessKey"] == credentials["sessionToken"] == MASKED


def test_the_user_of_an_identity_provider() -> None:
    provider = "arn:aws:iam::123456789012:oidc-provider/id.example.org"
    principal = Principal(
        AccountId("123456789012"),
        provider,
        f"{provider}:client:repo:org/name",
        "web-identity",
        "",
        "repo:org/name",
        provider,
    )
    assert user_identity(principal) == {
        "type": "WebIdentityUser",
        "principalId": f"{provider}:client:repo:org/name",
        "userName": "repo:org/name",
        "identityProvider": provider,
    }


def test_a_kms_key_is_a_resource(api: ApiServer) -> None:
    arn = api.client("kms").create_key()["KeyMetadata"]["Arn"]
    assert last(api, "CreateKey", api.root)["resources"] == [
        {"accountId": api.account_id, "type": "AWS::KMS::Key", "ARN": arn}
    ]


def test_strangers(api: ApiServer) -> None:
    key = api.create_key(api.account_id)
    wrong = replace(key, secret_access_key="wrong")
    unknown = Keys("AKIAABCDEFGHIJKLMNOP", "secret")
    for keys in (wrong, unknown):
        with pytest.raises(ClientError):
            api.client("ec2", keys=keys).create_key_pair(KeyName="pair-2")
    anonymous = boto3.client(
        "ec2", region_name="us-east-1", endpoint_url=api.url, config=BotoConfig(signature_version=UNSIGNED)
    )
    with pytest.raises(ClientError):
        anonymous.create_key_pair(KeyName="pair-2")
    anonymous.close()

    record = last(api, "CreateKeyPair", wrong)
    assert record["recipientAccountId"] == api.account_id
    assert record["userIdentity"] == {
        "type": "Unknown",
        "principalId": "",
        "accountId": api.account_id,
        "accessKeyId": key.access_key_id,
    }
    assert (record["errorCode"], record["requestParameters"]) == ("Client.AuthFailure", None)
    assert last(api, "CreateKeyPair", unknown)["recipientAccountId"] == PROVIDER
    record = last(api, "CreateKeyPair", None)
    assert record["userIdentity"] == {"type": "AWSAccount", "principalId": "", "accountId": "ANONYMOUS_PRINCIPAL"}
    assert (record["recipientAccountId"], record["eventSource"]) == (PROVIDER, "ec2.amazonaws.com")
    assert record["errorCode"] == "Client.MissingAuthenticationToken"


def test_what_is_not_built_is_recorded_by_its_name(api: ApiServer) -> None:
    with pytest.raises(ClientError):
        api.client("rds").describe_db_instances()
    record = last(api, "DescribeDBInstances", api.root)
    assert (record["eventSource"], record["errorCode"]) == ("rds.amazonaws.com", "UnsupportedOperation")


def test_https_says_how_it_was_encrypted(api: ApiServer) -> None:
    authority = str(api.store.url).removeprefix("sqlite:///").replace("state.db", "pki/ca.crt")
    keys = api.create_key(api.account_id)
    api.client("sts", keys=keys, endpoint_url=api.https_url, verify=authority).get_caller_identity()
    details = last(api, "GetCallerIdentity", keys)["tlsDetails"]
    assert details["tlsVersion"].startswith("TLSv1.")
    assert details["cipherSuite"]
    assert details["clientProvidedHostHeader"] == api.https_url.removeprefix("https://")


def test_secrets_of_other_services(tmp_path: Path) -> None:
    with api_server(tmp_path, package="tests.front.services") as served:
        served.client("kms").encrypt(KeyId="key", Plaintext=b"secret")
        (record,) = records(served, "Encrypt")
    assert record["requestParameters"] == {"keyId": "key"}
    assert record["responseElements"] == {"keyId": "key"}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_ends(tmp_path: Path, how: signal.Signals) -> None:
    """Stopped, it has written all; killed, all changes and all reads that were a second old."""
    upgrade(Paths(tmp_path).state_url)
    store = open_store(tmp_path, Config())
    with store.write() as tx:
        _, key_id, secret = create_account(tx, Sealer.of(tmp_path), "test")
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "freehold.front", "--data-dir", tmp_path, "--port", str(port)])
    try:
        while not listens(port):
            assert process.poll() is None
            time.sleep(0.05)
        client = boto3.client(
            "ec2", region_name="us-east-1", endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id=key_id, aws_secret_access_key=secret,
        )  # fmt: skip
        for _ in range(40):
            client.describe_regions()
        time.sleep(1)
        client.create_key_pair(KeyName="pair-2")
        client.describe_regions()
        os.kill(process.pid, how)
        process.wait()
        client.close()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    names = [record["eventName"] for record in written(store)]
    store.close()
    assert names.count("CreateKeyPair") == 1
    assert names.count("DescribeRegions") >= (41 if how == signal.SIGTERM else 40)


@pytest.mark.parametrize("agent", ["plain", 'with "quotes" and \\'])
def test_calls_that_are_alike_keep_their_own_words(api: ApiServer, agent: str) -> None:
    answers = [api.client("ec2", user_agent=agent).describe_vpcs(VpcIds=ids) for ids in ([], [], [vpc_of(api)])]
    found = [recorded(api, answer["ResponseMetadata"]["RequestId"]) for answer in answers]
    assert all(record["userAgent"].startswith(f"{agent} Botocore/") for record in found)
    named = {"vpcSet": {"items": [{"vpcId": vpc_of(api)}]}}
    assert [record["requestParameters"] for record in found] == [None, None, named]
    assert len({record["eventID"] for record in found}) == 3


def vpc_of(api: ApiServer) -> str:
    vpc_id: str = api.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    return vpc_id


def test_parameters_that_are_too_large_are_left_out(api: ApiServer) -> None:
    values = [f"{number}{'é' * 300}" for number in range(200)]  # 60,000 characters, 120,000 bytes
    answer = api.client("ec2").describe_vpcs(Filters=[{"Name": "tag:a", "Values": values}])
    record = recorded(api, answer["ResponseMetadata"]["RequestId"])
    assert (record["omitted"], record["requestParameters"]) == (True, None)
