"""What hosts relay from guests: by a host's certificate only, and as the guest that the host names."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from freehold import pki
from freehold.host.security import CONTROL, link_security
from freehold.host.wire import Origin, encode
from freehold.paths import Paths
from tests.cloudapi import ApiServer, api_server
from tests.front.signing import Unsigned, signed

HOST = "host-1"
GUEST = Origin("vpc-0123456789abcdef0", "i-0123456789abcdef0", "172.31.0.5")
NAME = "169.254.169.254:4600"
WHO = Unsigned(
    "sts",
    headers={"content-type": "application/x-www-form-urlencoded"},
    body=b"Action=GetCallerIdentity&Version=2011-06-15",
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("cloud")
    pki.ensure(made / "pki", HOST)
    return made


@pytest.fixture(scope="module")
def api(directory: Path) -> Iterator[ApiServer]:
    with api_server(directory) as served:
        yield served


@contextmanager
def linked(directory: Path, security: ssl.SSLContext | None = None) -> Iterator[ssl.SSLSocket]:
    """A host's connection to the front door."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(20)
        raw.connect(str(Paths(directory).guest_door))
        context = security or link_security(directory / "pki")
        with context.wrap_socket(raw, server_hostname=CONTROL) as secure:
            yield secure


def request(api: ApiServer, what: Unsigned = WHO) -> bytes:
    ready = signed(what, api.root, NAME)
    lines = [f"{ready.method} {ready.path} HTTP/1.1", *(f"{name}: {value}" for name, value in ready.headers.items())]
    return (
        "\r\n".join([*lines, f"content-length: {len(ready.body)}", "connection: close", "", ""]).encode() + ready.body
    )


def heard(link: ssl.SSLSocket) -> bytes:
    """All that comes until the other side closes."""
    received = b""
    try:
        while more := link.recv(65536):
            received += more
    except OSError:
        pass
    return received


def test_a_guest_is_answered(api: ApiServer, directory: Path) -> None:
    with linked(directory) as link:
        link.sendall(encode(GUEST) + request(api))
        answer = heard(link)
    assert answer.startswith(b"HTTP/1.1 200")
    assert f"<Account>{api.account_id}</Account>".encode() in answer


def test_the_frame_may_come_in_pieces(api: ApiServer, directory: Path) -> None:
    said = encode(GUEST) + request(api)
    with linked(directory) as link:
        for start in range(0, len(said), 7):
            link.sendall(said[start : start + 7])
        assert heard(link).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "said",
    [
        b"POST / HTTP/1.1\r\n\r\n",
        (5000).to_bytes(4, "big"),
        (2).to_bytes(4, "big") + b"{}",
        b"\0\0\0\0",
        b"\0\0\0\4null",
    ],
)
def test_a_host_that_does_not_say_from_whom(api: ApiServer, directory: Path, said: bytes) -> None:
    with linked(directory) as link:
        link.sendall(said + request(api))
        assert heard(link) == b""


def answer(api: ApiServer, directory: Path, security: ssl.SSLContext) -> bytes:
    """What a peer is told; nothing if the link fails, of which TLS 1.3 tells after the handshake."""
    try:
        with linked(directory, security) as link:
            link.sendall(encode(GUEST) + request(api))
            return heard(link)
    except OSError:
        return b""


def test_only_a_host_may_come_in(api: ApiServer, directory: Path, tmp_path: Path) -> None:
    stranger = ssl.create_default_context(cafile=str(directory / "pki" / "ca.crt"))
    pki.ensure(tmp_path / "pki", HOST)
    forged = ssl.create_default_context(cafile=str(directory / "pki" / "ca.crt"))
    forged.load_cert_chain(tmp_path / "pki" / "host.crt", tmp_path / "pki" / "host.key")
    for security in (stranger, forged):
        assert answer(api, directory, security) == b""
    assert Paths(directory).guest_door.stat().st_mode & 0o777 == 0o600
