"""Rotation on demand and yearly; what is due when time has come is made by housekeeping."""

from __future__ import annotations

import datetime as dt
from typing import Any

from tests.kms.calls import refused


def test_old_ciphertexts_open_after_a_rotation(kms: Any, key_id: str) -> None:
    first = kms.describe_key(KeyId=key_id)["KeyMetadata"]["CurrentKeyMaterialId"]
    old = kms.encrypt(KeyId=key_id, Plaintext=b"old")["CiphertextBlob"]
    assert kms.rotate_key_on_demand(KeyId=key_id)["KeyId"].endswith(key_id)
    second = kms.describe_key(KeyId=key_id)["KeyMetadata"]["CurrentKeyMaterialId"]
    assert second != first
    new = kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")
    assert new["KeyMaterialId"] == second
    opened = kms.decrypt(CiphertextBlob=old)
    assert (opened["Plaintext"], opened["KeyMaterialId"]) == (b"old", first)
    (rotation,) = kms.list_key_rotations(KeyId=key_id)["Rotations"]
    assert (rotation["KeyMaterialId"], rotation["KeyMaterialState"]) == (second, "CURRENT")
    assert (rotation["RotationType"], rotation["KeyId"]) == ("ON_DEMAND", key_id)
    whole = kms.list_key_rotations(KeyId=key_id, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
    assert [record["KeyMaterialState"] for record in whole] == ["NON_CURRENT", "CURRENT"]
    moved = kms.re_encrypt(CiphertextBlob=old, DestinationKeyId=key_id)
    assert (moved["SourceKeyMaterialId"], moved["DestinationKeyMaterialId"]) == (first, second)


def test_rotations_are_few_and_listed_in_pages(kms: Any, key_id: str) -> None:
    for _ in range(25):
        kms.rotate_key_on_demand(KeyId=key_id)
    with refused("LimitExceededException"):
        kms.rotate_key_on_demand(KeyId=key_id)
    pages = kms.get_paginator("list_key_rotations").paginate(KeyId=key_id, PaginationConfig={"PageSize": 10})
    found = [rotation["KeyMaterialId"] for page in pages for rotation in page["Rotations"]]
    assert len(found) == len(set(found)) == 25


def test_yearly_rotation_is_switched(kms: Any, key_id: str) -> None:
    assert kms.get_key_rotation_status(KeyId=key_id)["KeyRotationEnabled"] is False
    kms.enable_key_rotation(KeyId=key_id)
    status = kms.get_key_rotation_status(KeyId=key_id)
    assert (status["KeyRotationEnabled"], status["RotationPeriodInDays"], status["KeyId"]) == (True, 365, key_id)
    kms.enable_key_rotation(KeyId=key_id, RotationPeriodInDays=90)
    status = kms.get_key_rotation_status(KeyId=key_id)
    in_90_days = dt.datetime.now(dt.UTC) + dt.timedelta(days=90)
    assert abs(status["NextRotationDate"] - in_90_days) < dt.timedelta(minutes=5)
    kms.schedule_key_deletion(KeyId=key_id)
    assert kms.get_key_rotation_status(KeyId=key_id)["KeyRotationEnabled"] is False
    kms.cancel_key_deletion(KeyId=key_id)
    assert kms.get_key_rotation_status(KeyId=key_id)["KeyRotationEnabled"] is True
    with refused("DisabledException"):
        kms.disable_key_rotation(KeyId=key_id)
    kms.enable_key(KeyId=key_id)
    kms.disable_key_rotation(KeyId=key_id)
    assert kms.get_key_rotation_status(KeyId=key_id)["KeyRotationEnabled"] is False


def test_only_symmetric_keys_rotate(kms: Any) -> None:
    key_id = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
    for call in ("enable_key_rotation", "get_key_rotation_status", "rotate_key_on_demand", "list_key_rotations"):
        with refused("UnsupportedOperationException"):
            getattr(kms, call)(KeyId=key_id)
