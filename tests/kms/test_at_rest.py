"""Keys at rest: what a stolen database gives, and what a rotation of the root key is to those who call meanwhile."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from freehold.records.keys import KeyMaterial
from freehold.records.root_keys import Files
from freehold.records.root_rotation import SEALED, rotate
from freehold.records.secrets import Sealer, SealError
from tests.cloudapi import api_server
from tests.kms.test_imports import FOR_EVER, wrapped


def test_a_stolen_database_opens_nothing(tmp_path: Path) -> None:
    with api_server(tmp_path) as api:
        kms = api.client("kms")
        secret = os.urandom(32)
        key_id = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
        kms.import_key_material(**wrapped(kms, key_id, secret), **FOR_EVER)
        kms.create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")
        data_key = kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")["Plaintext"]
        with api.store.read() as tx:
            material = [api.sealer.open("key-material", m.id, m.sealed or b"") for m in tx.select(KeyMaterial)]
        assert secret in material
        stolen = b"".join(path.read_bytes() for path in tmp_path.glob("state.db*"))
        known = [*material, data_key, api.root.secret_access_key.encode()]
        for clear in known:
            assert clear not in stolen
        thief = Sealer(os.urandom(32))
        with api.store.read() as tx:
            for of in SEALED:
                for record in tx.select(of.record):
                    with pytest.raises(SealError):
                        thief.open(of.purpose, getattr(record, of.owner), getattr(record, of.column))


def test_calls_go_on_while_the_root_key_is_rotated(tmp_path: Path) -> None:
    with api_server(tmp_path) as api:
        kms = api.client("kms")
        first = kms.create_key()["KeyMetadata"]["KeyId"]
        old = kms.encrypt(KeyId=first, Plaintext=b"old")["CiphertextBlob"]
        failed: list[BaseException] = []
        made: list[bytes] = []
        rotated = threading.Event()

        def call() -> None:
            try:
                mine: Any = api.client("kms")
                while not rotated.is_set():
                    key_id = mine.create_key()["KeyMetadata"]["KeyId"]
                    made.append(mine.encrypt(KeyId=key_id, Plaintext=b"new")["CiphertextBlob"])
                    assert mine.decrypt(CiphertextBlob=made[-1])["Plaintext"] == b"new"
                    assert mine.decrypt(CiphertextBlob=old)["Plaintext"] == b"old"
                    fresh: Any = api.client("sts", keys=api.create_key(api.account_id))
                    assert fresh.get_caller_identity()["Account"] == api.account_id
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=call) for _ in range(2)]
        for thread in threads:
            thread.start()
        keys = Files(tmp_path / "keys")
        for _ in range(3):
            list(rotate(api.store, Sealer(keys), keys, at_once=True))
        rotated.set()
        for thread in threads:
            thread.join()
        assert failed == []
        assert {kms.decrypt(CiphertextBlob=blob)["Plaintext"] for blob in made} <= {b"new"}
        assert kms.decrypt(CiphertextBlob=old)["Plaintext"] == b"old"
        assert [path.name for path in (tmp_path / "keys").iterdir()] == ["root.4.key"]
