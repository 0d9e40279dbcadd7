"""What housekeeping does with keys when their time has come."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any

import pytest

from freehold.control.accounts import create_account
from freehold.control.keys import keep_keys
from freehold.records.keys import Key, KeyAlias, KeyGrant, KeyMaterial
from freehold.records.root_keys import RETIRED_SECONDS, Files
from freehold.records.root_rotation import rotate
from freehold.records.secrets import Sealer
from freehold.records.store import Store
from freehold.records.tags import Tag
from freehold.services.kms import materials
from tests.ec2.calls import SEALER, Caller, refused
from tests.front.audited import written

A_DAY = dt.timedelta(days=1)


@pytest.fixture
def kms(store: Store) -> Caller:
    return Caller(store)


def made(kms: Caller, **asked: Any) -> str:
    created: str = kms.create_key(**asked)["KeyMetadata"]["KeyId"]
    return created


def changed(kms: Caller, key_id: str, **changes: dt.timedelta) -> None:
    """Set moments of a key, from now."""
    with kms.store.write() as tx:
        key = tx.get(Key, key_id)
        assert key is not None
        tx.update(key, **{name: tx.now + offset for name, offset in changes.items()})


def acts(store: Store) -> list[tuple[str, str]]:
    """What the trail says that KMS has done by itself, and to which keys."""
    found = [record for record in written(store) if record["eventType"] == "AwsServiceEvent"]
    return [(record["eventName"], record["resources"][0]["ARN"].rpartition("/")[2]) for record in found]


def test_a_key_is_deleted_with_all_of_it_when_it_is_due(kms: Caller, tmp_path: Path) -> None:
    doomed, later = made(kms, Tags=[{"TagKey": "a", "TagValue": "b"}]), made(kms)
    kms.create_alias(AliasName="alias/doomed", TargetKeyId=doomed)
    kms.create_grant(KeyId=doomed, GranteePrincipal="arn:aws:iam::111122223333:root", Operations=["Decrypt"])
    blob = kms.encrypt(KeyId=doomed, Plaintext=b"lost")["CiphertextBlob"]
    for key_id in (doomed, later):
        kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    changed(kms, doomed, deletion_at=-A_DAY)
    keep_keys(kms.store, SEALER, Files(tmp_path / "keys"))
    assert kms.describe_key(KeyId=later)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    assert acts(kms.store) == [("DeleteKey", doomed)]
    with refused("NotFoundException"):
        kms.describe_key(KeyId=doomed)
    with refused("AccessDeniedException"):
        kms.decrypt(CiphertextBlob=blob)
    with kms.store.read() as tx:
        for kind in (KeyMaterial, KeyAlias, KeyGrant):
            assert tx.select(kind, key_id=doomed) == []
        assert tx.select(Tag, resource_id=doomed) == []


def test_keys_rotate_yearly_while_they_are_enabled(kms: Caller, tmp_path: Path) -> None:
    rotating, disabled, still = made(kms), made(kms), made(kms)
    for key_id in (rotating, disabled):
        kms.enable_key_rotation(KeyId=key_id, RotationPeriodInDays=90)
        changed(kms, key_id, rotates_at=-A_DAY)
    kms.disable_key(KeyId=disabled)
    old = kms.encrypt(KeyId=rotating, Plaintext=b"old")["CiphertextBlob"]
    for _ in range(2):  # once: the next is due in 90 days
        keep_keys(kms.store, SEALER, Files(tmp_path / "keys"))
    assert acts(kms.store) == [("RotateKey", rotating)]
    (rotation,) = kms.list_key_rotations(KeyId=rotating)["Rotations"]
    assert (rotation["RotationType"], rotation["KeyMaterialState"]) == ("AUTOMATIC", "CURRENT")
    assert kms.decrypt(CiphertextBlob=old)["Plaintext"] == b"old"
    status = kms.get_key_rotation_status(KeyId=rotating)
    assert status["NextRotationDate"] - rotation["RotationDate"] == dt.timedelta(days=90)
    assert kms.list_key_rotations(KeyId=disabled)["Rotations"] == []
    assert kms.list_key_rotations(KeyId=still)["Rotations"] == []
    kms.enable_key(KeyId=disabled)
    keep_keys(kms.store, SEALER, Files(tmp_path / "keys"))
    assert len(kms.list_key_rotations(KeyId=disabled)["Rotations"]) == 1


def test_a_root_key_goes_when_no_token_can_need_it_any_more(store: Store, tmp_path: Path) -> None:
    keys = Files(tmp_path / "keys")
    sealer = Sealer(keys)
    with store.write() as tx:
        create_account(tx, sealer, "lab")
    list(rotate(store, sealer, keys))
    keep_keys(store, sealer, keys)
    assert [generation.retired for generation in keys.generations()] == [False, True]
    long_ago = dt.datetime.now().timestamp() - RETIRED_SECONDS - 1
    os.utime(keys.generations()[1].path, (long_ago, long_ago))
    keep_keys(store, sealer, keys)
    assert [generation.number for generation in keys.generations()] == [2]


def test_imported_material_expires(kms: Caller, tmp_path: Path) -> None:
    key_id = made(kms, Origin="EXTERNAL")
    with kms.store.write() as tx:
        key = tx.get(Key, key_id)
        assert key is not None
        record = materials.sealed(tx, SEALER, key, 1, bytes(32))
        tx.insert(record)
        tx.update(record, expires_at=tx.now - A_DAY)
        tx.update(key, material_id=record.id, state="Enabled")
    with refused("KMSInvalidStateException"):  # at once, before anyone has looked after it
        kms.encrypt(KeyId=key_id, Plaintext=b"x")
    keep_keys(kms.store, SEALER, Files(tmp_path / "keys"))
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "PendingImport"
    assert acts(kms.store) == [("DeleteExpiredKeyMaterial", key_id)]
    with kms.store.read() as tx:
        (left,) = tx.select(KeyMaterial, key_id=key_id)
    assert left.sealed is None
