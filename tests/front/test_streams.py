"""Objects in and out: proven, in bounded memory, and refused before they are read."""

from __future__ import annotations

import base64
import os
import re
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.response import StreamingBody

from tests.cloudapi import ApiServer, Keys, api_server
from tests.front import chunks
from tests.front.signing import Unsigned, presigned, send, signed
from tests.front.test_signatures import host, refusal

MIB = 1 << 20
PUT = Unsigned("s3", "PUT", "/bucket/key")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FREEHOLD_TEST_OBJECTS", str(tmp_path_factory.mktemp("objects")))
        with api_server(tmp_path_factory.mktemp("cloud"), package="tests.front.services") as served:
            yield served


@pytest.fixture
def objects() -> Path:
    return Path(os.environ["FREEHOLD_TEST_OBJECTS"])


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def stored(api: ApiServer, key: str = "key") -> bytes:
    body: StreamingBody = api.client("s3").get_object(Bucket="bucket", Key=key)["Body"]
    return body.read()


def test_put_and_get(api: ApiServer, objects: Path) -> None:
    s3 = api.client("s3")
    data = os.urandom(3 * MIB + 17)
    s3.put_object(Bucket="bucket", Key="a/ü b", Body=data)
    answer = s3.get_object(Bucket="bucket", Key="a/ü b")
    assert answer["Body"].read() == data
    assert answer["ContentType"] == "text/x-test"
    assert s3.head_object(Bucket="bucket", Key="a/ü b")["ContentLength"] == len(data)
    s3.put_object(Bucket="bucket", Key="empty", Body=b"")
    assert s3.get_object(Bucket="bucket", Key="empty")["Body"].read() == b""
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket="bucket", Key="none")
    assert not list(objects.glob("coming-*"))


def test_the_hash_is_checked_at_the_end(api: ApiServer, objects: Path) -> None:
    good = signed(replace(PUT, body=b"x" * MIB), api.root, host(api))
    assert send(api.url, good).status == 200
    assert refusal(send(api.url, replace(good, body=b"x" * (MIB - 1) + b"y"))) == (400, "XAmzContentSHA256Mismatch")
    assert stored(api) == b"x" * MIB, "what was refused is not kept"
    assert not list(objects.glob("coming-*"))
    unsigned = signed(replace(PUT, body=b"z"), api.root, host(api), payload="UNSIGNED-PAYLOAD")
    assert send(api.url, unsigned).status == 200
    url = presigned(replace(PUT, body=b"presigned"), api.root, host(api))
    assert send(api.url, url).status == 200
    assert stored(api) == b"presigned"


@pytest.mark.parametrize("kind", [chunks.SIGNED, chunks.TRAILER, chunks.UNSIGNED])
@pytest.mark.parametrize("http_chunks", [False, True])
def test_aws_chunked(api: ApiServer, kind: str, http_chunks: bool) -> None:
    parts = [os.urandom(65536), os.urandom(8192), b"end"]
    whole = b"".join(parts)
    trailers = {} if kind == chunks.SIGNED else {"x-amz-checksum-crc32": crc32(whole)}
    request = chunks.head(PUT, api.root, host(api), kind, parts, trailers)
    body = [request.body[at : at + 1000] for at in range(0, len(request.body), 1000)] if http_chunks else None
    assert send(api.url, request, body).status == 200
    assert stored(api) == whole

    def refused(changed: Unsigned) -> tuple[int, str]:
        answer = refusal(send(api.url, changed))
        assert stored(api) == whole
        return answer

    flipped = request.body.replace(parts[1], parts[1][:-1] + bytes([parts[1][-1] ^ 1]))
    assert refused(replace(request, body=flipped)) == (
        (400, "BadDigest") if kind == chunks.UNSIGNED else (403, "SignatureDoesNotMatch")
    )
    assert refused(replace(request, body=request.body[:-30]))[1] in ("IncompleteBody", "MalformedTrailerError")
    small = chunks.head(PUT, api.root, host(api), kind, [b"a", b"b"], trailers)
    assert refused(small) == (403, "InvalidChunkSizeError")
    if trailers:
        wrong = chunks.head(PUT, api.root, host(api), kind, parts, {"x-amz-checksum-crc32": crc32(b"")})
        assert refused(wrong) == (400, "BadDigest")
        renamed = request.body.replace(b"x-amz-checksum-crc32:", b"x-amz-checksum-crc33:")
        assert refused(replace(request, body=renamed)) == (400, "MalformedTrailerError")
    long = {**request.headers, "x-amz-decoded-content-length": "1"}
    assert refused(replace(request, headers=long)) == (403, "SignatureDoesNotMatch")


