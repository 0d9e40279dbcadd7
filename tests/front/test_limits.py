"""What a client may take: heads, bodies, time, connections."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from freehold.front.limits import Limits
from tests.cloudapi import ApiServer, api_server
from tests.front.audited import records
from tests.front.signing import Unsigned, presigned, send, signed
from tests.front.test_signatures import REQUESTS, call, host, refusal
from tests.front.test_streams import PUT, head_of

SHORT = Limits(
    head_seconds=0.5,
    body_seconds=0.5,
    idle_seconds=1,
    stalled_seconds=1,
    linger_seconds=0.5,
    connections=4,
    network_connections=2,
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("cloud"), package="tests.front.services") as served:
        yield served


@pytest.fixture
def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """A front door with little patience."""
    (tmp_path / "objects").mkdir()
    monkeypatch.setenv("FREEHOLD_TEST_OBJECTS", str(tmp_path / "objects"))
    with api_server(tmp_path / "cloud", package="tests.front.services", limits=SHORT) as served:
        yield served


@contextmanager
def connected(api: ApiServer) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", int(api.url.rpartition(":")[2])), timeout=30) as connection:
        yield connection


def rest(connection: socket.socket) -> bytes:
    """All until the server closes the connection."""
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def code(received: bytes) -> str:
    return re.findall(r"<Code>(.*?)</Code>", received.decode())[0]


def test_heads(api: ApiServer) -> None:
    long = "x" * (17 << 10)
    assert call(api, Unsigned("s3", "GET", headers={"x-amz-a": "x" * (15 << 10)})).status == 200
    too_long = Unsigned("s3", "GET", headers={"x-amz-a": long})
    assert refusal(call(api, too_long)) == (400, "RequestHeaderSectionTooLarge")
    assert refusal(call(api, Unsigned("s3", "GET", f"/{long}"))) == (400, "RequestHeaderSectionTooLarge")
    sts = Unsigned("sts", "GET", query=f"Action=GetCallerIdentity&Version=2011-06-15&A={long}")
    assert refusal(send(api.url, presigned(sts, api.root, host(api)))) == (413, "RequestEntityTooLarge")


def test_what_did_not_arrive_whole_is_in_the_trail(api: ApiServer) -> None:
    huge = Unsigned("sts", headers=REQUESTS["sts"].headers, body=b"Action=GetCallerIdentity" + b"&" * (1 << 20))
    request_id = call(api, huge).headers["x-amzn-requestid"]
    (record,) = records(api, "", of=request_id)
    assert (record["errorCode"], record["recipientAccountId"]) == ("RequestEntityTooLarge", api.account_id)
    assert record["userIdentity"]["type"] == "Unknown"  # its signature was not looked at


@pytest.mark.parametrize(
    "start",
    [
        b"GET / HTTP/1.1\r\n",
        b"GET /",
        b"GET / HTTP/1.1\r\na: ",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1;",
    ],
)
def test_heads_without_an_end(api: ApiServer, start: bytes) -> None:
    with connected(api) as connection:
        connection.sendall(start)
        try:
            for _ in range(400):
                connection.sendall(b"a: b\r\n" * 1000 if start.endswith(b"\n") else b"x" * 6000)
        except (BrokenPipeError, ConnectionResetError):
            return
        # AccessDenied: a stranger with a body is refused by the head already.
        assert code(rest(connection)) in ("RequestHeaderSectionTooLarge", "BadRequest", "AccessDenied")


def test_bodies(api: ApiServer) -> None:
    for family, limit, expected in (
        ("ec2", 1 << 20, (413, "RequestEntityTooLarge")),
        ("sts", 1 << 20, (413, "RequestEntityTooLarge")),
        ("kms", 2 << 20, (413, "RequestEntityTooLargeException")),
    ):
        request = REQUESTS[family]
        huge = Unsigned(request.service, headers=request.headers, body=b" " * (limit + 1))
        assert refusal(call(api, huge)) == expected
        in_chunks = [huge.body[at : at + 65536] for at in range(0, len(huge.body), 65536)]
        assert refusal(send(api.url, signed(huge, api.root, host(api)), in_chunks)) == expected
    document = Unsigned("s3", "PUT", "/bucket", "tagging=", body=b" " * ((4 << 20) + 1))
    assert refusal(call(api, document)) == (400, "MaxMessageLengthExceeded")


def test_no_more_parameters_than_a_form_may_have(api: ApiServer) -> None:
    body = b"Action=DescribeKeyPairs" + b"&a" * 20_000
    request = Unsigned("ec2", headers=REQUESTS["ec2"].headers, body=body)
    assert refusal(call(api, request)) == (413, "RequestEntityTooLarge")


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\n"])
def test_slow_heads_are_cut_off(short: ApiServer, sent: bytes) -> None:
    with connected(short) as connection:
        connection.sendall(sent)
        assert rest(connection) == b""


def test_slow_bodies_are_cut_off(short: ApiServer) -> None:
    slow = {"content-length": "100"}
    with connected(short) as connection:
        connection.sendall(head_of(signed(REQUESTS["sts"], short.root, host(short), unsigned=slow)) + b"Action=")
        received = rest(connection)
        assert received.startswith(b"HTTP/1.1 408 ")
        assert code(received) == "RequestTimeout"
    with connected(short) as connection:
        ready = signed(PUT, short.root, host(short), payload="UNSIGNED-PAYLOAD", unsigned=slow)
        connection.sendall(head_of(ready) + b"x")
        assert code(rest(connection)) == "RequestTimeout"


def test_idle_connections_are_closed(short: ApiServer) -> None:
    with connected(short) as connection:
        connection.sendall(b"GET /_freehold/health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert rest(connection).endswith(b"ok\n")
    with connected(short) as connection:
        connection.sendall(b"GET /_freehold/health HTTP/1.1\r\nhost: x\r\n\r\n\r\n\r\n")
        assert rest(connection).endswith(b"ok\n")


def test_no_more_connections_than_there_may_be(short: ApiServer) -> None:
    opened = [socket.create_connection(("127.0.0.1", int(short.url.rpartition(":")[2])), timeout=30) for _ in range(4)]
    try:
        with connected(short) as connection:
            assert rest(connection) == b""
        for connection in opened:
            assert rest(connection) == b"", "its head is late"
    finally:
        for connection in opened:
            connection.close()
    assert call(short, REQUESTS["sts"]).status == 200


def test_no_more_streams_than_there_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "objects").mkdir()
    monkeypatch.setenv("FREEHOLD_TEST_OBJECTS", str(tmp_path / "objects"))
    with api_server(tmp_path / "cloud", package="tests.front.services", limits=Limits(streams=1)) as served:
        ready = signed(PUT, served.root, host(served), payload="UNSIGNED-PAYLOAD", unsigned={"content-length": "2"})
        with connected(served) as first:
            first.sendall(head_of(ready) + b"x")
            while not list((tmp_path / "objects").iterdir()):
                time.sleep(0.01)
            with connected(served) as second:
                second.sendall(head_of(ready) + b"xx")
                received = rest(second)
            assert received.startswith(b"HTTP/1.1 503 ")
            assert code(received) == "SlowDown"
            first.sendall(b"x")
            assert first.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_client_may_not_say_that_it_is_another(api: ApiServer) -> None:
    forwarded = api.client("kms")
    forwarded.meta.events.register(
        "before-send.kms", lambda request, **_: request.headers.__setitem__("X-Forwarded-For", "198.51.100.1")
    )
    forwarded.encrypt(KeyId="key", Plaintext=b"x")
    assert records(api, "Encrypt")[0]["sourceIPAddress"] == "127.0.0.1"
