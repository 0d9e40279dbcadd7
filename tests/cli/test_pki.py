"""The cloud's authority: its files make a TLS link that only they make, and are renewed when they must be."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509

from freehold import pki
from freehold.control.hosts import link_security, renew_link


def host_security(directory: Path) -> ssl.SSLContext:
    """What the host agent does with its three files."""
    security = ssl.create_default_context(cafile=str(directory / "ca.crt"))
    security.load_cert_chain(directory / "host.crt", directory / "host.key")
    return security


def handshake(control: Path, host: Path, security: ssl.SSLContext | None = None) -> str:
    """The common name that the control plane sees, over real TLS; raises ssl.SSLError."""
    security = security or link_security(control)
    near, far = socket.socketpair()
    seen: list[str | ssl.SSLError] = []

    def serve() -> None:
        try:
            with security.wrap_socket(near, server_side=True) as link:
                (((_, name),),) = (link.getpeercert() or {})["subject"]
                link.sendall(b"!")
                seen.append(str(name))
        except (ssl.SSLError, OSError) as error:
            seen.append(error if isinstance(error, ssl.SSLError) else ssl.SSLError(str(error)))

    server = threading.Thread(target=serve)
    server.start()
    try:
        with host_security(host).wrap_socket(far, server_hostname="control") as link:
            link.recv(1)
    finally:
        far.close()
        server.join()
        near.close()
    (answer,) = seen
    if isinstance(answer, ssl.SSLError):
        raise answer
    return answer


def test_the_host_is_known_by_its_id(tmp_path: Path) -> None:
    assert pki.ensure(tmp_path, "host-1")
    assert handshake(tmp_path, tmp_path) == "host-1"


def test_another_cloud_is_refused(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for directory in (ours, theirs):
        pki.ensure(directory, "host-1")
    with pytest.raises(ssl.SSLError):
        handshake(ours, theirs)


def test_keys_are_their_owners_alone(tmp_path: Path) -> None:
    pki.ensure(tmp_path / "pki", "host-1")
    assert (tmp_path / "pki").stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "pki").glob("*.key")} == {
        "ca.key": 0o600,
        "control.key": 0o600,
        "host.key": 0o600,
    }


def test_nothing_is_made_twice(tmp_path: Path) -> None:
    pki.ensure(tmp_path, "host-1")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert not pki.ensure(tmp_path, "host-1")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("lost", ["ca.key", "ca.crt", "control.crt", "control.key", "host.crt", "host.key"])
def test_a_lost_file_is_made_again_and_all_fit(tmp_path: Path, lost: str) -> None:
    pki.ensure(tmp_path, "host-1")
    (tmp_path / lost).unlink()
    pki.ensure(tmp_path, "host-1")
    assert handshake(tmp_path, tmp_path) == "host-1"


def test_a_leaf_is_renewed_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(pki, "LEAF_DAYS", 59)  # as one that was made a month ago
        pki.ensure(tmp_path, "host-1")
    assert pki.ensure(tmp_path, "host-1")
    certificate = x509.load_pem_x509_certificate((tmp_path / "host.crt").read_bytes())
    assert certificate.not_valid_after_utc > dt.datetime.now(dt.UTC) + dt.timedelta(days=80)


def test_a_link_takes_its_new_certificate_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(pki, "LEAF_DAYS", 0)
        pki.ensure(tmp_path, "host-1")
    security = link_security(tmp_path)
    with pytest.raises(ssl.SSLError, match="expired"):
        handshake(tmp_path, tmp_path, security)
    renew_link(tmp_path, "host-1", security)
    assert handshake(tmp_path, tmp_path, security) == "host-1"


def test_a_host_with_another_id_gets_another_certificate(tmp_path: Path) -> None:
    pki.ensure(tmp_path, "host-1")
    assert pki.ensure(tmp_path, "host-2")
    assert handshake(tmp_path, tmp_path) == "host-2"


def test_a_damaged_key_is_named(tmp_path: Path) -> None:
    pki.ensure(tmp_path, "host-1")
    (tmp_path / "host.key").write_text("spoilt")
    with pytest.raises(pki.PkiError, match=r"host\.key is damaged: remove it"):
        pki.ensure(tmp_path, "host-1")
