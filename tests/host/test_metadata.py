"""The metadata service as guests see it: real networks, the real agent, a real guest, and hostile namespaces."""

from __future__ import annotations

import datetime as dt
import json
import signal
import socket
import struct
import subprocess
import threading
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from msgspec.structs import replace

from freehold.host.layout import metadata_link
from freehold.host.metadata.server import GUEST_CONNECTIONS_MAX, GUEST_REQUESTS_BURST
from freehold.host.resolver.message import Code
from freehold.host.wire import RoleCredentials
from freehold.network import namespace
from tests.host.dns import heard, query
from tests.host.metadata import (
    IMDS,
    apply_network,
    boot_namespace,
    fetch,
    new_token,
    ports_of,
    request,
    say,
    spec_of,
    view_of,
)
from tests.host.plane import READY, AgentProcess, Plane, leftovers
from tests.ovn import Cloud, wait_until

POOL = IPv4Network("203.0.113.16/28")
USER_DATA = b"#!/bin/sh\necho user data of $(hostname)\n"


class Guests:
    """Namespaces in the place of guests; two VPCs have guests with the same address."""

    def __init__(self, plane: Plane, cloud: Cloud, image_id: str) -> None:
        self.plane = plane
        ports = {"one": ports_of(10), "two": ports_of(11), "far": ports_of(10, vpc_number=2)}
        self.micro = ports_of(20)
        apply_network(cloud, view_of(1, ports["one"], ports["two"], self.micro), view_of(2, ports["far"]))
        self.specs = {name: spec_of(plugged, image_id, 2 if name == "far" else 1) for name, plugged in ports.items()}
        plane.assign(*self.specs.values())
        self.one, self.two, self.far = (boot_namespace(cloud, plugged) for plugged in ports.values())
        for netns in (self.one, self.two, self.far):
            wait_until(lambda netns=netns: reachable(netns), "the metadata service answers")  # type: ignore[misc]

    def change(self, name: str, **metadata: object) -> None:
        """Other metadata for a guest; in force when this returns."""
        spec = self.plane.specs[self.specs[name].instance_id]
        self.plane.want(spec.instance_id, "stopped", metadata=replace(spec.metadata, **metadata))
        self.plane.wait_for_state(spec.instance_id, "stopped")


def reachable(netns: str) -> bool:
    try:
        return request(netns, "GET", "/").status in (200, 401)
    except OSError:
        return False


@pytest.fixture(scope="module")
def guests(plane: Plane, agent: AgentProcess, cloud: Cloud, image_id: str) -> Guests:
    return Guests(plane, cloud, image_id)


