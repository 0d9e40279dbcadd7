"""The way of guests to the API: relayed to a real front door, bounded, and gone with the guest."""

from __future__ import annotations

import datetime as dt
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from freehold.host.relay import GUEST_CONNECTIONS_MAX
from freehold.host.wire import RoleCredentials
from freehold.network import namespace
from freehold.network.names import API_PORT
from freehold.records import sessions
from freehold.records.accounts import User
from freehold.records.identities import InlinePolicy
from freehold.records.sessions import Holder, Session
from tests.cloudapi import ApiServer, Keys, api_server
from tests.front.signing import Answer, Unsigned, send, signed
from tests.host.metadata import IMDS, apply_network, boot_namespace, ports_of, spec_of, view_of
from tests.host.plane import AgentProcess, Plane
from tests.iam.granting import allow, document
from tests.ovn import Cloud, wait_until

POOL = IPv4Network("198.18.7.96/28")
HOST = f"{IMDS}:{API_PORT}"
FORM = {"content-type": "application/x-www-form-urlencoded"}
WHO = Unsigned("sts", headers=FORM, body=b"Action=GetCallerIdentity&Version=2011-06-15")
VPCS = Unsigned("ec2", headers=FORM, body=b"Action=DescribeVpcs&Version=2016-11-15")


@pytest.fixture(scope="module")
def api(data_dir: Path, plane: Plane) -> Iterator[ApiServer]:
    """The front door of the cloud that the agent is in: its certificates are those of the plane."""
    with api_server(data_dir) as served:
        yield served


@pytest.fixture(scope="module")
def guests(plane: Plane, agent: AgentProcess, cloud: Cloud, image_id: str, api: ApiServer) -> tuple[str, str]:
    """Two guests of one VPC, namespaces in their places."""
    ports = ports_of(10), ports_of(11)
    apply_network(cloud, view_of(1, *ports))
    plane.assign(*(spec_of(plugged, image_id) for plugged in ports))
    one, two = (boot_namespace(cloud, plugged) for plugged in ports)
    for netns in (one, two):
        wait_until(lambda netns=netns: reachable(netns), "the API answers")  # type: ignore[misc]
    return one, two


def reachable(netns: str) -> bool:
    try:
        return call(netns, WHO).status == 403
    except OSError:
        return False


def call(netns: str, request: Unsigned, keys: Keys | None = None) -> Answer:
    ready = request if keys is None else signed(request, keys, HOST)
    return namespace.inside(netns, lambda: send(f"http://{HOST}", ready))


def connect() -> socket.socket:
    return socket.create_connection((IMDS, API_PORT), timeout=15)


def closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_a_guest_calls_the_api(guests: tuple[str, str], api: ApiServer) -> None:
    answer = call(guests[0], WHO, api.root)
    assert answer.status == 200
    assert f"<Account>{api.account_id}</Account>" in answer.body.decode()


def test_policies_know_where_a_guest_is(guests: tuple[str, str], api: ApiServer) -> None:
    keys = api.create_user("inside")
    within = {
        "StringEquals": {"aws:SourceVpc": f"vpc-{1:017x}", "aws:SecureTransport": "false"},
        "IpAddress": {"aws:VpcSourceIp": str(ports_of(10).private_ip)},
        "Null": {"aws:SourceIp": "true"},
    }
    with api.store.write() as tx:
        user = tx.find(User, account_id=api.account_id, name="inside")
        assert user is not None
        policy = document(allow("ec2:DescribeVpcs", **within))
        tx.insert(InlinePolicy(user.id, "own", api.account_id, policy))
    assert call(guests[0], VPCS, keys).status == 200
    assert call(guests[1], VPCS, keys).status == 403
    assert send(api.url, signed(VPCS, keys, api.url.removeprefix("http://"))).status == 403


def test_a_guest_can_not_keep_the_api_from_others(guests: tuple[str, str], api: ApiServer) -> None:
    one, two = guests
    with ExitStack() as stack:
        held = namespace.inside(one, lambda: [stack.enter_context(connect()) for _ in range(GUEST_CONNECTIONS_MAX)])
        beyond = namespace.inside(one, lambda: stack.enter_context(connect()))
        assert closed(beyond)
        assert call(two, WHO, api.root).status == 200
        held[0].sendall(b"not HTTP at all\r\n\r\n")
        assert held[0].recv(64).startswith(b"HTTP/1.1 400")
    wait_until(lambda: call(one, WHO, api.root).status == 200, "the guest is let in again")


def test_the_agent_is_replaced(guests: tuple[str, str], agent: AgentProcess, api: ApiServer) -> None:
    agent.end()
    agent.start()
    wait_until(lambda: reachable(guests[0]), "the API answers again")
    assert call(guests[0], WHO, api.root).status == 200


_PROGRAM = """
import boto3
session = boto3.Session()
print(session.get_credentials().method)
print(session.client("sts").get_caller_identity()["Arn"])
print(len(session.client("ec2").describe_vpcs()["Vpcs"]))
try:
    session.client("ec2").describe_volumes()
except Exception as error:
    print(error.response["Error"]["Code"])
"""


def test_boto3_needs_the_endpoint_alone(guests: tuple[str, str], plane: Plane, api: ApiServer) -> None:
    """A program within a server that has a role finds its credentials by itself (as on EC2, not its region)."""
    role = api.create_role("worker")
    (instance_id, *_) = sorted(plane.specs)
    with api.store.write() as tx:
        tx.insert(InlinePolicy(role.id, "own", api.account_id, document(allow("ec2:DescribeVpcs"))))
        now = tx.now
    expires_at = now + dt.timedelta(hours=6)
    issued = sessions.issue(api.sealer, Holder(api.account_id, "role", role.id, instance_id), Session(now, expires_at))
    profile = (f"arn:aws:iam::{api.account_id}:instance-profile/worker", "AIPAWORKER")
    keys = (issued.access_key_id, issued.secret_access_key, issued.session_token)
    plane.credentials = {instance_id: RoleCredentials(instance_id, *profile, "worker", *keys, now, expires_at)}
    plane.assign(plane.specs[instance_id])
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "AWS_ENDPOINT_URL": f"http://{HOST}"}
    environment["AWS_DEFAULT_REGION"] = "us-east-1"
    command = ("ip", "netns", "exec", guests[0], sys.executable, "-c", _PROGRAM)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    arn = f"arn:aws:sts::{api.account_id}:assumed-role/worker/{instance_id}"
    assert done.stdout.splitlines() == ["iam-role", arn, "1", "UnauthorizedOperation"]
