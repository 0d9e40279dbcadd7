"""Keys: making them, finding them by every kind of name, their states."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest

from tests.cloudapi import ApiServer
from tests.kms.calls import refused


def test_a_symmetric_key_is_described_as_aws_does(api: ApiServer, kms: Any) -> None:
    made = kms.create_key(Description="payroll")["KeyMetadata"]
    arn = f"arn:aws:kms:us-east-1:{api.account_id}:key/{made['KeyId']}"
    assert {name: value for name, value in made.items() if name not in ("CreationDate", "CurrentKeyMaterialId")} == {
        "AWSAccountId": api.account_id,
        "Arn": arn,
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "Description": "payroll",
        "Enabled": True,
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        "KeyId": str(uuid.UUID(made["KeyId"])),
        "KeyManager": "CUSTOMER",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "KeyState": "Enabled",
        "KeyUsage": "ENCRYPT_DECRYPT",
        "MultiRegion": False,
        "Origin": "AWS_KMS",
    }
    assert len(made["CurrentKeyMaterialId"]) == 64
    assert kms.describe_key(KeyId=made["KeyId"])["KeyMetadata"] == made
    assert kms.describe_key(KeyId=arn)["KeyMetadata"] == made


@pytest.mark.parametrize(
    ("spec", "usage", "member", "algorithms"),
    [
        ("RSA_2048", "ENCRYPT_DECRYPT", "EncryptionAlgorithms", ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"]),
        ("ECC_NIST_P256", "SIGN_VERIFY", "SigningAlgorithms", ["ECDSA_SHA_256"]),
        ("ECC_NIST_P384", "KEY_AGREEMENT", "KeyAgreementAlgorithms", ["ECDH"]),
        ("ECC_SECG_P256K1", "SIGN_VERIFY", "SigningAlgorithms", ["ECDSA_SHA_256"]),
        ("HMAC_512", "GENERATE_VERIFY_MAC", "MacAlgorithms", ["HMAC_SHA_512"]),
    ],
)
def test_what_a_key_can_do(kms: Any, spec: str, usage: str, member: str, algorithms: list[str]) -> None:
    made = kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]
    assert (made["KeySpec"], made["CustomerMasterKeySpec"], made["KeyUsage"]) == (spec, spec, usage)
    assert made[member] == algorithms
    assert "CurrentKeyMaterialId" not in made


def test_keys_that_can_not_be(kms: Any) -> None:
    with refused(
        "ValidationException",
        "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.",
    ):
        kms.create_key(KeySpec="HMAC_256")
    with refused("ValidationException", "KeyUsage ENCRYPT_DECRYPT is not compatible with KeySpec ECC_NIST_P256"):
        kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="ENCRYPT_DECRYPT")
    with refused("ValidationException", "KeyUsage KEY_AGREEMENT is not compatible with KeySpec ECC_SECG_P256K1"):
        kms.create_key(KeySpec="ECC_SECG_P256K1", KeyUsage="KEY_AGREEMENT")
    with refused("ValidationException"):
        kms.create_key(KeySpec="SYMMETRIC_DEFAULT", CustomerMasterKeySpec="SYMMETRIC_DEFAULT")
    for unbuilt in ({"MultiRegion": True}, {"Origin": "AWS_CLOUDHSM"}, {"CustomKeyStoreId": "cks-1"}):
        with refused("UnsupportedOperation"):
            kms.create_key(**unbuilt)
    with refused("UnsupportedOperation", "A key whose KeySpec is ML_DSA_44 is not supported by this cloud."):
        kms.create_key(KeySpec="ML_DSA_44", KeyUsage="SIGN_VERIFY")


def test_keys_that_are_not_there(api: ApiServer, kms: Any, key_id: str) -> None:
    missing = str(uuid.uuid4())
    arn = f"arn:aws:kms:us-east-1:{api.account_id}:key/{missing}"
    for named in (missing, arn):
        with refused("NotFoundException", f"Key '{arn}' does not exist"):
            kms.describe_key(KeyId=named)
    with refused("NotFoundException", "Invalid keyId 'fake-key-id'"):
        kms.describe_key(KeyId="fake-key-id")
    with refused("NotFoundException", f"Alias arn:aws:kms:us-east-1:{api.account_id}:alias/none is not found."):
        kms.describe_key(KeyId="alias/none")
    with refused("NotFoundException", "Invalid arn eu-west-1"):
        kms.describe_key(KeyId=f"arn:aws:kms:eu-west-1:{api.account_id}:key/{key_id}")
    with refused("InvalidArnException"):
        kms.describe_key(KeyId="arn:aws:kms:us-east-1:1:key/x")
    with refused("NotFoundException"):
        api.client("kms", region="eu-west-1").describe_key(KeyId=key_id)
    _, keys = api.create_account()
    stranger = api.client("kms", keys=keys)
    with refused("NotFoundException"):
        stranger.describe_key(KeyId=key_id)
    with refused("AccessDeniedException"):
        stranger.describe_key(KeyId=f"arn:aws:kms:us-east-1:{api.account_id}:key/{key_id}")


def test_keys_are_listed_in_pages(api: ApiServer) -> None:
    _, keys = api.create_account()
    kms = api.client("kms", keys=keys)
    assert kms.list_keys()["Keys"] == []
    made = sorted(kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(5))
    pages = list(kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2}))
    assert [len(page["Keys"]) for page in pages] == [2, 2, 1]
    assert [key["KeyId"] for page in pages for key in page["Keys"]] == made
    assert all(key["KeyArn"].endswith(f":key/{key['KeyId']}") for page in pages for key in page["Keys"])
    assert kms.list_keys(ResourceOwners=["OTHER_ACCOUNTS_VIA_RAM"])["Keys"] == []
    with refused("InvalidMarkerException"):
        kms.list_keys(Marker="no marker")


def test_description_and_tags(kms: Any) -> None:
    tags = [{"TagKey": "stage", "TagValue": "test"}, {"TagKey": "team", "TagValue": ""}]
    key_id = kms.create_key(Tags=tags)["KeyMetadata"]["KeyId"]
    kms.update_key_description(KeyId=key_id, Description="new")
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["Description"] == "new"
    assert kms.list_resource_tags(KeyId=key_id)["Tags"] == tags
    kms.tag_resource(KeyId=key_id, Tags=[{"TagKey": "stage", "TagValue": "live"}])
    kms.untag_resource(KeyId=key_id, TagKeys=["team", "none"])
    assert kms.list_resource_tags(KeyId=key_id)["Tags"] == [{"TagKey": "stage", "TagValue": "live"}]
    with refused("TagException"):
        kms.tag_resource(KeyId=key_id, Tags=[{"TagKey": "aws:x", "TagValue": ""}])
    with refused("TagException", "Duplicate tag keys"):
        kms.create_key(Tags=[{"TagKey": "a", "TagValue": "1"}, {"TagKey": "a", "TagValue": "2"}])
    with refused("LimitExceededException"):
        kms.tag_resource(KeyId=key_id, Tags=[{"TagKey": f"k{n}", "TagValue": ""} for n in range(50)])


def test_tags_of_keys_are_not_among_ec2s(api: ApiServer, kms: Any) -> None:
    kms.create_key(Tags=[{"TagKey": "only-kms", "TagValue": ""}])
    assert api.client("ec2").describe_tags(Filters=[{"Name": "key", "Values": ["only-kms"]}])["Tags"] == []


def test_a_disabled_key_is_not_used(kms: Any, key_id: str) -> None:
    arn = kms.describe_key(KeyId=key_id)["KeyMetadata"]["Arn"]
    kms.disable_key(KeyId=key_id)
    described = kms.describe_key(KeyId=key_id)["KeyMetadata"]
    assert (described["KeyState"], described["Enabled"]) == ("Disabled", False)
    with refused("DisabledException", f"{arn} is disabled."):
        kms.encrypt(KeyId=key_id, Plaintext=b"x")
    kms.enable_key(KeyId=key_id)
    assert kms.encrypt(KeyId=key_id, Plaintext=b"x")["KeyId"] == arn


def test_deletion_is_scheduled_and_cancelled(kms: Any, key_id: str) -> None:
    arn = kms.describe_key(KeyId=key_id)["KeyMetadata"]["Arn"]
    for days in (6, 31):
        with refused("ValidationException"):
            kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=days)
    with refused("KMSInvalidStateException", f"{arn} is not pending deletion."):
        kms.cancel_key_deletion(KeyId=key_id)
    scheduled = kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    assert (scheduled["KeyId"], scheduled["KeyState"], scheduled["PendingWindowInDays"]) == (arn, "PendingDeletion", 7)
    in_a_week = dt.datetime.now(dt.UTC) + dt.timedelta(days=7)
    assert abs(scheduled["DeletionDate"] - in_a_week) < dt.timedelta(minutes=5)
    described = kms.describe_key(KeyId=key_id)["KeyMetadata"]
    assert described["DeletionDate"] == scheduled["DeletionDate"]
    pending = f"{arn} is pending deletion."
    for call, more in (
        ("encrypt", {"Plaintext": b"x"}),
        ("enable_key", {}),
        ("disable_key", {}),
        ("schedule_key_deletion", {}),
        ("update_key_description", {"Description": ""}),
        ("tag_resource", {"Tags": [{"TagKey": "a", "TagValue": ""}]}),
    ):
        with refused("KMSInvalidStateException", pending):
            getattr(kms, call)(KeyId=key_id, **more)
    assert kms.cancel_key_deletion(KeyId=key_id)["KeyId"] == arn
    described = kms.describe_key(KeyId=key_id)["KeyMetadata"]
    assert described["KeyState"] == "Disabled"
    assert "DeletionDate" not in described