def test_a_guest_becomes_what_its_metadata_says(guests: Guests, plane: Plane, image_id: str, tmp_path: Path) -> None:
    """The micro guest takes host name, key and user data by IMDSv2."""
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"), check=True)
    key = (tmp_path / "key.pub").read_text().strip()
    spec = spec_of(guests.micro, image_id, desired="running", shutdown_grace_seconds=0)
    metadata = replace(spec.metadata, hostname="ip-10-0-1-20.ec2.internal", public_keys=(("mine", key),))
    spec = replace(spec, metadata=replace(metadata, user_data=USER_DATA))
    plane.assign(spec)
    console = plane.wait_for_console(spec.instance_id, READY)
    assert "user data of ip-10-0-1-20.ec2.internal" in console
    ssh = ("ssh", "-i", tmp_path / "key", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
    enter = ("nsenter", f"--net=/run/netns/{guests.one}", *ssh, "-o", "BatchMode=yes", "root@10.0.1.20")

    def inside(command: str) -> str:
        done = subprocess.run((*enter, command), capture_output=True, text=True)
        return done.stdout + done.stderr.rpartition("known hosts.")[2]

    assert inside("hostname").strip() == "ip-10-0-1-20.ec2.internal"
    # The lease of this network says where the resolver is.
    assert "Address: 10.0.1.10\n" in inside("nslookup ip-10-0-1-10.ec2.internal")
    assert "ip-10-0-1-11.ec2.internal" in inside("nslookup 10.0.1.11")
    assert "REFUSED" in inside("nslookup www.example.com")
    plane.want(spec.instance_id, "absent")
    plane.wait_for_state(spec.instance_id, "absent")


def test_each_guest_is_told_about_itself(guests: Guests) -> None:
    """By network and address: two of the three have the same address, in VPCs of their own."""
    for netns, name in ((guests.one, "one"), (guests.two, "two"), (guests.far, "far")):
        token = new_token(netns)
        spec = guests.specs[name]
        assert fetch(netns, "/latest/meta-data/instance-id", token).body == spec.instance_id
        document = json.loads(fetch(netns, "/latest/dynamic/instance-identity/document", token).body)
        assert document["instanceId"] == spec.instance_id
        assert document["privateIp"] == spec.interfaces[0].private_ip
        assert document["pendingTime"] == "2026-11-25T00:00:00Z"


def test_each_vpc_has_its_resolver(guests: Guests) -> None:
    """In both, the same address asks by the same address, and hears of a name in its own network."""
    message = query("ip-10-0-1-10.ec2.internal")

    def ask() -> bytes:
        with socket.create_connection(("169.254.169.253", 53), timeout=15) as connection:
            connection.sendall(len(message).to_bytes(2, "big") + message)
            return connection.recv(4096)[2:]

    for netns in (guests.one, guests.far):
        assert heard(namespace.inside(netns, ask)) == (Code.NO_ERROR, b"\x0a\0\1\x0a")


def test_the_tree_that_cloud_init_crawls(guests: Guests) -> None:
    """Every name in a listing is there, for each version that cloud-init asks for; no line ends the listing."""
    tags = {"Name": "web", "a:b": "c d", "not/a name": "x"}
    guests.change("one", public_keys=(("k1", "ssh-ed25519 AAAA one"), ("k2", "ssh-rsa BBBB two")), tags=tags)
    token = new_token(guests.one)

    def crawl(path: str) -> dict[str, str]:
        found = {}
        listing = fetch(guests.one, path, token)
        assert listing.status == 200, path
        for line in listing.body.split("\n"):
            if line.endswith("/"):
                found |= crawl(path + line)
            elif path.endswith("public-keys/"):
                number, name = line.split("=")
                found[f"{path}{number}={name}"] = fetch(guests.one, f"{path}{number}/openssh-key", token).body
            else:
                leaf = fetch(guests.one, path + line, token)
                assert leaf.status == 200, path + line
                found[path + line] = leaf.body
        return found

    trees = [crawl(f"/{version}/meta-data/") for version in ("2021-03-23", "2018-09-24", "2016-09-02")]
    tree = {path.removeprefix("/2021-03-23/meta-data/"): text for path, text in trees[0].items()}
    mac = "0a:00:01:01:00:0a"
    expected = {
        "ami-launch-index": "0",
        "block-device-mapping/ami": "/dev/xvda",
        "block-device-mapping/root": "/dev/xvda",
        "hostname": "ip-10-0-1-10.ec2.internal",
        "instance-life-cycle": "on-demand",
        "instance-type": "t3.nano",
        "local-hostname": "ip-10-0-1-10.ec2.internal",
        "local-ipv4": "10.0.1.10",
        "mac": mac,
        f"network/interfaces/macs/{mac}/device-number": "0",
        f"network/interfaces/macs/{mac}/local-ipv4s": "10.0.1.10",
        f"network/interfaces/macs/{mac}/owner-id": "111122223333",
        f"network/interfaces/macs/{mac}/security-groups": "web",
        f"network/interfaces/macs/{mac}/subnet-ipv4-cidr-block": "10.0.1.0/24",
        f"network/interfaces/macs/{mac}/vpc-id": f"vpc-{1:017x}",
        "placement/availability-zone": "us-east-1a",
        "placement/region": "us-east-1",
        "public-keys/0=k1": "ssh-ed25519 AAAA one\n",
        "public-keys/1=k2": "ssh-rsa BBBB two\n",
        "reservation-id": "r-0123456789abcdef0",
        "security-groups": "web",
        "services/domain": "amazonaws.com",
        "services/partition": "aws",
        "tags/instance/Name": "web",
        "tags/instance/a:b": "c d",
    }
    assert expected.items() <= tree.items()
    assert "public-ipv4" not in tree
    assert not [path for path in tree if "not" in path]
    assert [list(each.values()) for each in trees[1:]] == [list(trees[0].values())] * 2
    assert fetch(guests.one, "/latest/", token).body == "dynamic\nmeta-data"
    assert fetch(guests.one, "/", token).body.endswith("\nlatest")
    assert fetch(guests.one, "/latest/meta-data/tags/instance/a%3Ab", token).body == "c d"
    for missing in ("/latest/user-data", "/latest/meta-data/iam/info", "/1999-01-01/meta-data/", "/latest/meta-data/%"):
        assert fetch(guests.one, missing, token).status == 404, missing
    guests.change("one", user_data=b"\0\xff binary")
    reply = fetch(guests.one, "/latest/", token)
    assert reply.body == "dynamic\nmeta-data\nuser-data"


def test_the_role_of_a_profile(guests: Guests, plane: Plane, agent: AgentProcess) -> None:
    """Shown to its guest alone, exchanged and taken away without a change to the guest, and nowhere on the disk."""
    moment = dt.datetime(2026, 11, 25, 12, 0, 0, 123456, dt.UTC)
    instance_id, token = guests.specs["two"].instance_id, new_token(guests.two)
    profile = ("arn:aws:iam::111122223333:instance-profile/web", "AIPAWEB")
    root = "/latest/meta-data/iam"

    def give(*given: RoleCredentials) -> None:
        plane.credentials = {each.instance_id: each for each in given}
        plane.assign(plane.specs[instance_id])

    keys = ("ASIAONE", "secret-of-the-role", "token-of-the-role", moment, moment + dt.timedelta(hours=6))
    give(RoleCredentials(instance_id, *profile, "worker", *keys))
    wait_until(lambda: fetch(guests.two, f"{root}/", token).status == 200, "the role is there")
    assert fetch(guests.two, f"{root}/", token).body == "info\nsecurity-credentials/"
    assert json.loads(fetch(guests.two, f"{root}/info", token).body) == {
        "Code": "Success",
        "LastUpdated": "2026-11-25T12:00:00Z",
        "InstanceProfileArn": profile[0],
        "InstanceProfileId": profile[1],
    }
    assert fetch(guests.two, f"{root}/security-credentials/", token).body == "worker"
    assert json.loads(fetch(guests.two, f"{root}/security-credentials/worker", token).body) == {
        "Code": "Success",
        "LastUpdated": "2026-11-25T12:00:00Z",
        "Type": "AWS-HMAC",
        "AccessKeyId": "ASIAONE",
        "SecretAccessKey": "secret-of-the-role",
        "Token": "token-of-the-role",
        "Expiration": "2026-11-25T18:00:00Z",
    }
    assert fetch(guests.one, f"{root}/info", new_token(guests.one)).status == 404
    assert request(guests.two, "GET", f"{root}/security-credentials/worker").status == 401
    stored = [path for path in plane.paths.data_dir.rglob("*") if path.is_file()]
    assert [path for path in stored if b"secret-of-the-role" in path.read_bytes()] == []
    give(RoleCredentials(instance_id, *profile, "worker", issued_at=moment))  # which does not trust EC2
    path = f"{root}/security-credentials/worker"
    wait_until(lambda: "ASIAONE" not in fetch(guests.two, path, token).body, "the keys are gone")
    assert json.loads(fetch(guests.two, path, token).body)["Code"] == "AssumeRoleUnauthorizedAccess"
    give(RoleCredentials(instance_id, *profile))  # its profile has no role any more
    wait_until(lambda: fetch(guests.two, f"{root}/info", token).status == 404, "the role is gone")
    give(RoleCredentials(instance_id, *profile, "other", *keys))
    wait_until(lambda: fetch(guests.two, f"{root}/security-credentials/", token).body == "other", "another role")
    give()
    wait_until(lambda: fetch(guests.two, f"{root}/info", token).status == 404, "the profile is gone")


def test_tokens(guests: Guests, agent: AgentProcess) -> None:
    """IMDSv2 as documented: lifetime, owner, forwarding, and what IMDSv1 still may."""
    ttl = "X_aws_ec2_metadata_token_ttl_seconds"
    for lifetime in ("0", "21601", "-1", "x", "", "1e3", "99999999999999999999"):
        assert request(guests.one, "PUT", "/latest/api/token", **{ttl: lifetime}).status == 400, lifetime
    assert request(guests.one, "PUT", "/latest/api/token").status == 400
    assert request(guests.one, "PUT", "/latest/api/token", **{ttl: "60"}, X_Forwarded_For="10.0.1.9").status == 403
    reply = request(guests.one, "PUT", "/latest/api/token", **{ttl: "60"})
    assert reply.status == 200
    assert "x-aws-ec2-metadata-token-ttl-seconds: 60\r\n" in reply.head + "\r\n"
    assert len(reply.body) == 56

    assert fetch(guests.one, "/latest/meta-data/", reply.body).status == 200
    assert fetch(guests.two, "/latest/meta-data/", reply.body).status == 401, "another instance's token"
    assert fetch(guests.far, "/latest/meta-data/", reply.body).status == 401
    assert request(guests.one, "GET", "/latest/meta-data/").status == 401
    for forged in ("", "A" * 56, reply.body[:-4], f"{reply.body}A", "ä", reply.body.swapcase()):
        assert fetch(guests.one, "/latest/meta-data/", forged).status == 401, forged
    short = new_token(guests.one, seconds=1)
    wait_until(lambda: fetch(guests.one, "/latest/meta-data/", short).status == 401, "the token expires")

    guests.change("two", http_tokens="optional")
    assert request(guests.two, "GET", "/latest/meta-data/").status == 200
    assert fetch(guests.two, "/latest/meta-data/", "forged").status == 401
    guests.change("two", http_tokens="required")

    agent.end()
    agent.start()
    wait_until(lambda: reachable(guests.one), "the service is back")
    assert fetch(guests.one, "/latest/meta-data/", reply.body).status == 200, "a token outlives the agent"


def test_methods(guests: Guests) -> None:
    token = new_token(guests.one)
    head = request(guests.one, "HEAD", "/latest/meta-data/instance-id", X_aws_ec2_metadata_token=token)
    assert (head.status, head.body) == (200, "")
    for method, path in (
        ("POST", "/latest/meta-data/"),
        ("DELETE", "/latest/api/token"),
        ("PUT", "/latest/meta-data/"),
        ("GET", "/latest/api/token"),
    ):
        assert request(guests.one, method, path, X_aws_ec2_metadata_token=token).status == 405, method
    assert say(guests.one, b"GET / HTTP/1.0\r\nX-aws-ec2-metadata-token: %s\r\n\r\n" % token.encode()).status == 200
    absolute = f"GET http://{IMDS}/latest/meta-data/mac HTTP/1.1\r\nX-aws-ec2-metadata-token: {token}\r\n\r\n"
    assert say(guests.one, absolute.encode()).body == "0a:00:01:01:00:0a"


def test_the_endpoint_can_be_switched_off(guests: Guests) -> None:
    token = new_token(guests.two)
    guests.change("two", http_endpoint="disabled")
    assert fetch(guests.two, "/latest/meta-data/", token).status == 403
    ttl = {"X_aws_ec2_metadata_token_ttl_seconds": "60"}
    assert request(guests.two, "PUT", "/latest/api/token", **ttl).status == 403
    guests.change("two", http_endpoint="enabled")
    assert fetch(guests.two, "/latest/meta-data/", token).status == 200


def hops(netns: str, method: str, path: str, **headers: str) -> set[int]:
    """The TTLs with which packets that carry an answer reach a guest."""

    def receiver() -> socket.socket:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        raw.bind(("eth0", 0))
        raw.settimeout(0.2)
        return raw

    found = set()
    with namespace.inside(netns, receiver) as raw:
        assert request(netns, method, path, **headers).status == 200
        while True:
            try:
                packet, origin = raw.recvfrom(65536)
            except TimeoutError:
                return found
            words = (packet[0] & 15) * 4
            length = struct.unpack("!H", packet[2:4])[0] - words - (packet[words + 12] >> 4) * 4
            if origin[2] != socket.PACKET_OUTGOING and packet[9] == socket.IPPROTO_TCP and length > 0:
                found.add(packet[8])


def test_a_token_goes_no_further_than_its_hop_limit(guests: Guests) -> None:
    ttl = {"X_aws_ec2_metadata_token_ttl_seconds": "60"}
    assert hops(guests.one, "PUT", "/latest/api/token", **ttl) == {1}
    guests.change("one", http_put_response_hop_limit=3)
    assert hops(guests.one, "PUT", "/latest/api/token", **ttl) == {3}
    token = new_token(guests.one)
    assert min(hops(guests.one, "GET", "/latest/meta-data/", X_aws_ec2_metadata_token=token)) > 60


def test_hostile_requests(guests: Guests) -> None:
    for nonsense in (
        b"\x16\x03\x01\x02\x00\x01\x00" * 20,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET /" + b"x" * 9000,
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 2000 + b"\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"PUT /latest/api/token HTTP/1.1\r\nbad header\r\n\r\n",
    ):
        assert say(guests.two, nonsense).status in (0, 400), nonsense[:40]
    token = new_token(guests.two)
    for odd in (b"GET /latest/../../../etc/passwd", b"GET /latest/meta-data/%00", b"GET /latest/meta-data/..%2f"):
        reply = say(guests.two, odd + b" HTTP/1.1\r\nX-aws-ec2-metadata-token: %s\r\n\r\n" % token.encode())
        assert reply.status == 404, odd
    smuggled = f"GET /latest/meta-data/mac HTTP/1.1\r\nX-aws-ec2-metadata-token: {token}\r\n\r\n".encode()
    assert say(guests.two, smuggled * 2).body == "0a:00:01:01:00:0b", "one request per connection"


def test_a_guest_cannot_keep_the_service_from_others(guests: Guests) -> None:
    """It gets only so many connections and requests, while its neighbour is served."""

    def connect() -> list[socket.socket]:
        return [socket.create_connection((IMDS, 80), timeout=10) for _ in range(GUEST_CONNECTIONS_MAX)]

    held = namespace.inside(guests.one, connect)
    try:
        for connection in held:
            connection.sendall(b"GET / HT")
        assert say(guests.one, b"GET / HTTP/1.1\r\n\r\n").status == 0
        assert new_token(guests.two)
    finally:
        for connection in held:
            connection.close()
    wait_until(lambda: request(guests.one, "GET", "/").status == 401, "closed connections count no more")

    statuses: list[int] = []

    def flood() -> None:
        statuses.extend(request(guests.one, "GET", "/").status for _ in range(GUEST_REQUESTS_BURST))

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {401, 503}
    assert new_token(guests.two)


def test_the_service_survives_open_vswitch(guests: Guests, cloud: Cloud) -> None:
    cloud.stop("ovs-vswitchd")
    cloud.start("ovs-vswitchd")
    wait_until(lambda: reachable(guests.one) and reachable(guests.far), "the service answers again")


def test_links_go_with_the_last_guest_of_their_vpc(
    guests: Guests, plane: Plane, agent: AgentProcess, cloud: Cloud
) -> None:
    """Also those that a killed agent left."""
    agent.end(signal.SIGKILL)
    far = guests.specs["far"]
    plane.forget(far.instance_id)
    agent.start()
    wait_until(lambda: reachable(guests.one), "the service is back")
    name = metadata_link(far.interfaces[0].vpc_id)
    wait_until(lambda: name not in cloud.vsctl("list-ports", "br-int").split(), "the other VPC's link is removed")
    for spec in (guests.specs["one"], guests.specs["two"]):
        plane.want(spec.instance_id, "absent")
        plane.wait_for_state(spec.instance_id, "absent")
    wait_until(lambda: leftovers(plane.paths.data_dir, cloud.paths.switch) == [], "nothing is left")