def test_a_small_document_may_come_in_chunks(api: ApiServer) -> None:
    tagging = Unsigned("s3", "PUT", "/bucket", "tagging=")
    good = chunks.head(tagging, api.root, host(api), chunks.SIGNED, [b"<Tagging><TagSet/></Tagging>"], {})
    assert send(api.url, good).status == 200
    bad = replace(good, body=good.body.replace(b"Tagging", b"tagging"))
    assert refusal(send(api.url, bad)) == (403, "SignatureDoesNotMatch")


def test_lengths_must_be_told_and_fit(api: ApiServer) -> None:
    without = signed(replace(PUT, body=b"x"), api.root, host(api))
    assert refusal(send(api.url, without, [b"x"])) == (411, "MissingContentLength")
    huge = signed(PUT, api.root, host(api), unsigned={"content-length": str((5 << 30) + 1)})
    assert answer_to_head(api, huge) == (400, "EntityTooLarge")
    chunked = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": "-1"}
    odd = signed(replace(PUT, headers=chunked), api.root, host(api), payload=chunks.SIGNED)
    assert refusal(send(api.url, odd, [b"0"])) == (400, "InvalidArgument")


def head_of(request: Unsigned) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"{request.method} {request.path} HTTP/1.1\r\n{lines}\r\n".encode()


def answer_to_head(api: ApiServer, request: Unsigned) -> tuple[int, str]:
    """Status and error code of the answer to a request of which only the head is sent."""
    with socket.create_connection(("127.0.0.1", int(api.url.rpartition(":")[2])), timeout=30) as connection:
        connection.sendall(head_of(request))
        connection.settimeout(30)
        received = b""
        while b"</Code>" not in received:
            part = connection.recv(65536)
            assert part, received
            received += part
    assert b"100 Continue" not in received
    assert b"connection: close" in received.lower()
    return int(received.split(b" ")[1]), re.findall(r"<Code>(.*?)</Code>", received.decode())[0]


@pytest.mark.parametrize("expect", [{}, {"expect": "100-continue"}])
def test_a_rejection_comes_before_the_body(api: ApiServer, expect: dict[str, str]) -> None:
    extra = {"content-length": str(1 << 30), **expect}

    def answer(request: Unsigned, keys: Keys = api.root) -> tuple[int, str]:
        ready = signed(request, keys, host(api), payload="UNSIGNED-PAYLOAD", unsigned=extra)
        return answer_to_head(api, ready)

    assert answer(PUT, Keys("AKIAABCDEFGHIJKLMNOP", "secret")) == (403, "InvalidAccessKeyId")
    assert answer(PUT, replace(api.root, secret_access_key="wrong")) == (403, "SignatureDoesNotMatch")
    assert answer(PUT, api.create_user(f"u{len(expect)}")) == (403, "AccessDenied")
    assert answer(replace(PUT, path="/bucket")) == (501, "NotImplemented")  # CreateBucket: not built here
    assert answer_to_head(api, replace(PUT, headers={"host": "x", **extra})) == (403, "AccessDenied")


def test_a_client_that_waits_is_told_to_continue(api: ApiServer) -> None:
    request = signed(
        replace(PUT, body=b"waited"), api.root, host(api), unsigned={"content-length": "6", "expect": "100-continue"}
    )
    with socket.create_connection(("127.0.0.1", int(api.url.rpartition(":")[2])), timeout=30) as connection:
        connection.sendall(head_of(request))
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(request.body)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
    assert stored(api) == b"waited"


def test_a_refused_client_that_sends_on_gets_its_answer(api: ApiServer) -> None:
    """The connection is not reset under an answer that the client has not read yet."""
    unknown = Keys("AKIAABCDEFGHIJKLMNOP", "secret")
    request = signed(replace(PUT, body=bytes(32 * MIB)), unknown, host(api), payload="UNSIGNED-PAYLOAD")
    assert refusal(send(api.url, request)) == (403, "InvalidAccessKeyId")


