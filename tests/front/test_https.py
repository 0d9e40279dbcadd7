"""HTTPS beside HTTP: the cloud's own certificate, or one that is given."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest
import trustme
from botocore.exceptions import SSLError
from cryptography import x509

from freehold.cli.temporary import free_port
from freehold.config import Config, ConfigError
from freehold.control.accounts import create_account
from freehold.front.https import Certificate
from freehold.front.serve import open_store
from freehold.paths import Paths
from freehold.records.migrations import upgrade
from freehold.records.secrets import Sealer
from tests.cloudapi import api_server


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_process_serves_both(tmp_path: Path) -> None:
    http, https = free_port(), free_port()
    (tmp_path / "freehold.toml").write_text(f'https_address = "127.0.0.1"\nhttps_port = {https}\n')
    upgrade(Paths(tmp_path).state_url)
    store = open_store(tmp_path, Config())
    with store.write() as tx:
        account, key_id, secret = create_account(tx, Sealer.of(tmp_path), "test")
    store.close()
    command = [sys.executable, "-m", "freehold.front", "--data-dir", tmp_path, "--port", str(http)]
    process = subprocess.Popen(command)
    try:
        for port in (http, https):
            while not listens(port):
                assert process.poll() is None
                time.sleep(0.05)
        for url in (f"http://127.0.0.1:{http}", f"https://127.0.0.1:{https}", f"https://localhost:{https}"):
            client = boto3.client(
                "sts",
                region_name="us-east-1",
                endpoint_url=url,
                verify=str(Paths(tmp_path).pki / "ca.crt"),
                aws_access_key_id=key_id,
                aws_secret_access_key=secret,
            )
            assert client.get_caller_identity()["Account"] == account.id
            client.close()
        taken = subprocess.run([*command[:-1], str(free_port())], capture_output=True, text=True)
        assert taken.returncode == 1
        assert taken.stderr.startswith(f"HTTPS on 127.0.0.1 port {https}: Address already in use")
    finally:
        process.terminate()
        process.wait()


def test_objects_with_trailers_over_https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 leaves the body unsigned over TLS and sends its checksum after it."""
    (tmp_path / "objects").mkdir()
    monkeypatch.setenv("FREEHOLD_TEST_OBJECTS", str(tmp_path / "objects"))
    config = Config(https_address="127.0.0.1", https_names=("cloud.example.org",))
    with api_server(tmp_path / "cloud", config, package="tests.front.services") as api:
        authority = str(tmp_path / "cloud" / "pki" / "ca.crt")
        s3 = api.client("s3", endpoint_url=api.https_url, verify=authority)
        sent: list[str] = []
        s3.meta.events.register("before-send.s3.PutObject", lambda request, **_: sent.extend(request.headers))
        data = os.urandom(3_000_000)
        s3.put_object(Bucket="bucket", Key="key", Body=data)
        assert "X-Amz-Trailer" in sent
        assert s3.get_object(Bucket="bucket", Key="key")["Body"].read() == data
        with pytest.raises(SSLError):
            api.client("s3", endpoint_url=api.https_url).list_buckets()


def test_the_certificate_bears_the_names(tmp_path: Path) -> None:
    config = Config(https_address="0.0.0.0", https_names=("cloud.example.org", "192.0.2.7"))
    Certificate(config, tmp_path)
    first = (tmp_path / "endpoint.crt").read_bytes()
    found = x509.load_pem_x509_certificate(first).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    names = {str(name.value) for name in found.value}
    assert names >= {"localhost", "127.0.0.1", "cloud.example.org", "*.cloud.example.org", "192.0.2.7"}
    Certificate(config, tmp_path)
    assert (tmp_path / "endpoint.crt").read_bytes() == first
    Certificate(Config(https_address="0.0.0.0", https_names=("other.example.org",)), tmp_path)
    assert (tmp_path / "endpoint.crt").read_bytes() != first


def test_a_certificate_that_is_given(tmp_path: Path) -> None:
    leaf = trustme.CA().issue_cert("localhost")
    certificate, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    key.write_bytes(leaf.private_key_pem.bytes())
    files = {"https_certificate": str(certificate), "https_key": str(key)}
    Certificate(Config(https_address="::", **files), tmp_path / "pki")  # type: ignore[arg-type]
    assert not (tmp_path / "pki").exists()


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (Config(https_address="everywhere"), "https_address everywhere: give an IP address"),
        (Config(https_address="0.0.0.0", https_key="/k"), "give both, or neither"),
        (Config(https_address="0.0.0.0", https_key="/none", https_certificate="/none"), "No such file"),
        (Config(https_address="0.0.0.0", https_names=("bücher.example",)), "https_names"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, config: Config, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Certificate(config, tmp_path)
