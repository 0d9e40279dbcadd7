"""Aliases, and the keys that AWS manages behind its own."""

from __future__ import annotations

from typing import Any

from tests.cloudapi import ApiServer
from tests.kms.calls import refused


def test_an_alias_stands_for_its_key(api: ApiServer, kms: Any, key_id: str) -> None:
    kms.create_alias(AliasName="alias/first", TargetKeyId=key_id)
    arn = f"arn:aws:kms:us-east-1:{api.account_id}:alias/first"
    for named in ("alias/first", arn):
        assert kms.describe_key(KeyId=named)["KeyMetadata"]["KeyId"] == key_id
        blob = kms.encrypt(KeyId=named, Plaintext=b"x")["CiphertextBlob"]
        assert kms.decrypt(KeyId=named, CiphertextBlob=blob)["Plaintext"] == b"x"
    (listed,) = kms.list_aliases(KeyId=key_id)["Aliases"]
    assert (listed["AliasName"], listed["AliasArn"], listed["TargetKeyId"]) == ("alias/first", arn, key_id)
    assert listed["CreationDate"] == listed["LastUpdatedDate"]
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.update_alias(AliasName="alias/first", TargetKeyId=other)
    assert kms.describe_key(KeyId="alias/first")["KeyMetadata"]["KeyId"] == other
    assert kms.list_aliases(KeyId=key_id)["Aliases"] == []
    kms.delete_alias(AliasName="alias/first")
    for again in (
        lambda: kms.describe_key(KeyId="alias/first"),
        lambda: kms.delete_alias(AliasName="alias/first"),
        lambda: kms.update_alias(AliasName="alias/first", TargetKeyId=other),
    ):
        with refused("NotFoundException", f"Alias {arn} is not found."):
            again()


def test_aliases_that_can_not_be(api: ApiServer, kms: Any, key_id: str) -> None:
    with refused(
        "ValidationException",
        'Alias must start with the prefix "alias/". Please see '
        "https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html",
    ):
        kms.create_alias(AliasName="first", TargetKeyId=key_id)
    with refused("ValidationException"):
        kms.create_alias(AliasName="alias/a:b", TargetKeyId=key_id)
    with refused("NotAuthorizedException"):
        kms.create_alias(AliasName="alias/aws/mine", TargetKeyId=key_id)
    kms.create_alias(AliasName="alias/taken", TargetKeyId=key_id)
    taken = f"An alias with the name arn:aws:kms:us-east-1:{api.account_id}:alias/taken already exists"
    with refused("AlreadyExistsException", taken):
        kms.create_alias(AliasName="alias/taken", TargetKeyId=key_id)
    with refused("ValidationException", "Aliases must refer to keys. Not aliases"):
        kms.create_alias(AliasName="alias/second", TargetKeyId="alias/taken")
    signing = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    with refused("ValidationException"):
        kms.update_alias(AliasName="alias/taken", TargetKeyId=signing)
    kms.schedule_key_deletion(KeyId=signing)
    with refused("KMSInvalidStateException"):
        kms.create_alias(AliasName="alias/late", TargetKeyId=signing)
    kms.delete_alias(AliasName="alias/taken")


def test_operations_on_keys_alone_take_no_alias(kms: Any, key_id: str) -> None:
    kms.create_alias(AliasName="alias/name-only", TargetKeyId=key_id)
    with refused("NotFoundException", "Invalid keyId 'alias/name-only'"):
        kms.disable_key(KeyId="alias/name-only")
    kms.delete_alias(AliasName="alias/name-only")


def test_aws_managed_keys_appear_on_first_use(api: ApiServer) -> None:
    account_id, keys = api.create_account()
    kms = api.client("kms", keys=keys)
    listed = kms.list_aliases()["Aliases"]
    assert {"alias/aws/ebs", "alias/aws/rds", "alias/aws/s3"} <= {alias["AliasName"] for alias in listed}
    assert not any("TargetKeyId" in alias for alias in listed)
    assert kms.list_keys()["Keys"] == []
    made = kms.describe_key(KeyId="alias/aws/ebs")["KeyMetadata"]
    assert (made["KeyManager"], made["KeyState"]) == ("AWS", "Enabled")
    assert made["Description"] == "Default key that protects my EBS volumes when no other key is defined"
    named = f"arn:aws:kms:us-east-1:{account_id}:alias/aws/ebs"
    assert kms.describe_key(KeyId=named)["KeyMetadata"] == made
    assert [key["KeyId"] for key in kms.list_keys()["Keys"]] == [made["KeyId"]]
    targets = {alias["AliasName"]: alias.get("TargetKeyId") for alias in kms.list_aliases()["Aliases"]}
    assert targets["alias/aws/ebs"] == made["KeyId"]
    assert targets["alias/aws/s3"] is None
    status = kms.get_key_rotation_status(KeyId=made["KeyId"])
    assert (status["KeyRotationEnabled"], status["RotationPeriodInDays"]) == (True, 365)
    with refused("AccessDeniedException"):
        kms.delete_alias(AliasName="alias/aws/ebs")
    with refused("AccessDeniedException"):
        kms.create_alias(AliasName="alias/mine", TargetKeyId=made["KeyId"])
    with refused("NotFoundException"):
        kms.describe_key(KeyId="alias/aws/nosuch")


def test_aliases_are_listed_in_pages(api: ApiServer) -> None:
    _, keys = api.create_account()
    kms = api.client("kms", keys=keys)
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    mine = [f"alias/a{n}" for n in range(3)] + ["alias/z"]
    for name in mine:
        kms.create_alias(AliasName=name, TargetKeyId=key_id)
    whole = [alias["AliasName"] for alias in kms.list_aliases()["Aliases"]]
    assert whole == sorted(whole)
    assert set(mine) < set(whole)
    pages = list(kms.get_paginator("list_aliases").paginate(PaginationConfig={"PageSize": 2}))
    assert [alias["AliasName"] for page in pages for alias in page["Aliases"]] == whole
    assert pages[-1]["Truncated"] is False
    with refused("ValidationException"):
        kms.list_aliases(Limit=101)
