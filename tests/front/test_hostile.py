"""Whatever a client sends, it gets AWS's error or a closed connection: never a 500, never a traceback, and every line
of the log stays one JSON object."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cloudapi import ApiServer, api_server
from tests.front.signing import Answer, Unsigned, presigned, send, signed
from tests.front.test_signatures import REQUESTS, refusal


@dataclass
class Server:
    """The front door as a process; `lines` gives what it logged since the last call."""

    api: ApiServer
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    read: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def check(self) -> None:
        """It lives, and what it logged are JSON objects, a line each, without a traceback."""
        assert self.process.poll() is None
        text = self.log.read_bytes()
        whole = text.rfind(b"\n") + 1  # the last line may be on its way still
        new, self.read = text[self.read : whole], whole
        for line in new.decode().split("\n"):
            if line:
                entry = json.loads(line)
                assert "exception" not in entry, entry
                assert entry["level"] in ("info", "warning"), entry

    def raw(self, data: bytes) -> bytes:
        """What the server answers to these bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            received = b""
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(65536):
                    received += part
            except (ConnectionResetError, BrokenPipeError):
                pass
            return received


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("cloud")
    environment = {**os.environ, "FREEHOLD_TEST_OBJECTS": str(tmp_path_factory.mktemp("objects"))}
    with api_server(directory, package="tests.front.services") as api, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        log = directory / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.front.served", directory, str(port)], stderr=file, env=environment
            )
        try:
            started = Server(api, port, process, log)
            while not listens(port):
                assert process.poll() is None
                time.sleep(0.05)
            yield started
            started.check()
        finally:
            process.terminate()
            process.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)

methods = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"CONNECT", b"PRI", b"get", b""])
targets = st.one_of(
    st.sampled_from([b"/", b"*", b"http://a", b"//", b"/?", b"/?X-Amz-Algorithm", b"a:1", b"/%", b"/%ff", b"/\xff"]),
    st.binary(max_size=20),
)
names = st.sampled_from(
    [b"host", b"authorization", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect",
     b"x-amz-target", b"x-amz-date", b"x-amz-content-sha256", b"content-type", b"smithy-protocol"]
)  # fmt: skip
values = st.one_of(
    st.sampled_from(
        [b"", b"-1", b"0", b"5", b"99999999999999999999", b"chunked", b"close", b"h2c", b"100-continue", b"a, b",
         b"AWS4-HMAC-SHA256 Credential=a/b/c/s3/aws4_request, SignedHeaders=host, Signature=" + b"0" * 64]
    ),
    st.binary(max_size=20),
)  # fmt: skip
heads = st.builds(
    lambda method, target, version, fields, body: (
        method + b" " + target + b" " + version + b"\r\n" + b"".join(n + b": " + v + b"\r\n" for n, v in fields)
        + b"\r\n" + body
    ),
    methods,
    targets,
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9"]),
    st.lists(st.tuples(names, values), max_size=5),
    st.binary(max_size=40),
)  # fmt: skip


@relaxed
@given(data=st.one_of(heads, st.binary(max_size=200), st.lists(heads, max_size=3).map(b"".join)))
def test_random_bytes(server: Server, data: bytes) -> None:
    received = server.raw(data)
    for status in re.findall(rb"^HTTP/1\.1 (\d+)", received, re.MULTILINE):
        assert int(status) < 500 or status == b"501", received
    assert b"Traceback" not in received
    server.check()


hostile = st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from("\r\n\0\"'<>&{}[]\\;:/=,+%$`\x1b\u2028\u202e\ufffe")),
    max_size=30,
)


def refused_or_answered(server: Server, answer: Answer) -> None:
    assert answer.status < 500 or answer.status == 501, answer
    if answer.status >= 400:
        refusal(answer)
    server.check()


def call(server: Server, request: Unsigned) -> Answer:
    return send(server.url, signed(request, server.api.root, server.host))


@relaxed
@given(
    pairs=st.lists(st.tuples(st.one_of(st.sampled_from(["KeyName", "KeyName.1", "Filter.1.Name"]), hostile), hostile))
)
@pytest.mark.parametrize("family", ["ec2", "sts"])
def test_forms(server: Server, family: str, pairs: list[tuple[str, str]]) -> None:
    request = REQUESTS[family]
    body = request.body + "".join(f"&{quote(name)}={quote(value)}" for name, value in pairs).encode()
    refused_or_answered(server, call(server, Unsigned(request.service, headers=request.headers, body=body)))


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), hostile),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(hostile, inner, max_size=3)),
    max_leaves=8,
)


@relaxed
@given(
    operation=st.one_of(
        st.sampled_from(["TrentService.ListAliases", "TrentService.Encrypt", "TrentService.Sign"]), hostile
    ),
    body=st.one_of(
        st.dictionaries(st.one_of(st.sampled_from(["KeyId", "Plaintext", "Limit"]), hostile), json_values, max_size=3),
        json_values,
        st.binary(max_size=40),
    ),
)
def test_json(server: Server, operation: str, body: object) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    target = re.sub(r"[^\x21-\x7e]", "", operation)
    headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": target}
    refused_or_answered(server, call(server, Unsigned("kms", headers=headers, body=content)))


@relaxed
@given(
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD"]),
    path=st.lists(hostile, max_size=3),
    query=st.lists(
        st.tuples(st.one_of(st.sampled_from(["tagging", "uploads", "versionId"]), hostile), hostile), max_size=3
    ),
    body=st.one_of(st.binary(max_size=60), hostile.map(lambda text: f"<Tagging><TagSet>{text}".encode())),
)
def test_rest(server: Server, method: str, path: list[str], query: list[tuple[str, str]], body: bytes) -> None:
    target = "/" + "/".join(quote(part, safe="") for part in path)
    pairs = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query)
    answer = call(server, Unsigned("s3", method, target, pairs, body=body))
    if method != "HEAD":
        refused_or_answered(server, answer)
    assert answer.status < 500 or answer.status == 501
    ready = presigned(Unsigned("s3", method, target, pairs), server.api.root, server.host)
    assert send(server.url, ready).status < 502


@relaxed
@given(agent=hostile, token=hostile)
def test_headers_that_are_logged_or_recorded(server: Server, agent: str, token: str) -> None:
    def clean(text: str) -> str:
        return re.sub(r"[\x00-\x1f\x7f]", "?", text).strip()

    headers = {**REQUESTS["sts"].headers, "user-agent": clean(agent), "x-amz-security-token": clean(token)}
    request = Unsigned("sts", headers=headers, body=REQUESTS["sts"].body)
    ready = signed(request, server.api.root, server.host)
    encoded = {name: value.encode().decode("latin-1") for name, value in ready.headers.items()}
    refused_or_answered(server, send(server.url, Unsigned("sts", headers=encoded, body=request.body)))
