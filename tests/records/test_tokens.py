"""A root key that a PKCS #11 token guards; SoftHSM stands for the HSM or TPM."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pkcs11
import pytest

from freehold.config import RootKey
from freehold.records.root_keys import root_keys
from freehold.records.root_rotation import rotate
from freehold.records.secrets import Sealer, SealError
from freehold.records.store import Store
from tests.records.test_root_keys import fill, names, opened

MODULE = "/usr/lib/softhsm/libsofthsm2.so"


@pytest.fixture(scope="session")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The ``[root_key]`` of a configuration with a token that has a pair of keys. The library reads its own
    configuration once for a process."""
    directory = tmp_path_factory.mktemp("softhsm")
    (directory / "tokens").mkdir()
    (directory / "conf").write_text(f"directories.tokendir = {directory}/tokens\nlog.level = ERROR\n")
    (directory / "pin").write_text("1234\n")
    patch = pytest.MonkeyPatch()
    patch.setenv("SOFTHSM2_CONF", str(directory / "conf"))
    command = ("softhsm2-util", "--init-token", "--free", "--label", "lab", "--pin", "1234", "--so-pin", "5678")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with pkcs11.lib(MODULE).get_token(token_label="lab").open(rw=True, user_pin="1234") as session:
        session.generate_keypair(pkcs11.KeyType.RSA, 2048, store=True, label="freehold")
    lines = ("source = 'pkcs11'", f"pkcs11_module = '{MODULE}'", "pkcs11_token = 'lab'")
    yield "\n".join(("[root_key]", *lines, f"pkcs11_pin_file = '{directory}/pin'", ""))
    patch.undo()


def test_a_copy_of_the_data_directory_opens_nothing(tmp_path: Path, token: str, store: Store) -> None:
    (tmp_path / "freehold.toml").write_text(token)
    secrets = fill(store, Sealer.of(tmp_path), 3)
    assert opened(store, Sealer.of(tmp_path)) == secrets
    assert len((tmp_path / "keys" / "root.1.key").read_bytes()) == 256  # what RSA encrypted
    (tmp_path / "freehold.toml").unlink()
    with pytest.raises(SealError, match="must be 32 bytes, not 256"):
        Sealer.of(tmp_path)


def test_a_cloud_moves_to_a_token_by_a_rotation(tmp_path: Path, token: str, store: Store) -> None:
    secrets = fill(store, Sealer.of(tmp_path), 3)
    (tmp_path / "freehold.toml").write_text(token)
    sealer = Sealer.of(tmp_path)
    keys = root_keys(
        tmp_path,
        RootKey(
            source="pkcs11",
            pkcs11_module=MODULE,
            pkcs11_token="lab",
            pkcs11_pin_file=token.split("pin_file = '")[1].split("'")[0],
        ),
    )
    list(rotate(store, sealer, keys, at_once=True))
    assert names(tmp_path) == {"root.2.key"}
    assert len((tmp_path / "keys" / "root.2.key").read_bytes()) == 256
    assert opened(store, Sealer.of(tmp_path)) == opened(store, sealer) == secrets


@pytest.mark.parametrize(
    ("was", "instead", "said"),
    [
        ("'lab'", "'none'", "token none does not open the root key"),
        (MODULE, "/no/module.so", "cannot open shared object file"),
        ("/pin'", "/no-pin'", "No such file or directory"),
        ("/pin'", "/conf'", "PinI"),
        ("pkcs11_token", "pkcs11_key = 'none'\npkcs11_token", "does not open the root key"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, token: str, was: str, instead: str, said: str) -> None:
    (tmp_path / "freehold.toml").write_text(token.replace(was, instead))
    with pytest.raises(SealError, match=said):
        Sealer.of(tmp_path)
    assert not os.listdir(tmp_path / "keys")
