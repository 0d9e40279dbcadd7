"""A server with a role: credentials from its metadata service, what they allow, and the API from within the server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.e2e.servers import Servers, tcp, wait

POOL = "203.0.113.224/28"
API = "http://169.254.169.254:4600"
TRUST = {
    "Version": "2012-10-17",
    "Statement": {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"},
}
# What a guest does that has no SDK: IMDSv2 by hand, as AWS's guide shows it.
USER_DATA = """#!/bin/sh
token=$(printf 'PUT /latest/api/token HTTP/1.0\\r\\nX-aws-ec2-metadata-token-ttl-seconds: 60\\r\\n\\r\\n' \
    | nc -w 2 169.254.169.254 80 | tail -n 1)
ask() { wget -q -O - --header "X-aws-ec2-metadata-token: $token" "http://169.254.169.254/latest/meta-data/iam/$1"; }
role=$(ask security-credentials/)
echo "role: $role"
ask "security-credentials/$role" | tr -d '\\n'
echo
"""


def client(servers: Servers, service: str, **keys: str) -> Any:
    """A client that does not try again, with the root's keys unless others are given."""
    return servers.client(service, config=Config(retries={"total_max_attempts": 1}), **keys)


@pytest.fixture(scope="module")
def profile(servers: Servers) -> str:
    """A profile whose role may describe VPCs from within the VPC or with its keys elsewhere, and nothing else."""
    iam = client(servers, "iam")
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument=json.dumps(TRUST))
    allow = {"Effect": "Allow", "Action": "ec2:DescribeVpcs", "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [allow]}
    iam.put_role_policy(RoleName="worker", PolicyName="own", PolicyDocument=json.dumps(document))
    iam.create_instance_profile(InstanceProfileName="worker")
    iam.add_role_to_instance_profile(InstanceProfileName="worker", RoleName="worker")
    return "worker"


@pytest.fixture(scope="module")
def server(servers: Servers, profile: str) -> str:
    group = servers.group("ssh", tcp(22))
    (instance_id,) = servers.launch(group, UserData=USER_DATA, IamInstanceProfile={"Name": profile})
    servers.wait_until_ready(instance_id)
    return instance_id


@pytest.fixture(scope="module")
def keys(servers: Servers, server: str) -> dict[str, str]:
    """The credentials that the server has printed."""
    console = servers.console(server)
    assert "role: worker" in console
    found = json.loads(re.findall(r"\{.*AWS-HMAC.*\}", console)[-1])
    assert found["Code"] == "Success"
    return {
        "aws_access_key_id": found["AccessKeyId"],
        "aws_secret_access_key": found["SecretAccessKey"],
        "aws_session_token": found["Token"],
    }


def signed_url(keys: dict[str, str], service: str, query: str) -> str:
    """A request of this server's role that anyone may send for it to the API as guests know it."""
    request = AWSRequest("GET", f"{API}/?{query}")
    credentials = Credentials(*keys.values())
    SigV4QueryAuth(credentials, service, "us-east-1", expires=600).add_auth(request)
    assert request.url is not None
    return request.url


def test_the_role_may_do_what_its_policy_allows_and_nothing_else(
    servers: Servers, server: str, keys: dict[str, str]
) -> None:
    who = client(servers, "sts", **keys).get_caller_identity()
    assert who["Arn"].endswith(f":assumed-role/worker/{server}")
    ec2 = client(servers, "ec2", **keys)
    assert ec2.describe_vpcs()["Vpcs"]
    with pytest.raises(ClientError, match="UnauthorizedOperation") as caught:
        ec2.describe_instances()
    assert f"assumed-role/worker/{server} is not authorized to perform: ec2:DescribeInstances" in str(caught.value)


def test_a_server_reaches_the_api_from_within(servers: Servers, server: str, keys: dict[str, str]) -> None:
    """Though it has no way out: the API is on an address of its VPC."""
    url = signed_url(keys, "sts", "Action=GetCallerIdentity&Version=2011-06-15")
    answer = servers.ssh(server, f"wget -q -O - '{url}'")
    assert f":assumed-role/worker/{server}</Arn>" in answer
    denied = servers.try_ssh(server, f"wget -O - '{API}/?Action=GetCallerIdentity&Version=2011-06-15'")
    assert "403" in denied.stderr


def test_an_sdk_needs_nothing_but_the_endpoint(servers: Servers, server: str, tmp_path: Path) -> None:
    """The SDK's own chain of providers and the AWS CLI, by the server's network and as the server: the image has no
    Python, so they run beside it and all they send goes through it."""
    script = "import boto3; print(boto3.client('sts', region_name='us-east-1').get_caller_identity()['Arn'])"
    boto, cli = [sys.executable, "-c", script], [sys.executable, "-m", "awscli", "sts", "get-caller-identity"]
    with servers.tunnel(server, "169.254.169.254:80", "169.254.169.254:4600") as (metadata, api):
        clean = {
            "HOME": str(tmp_path),
            "PATH": "/usr/bin:/bin",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{metadata}/",
            "AWS_ENDPOINT_URL": f"http://{api}",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        for command in (boto, cli):
            answer = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=60)
            assert f":assumed-role/worker/{server}" in answer.stdout, answer.stderr


def test_policies_know_the_vpc(servers: Servers, server: str, keys: dict[str, str]) -> None:
    vpc_id = servers.get(server)["VpcId"]
    # Its credentials, and only from the network that they were handed out in.
    condition = {"StringEquals": {"aws:SourceVpc": vpc_id, "aws:Ec2InstanceSourceVPC": "${aws:SourceVpc}"}}
    allow = {"Effect": "Allow", "Action": "ec2:DescribeVolumes", "Resource": "*", "Condition": condition}
    document = {"Version": "2012-10-17", "Statement": [allow]}
    client(servers, "iam").put_role_policy(RoleName="worker", PolicyName="inside", PolicyDocument=json.dumps(document))
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        client(servers, "ec2", **keys).describe_volumes()
    url = signed_url(keys, "ec2", "Action=DescribeVolumes&Version=2016-11-15")
    assert "<volumeId>vol-" in servers.ssh(server, f"wget -q -O - '{url}'")


def test_a_profile_that_is_taken_away(servers: Servers, server: str, keys: dict[str, str]) -> None:
    found = servers.ec2.describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"]
    servers.ec2.disassociate_iam_instance_profile(AssociationId=found[0]["AssociationId"])
    token = USER_DATA.partition("token=")[2].partition("\nask()")[0]
    ask = f'token={token}; wget -O - --header "X-aws-ec2-metadata-token: $token"'

    def gone() -> bool:
        asked = servers.try_ssh(server, f"{ask} http://169.254.169.254/latest/meta-data/iam/info")
        return "404" in asked.stderr

    wait(gone, "the role is gone from the metadata service")
    # What was handed out is good until it expires, or until the role goes.
    assert client(servers, "sts", **keys).get_caller_identity()
    iam = client(servers, "iam")
    iam.remove_role_from_instance_profile(InstanceProfileName="worker", RoleName="worker")
    for name in ("own", "inside"):
        iam.delete_role_policy(RoleName="worker", PolicyName=name)
    iam.delete_role(RoleName="worker")
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        client(servers, "sts", **keys).get_caller_identity()