def test_an_upload_that_breaks_off_leaves_nothing(api: ApiServer, objects: Path) -> None:
    request = signed(PUT, api.root, host(api), payload="UNSIGNED-PAYLOAD", unsigned={"content-length": "1000000"})
    before = set(objects.iterdir())
    with socket.create_connection(("127.0.0.1", int(api.url.rpartition(":")[2])), timeout=30) as connection:
        connection.sendall(head_of(request) + b"x" * 1000)
        while not list(objects.glob("coming-*")):
            time.sleep(0.01)
    while list(objects.glob("coming-*")):
        time.sleep(0.01)
    assert set(objects.iterdir()) == before


def test_an_answer_that_breaks_off_is_seen_to_be_short(api: ApiServer) -> None:
    api.client("s3").put_object(Bucket="bucket", Key="broken", Body=b"a" * (256 << 10) + b"broken")
    with pytest.raises(BotoCoreError):
        stored(api, "broken")


def test_virtual_hosts(api: ApiServer) -> None:
    port = api.url.rpartition(":")[2]
    api.client("s3").put_object(Bucket="my.bucket-1", Key="k/e/y", Body=b"content")
    for name in ("my.bucket-1.localhost", "my.bucket-1.s3.localhost", "my.bucket-1.s3.eu-west-1.amazonaws.com"):
        request = Unsigned("s3", "GET", "/k/e/y")
        answer = send(api.url, signed(request, api.root, f"{name}:{port}"))
        assert (answer.status, answer.body) == (200, b"content"), name
    for name in ("localhost", "s3.localhost", "s3.us-east-1.amazonaws.com", "127.0.0.1", "x.example.org"):
        answer = send(api.url, signed(Unsigned("s3", "GET", "/"), api.root, f"{name}:{port}"))
        assert b"<ListAllMyBucketsResult" in answer.body, name


@pytest.fixture
def process(tmp_path: Path, api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """The front door as a process of its own, over the same state: its URL and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    directory = Path(api.store.url.removeprefix("sqlite:///")).parent
    server = subprocess.Popen([sys.executable, "-m", "tests.front.served", directory, str(port)])
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            except OSError:
                assert server.poll() is None
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", server.pid
    finally:
        server.terminate()
        server.wait()


def peak(pid: int) -> int:
    """The most memory that the process ever had, in bytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", text)[0]) * 1024


def test_memory_is_bounded(api: ApiServer, process: tuple[str, int], tmp_path: Path) -> None:
    url, pid = process
    file = tmp_path / "large"
    size = 256 * MIB
    with file.open("wb") as large:
        for _ in range(size // MIB):
            large.write(os.urandom(MIB))
    keys: dict[str, Any] = {
        "aws_access_key_id": api.root.access_key_id,
        "aws_secret_access_key": api.root.secret_access_key,
    }
    s3 = boto3.client("s3", region_name="us-east-1", endpoint_url=url, **keys)
    s3.put_object(Bucket="bucket", Key="small", Body=b"small")
    s3.get_object(Bucket="bucket", Key="small")["Body"].read()
    before = peak(pid)
    with file.open("rb") as large:
        s3.put_object(Bucket="bucket", Key="large", Body=large)
    body = s3.get_object(Bucket="bucket", Key="large")["Body"]
    with file.open("rb") as large:
        while expected := large.read(MIB):
            assert body.read(MIB) == expected
        assert body.read() == b""
    # A client that does not read what it asked for makes the server wait, not fill its memory.
    waiting = s3.get_object(Bucket="bucket", Key="large")["Body"]
    uploads = [threading.Thread(target=upload, args=(s3, file)) for _ in range(2)]
    for thread in uploads:
        thread.start()
    for thread in uploads:
        thread.join()
    waiting.close()
    s3.close()
    assert peak(pid) - before < 32 * MIB


def upload(s3: Any, file: Path) -> None:
    with file.open("rb") as large:
        s3.put_object(Bucket="bucket", Key=f"large-{threading.get_ident()}", Body=large)
