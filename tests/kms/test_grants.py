"""Grants: making, listing, retiring and revoking them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cloudapi import ApiServer
from tests.kms.calls import refused


@pytest.fixture
def alice(api: ApiServer) -> str:
    return f"arn:aws:iam::{api.account_id}:user/alice"


def test_a_grant_is_listed_as_it_was_made(api: ApiServer, kms: Any, key_id: str, alice: str) -> None:
    made = kms.create_grant(
        KeyId=key_id,
        GranteePrincipal=alice,
        RetiringPrincipal=f"arn:aws:iam::{api.account_id}:role/worker",
        Operations=["Encrypt", "Decrypt", "Encrypt"],
        Constraints={"EncryptionContextSubset": {"tenant": "a"}},
        Name="mine",
    )
    (listed,) = kms.list_grants(KeyId=key_id)["Grants"]
    listed.pop("CreationDate")
    assert listed == {
        "KeyId": f"arn:aws:kms:us-east-1:{api.account_id}:key/{key_id}",
        "GrantId": made["GrantId"],
        "Name": "mine",
        "GranteePrincipal": alice,
        "RetiringPrincipal": f"arn:aws:iam::{api.account_id}:role/worker",
        "IssuingAccount": f"arn:aws:iam::{api.account_id}:root",
        "Operations": ["Encrypt", "Decrypt"],
        "Constraints": {"EncryptionContextSubset": {"tenant": "a"}},
    }
    assert kms.list_grants(KeyId=key_id, GrantId=made["GrantId"])["Grants"]
    assert kms.list_grants(KeyId=key_id, GranteePrincipal=alice)["Grants"]
    assert kms.list_grants(KeyId=key_id, GranteePrincipal=alice + "x")["Grants"] == []
    worker = f"arn:aws:iam::{api.account_id}:role/worker"
    retirable = kms.list_retirable_grants(RetiringPrincipal=worker)["Grants"]
    assert made["GrantId"] in [grant["GrantId"] for grant in retirable]


def test_a_named_grant_is_made_once(kms: Any, key_id: str, alice: str) -> None:
    asked = {"KeyId": key_id, "GranteePrincipal": alice, "Operations": ["Encrypt"], "Name": "once"}
    first, second = kms.create_grant(**asked), kms.create_grant(**asked)
    assert first["GrantId"] == second["GrantId"]
    assert first["GrantToken"] != second["GrantToken"]
    third = kms.create_grant(**(asked | {"Operations": ["Decrypt"]}))
    assert third["GrantId"] != first["GrantId"]
    unnamed = {kms.create_grant(KeyId=key_id, GranteePrincipal=alice, Operations=["Encrypt"])["GrantId"] for _ in "ab"}
    assert len(unnamed) == 2
    pages = kms.get_paginator("list_grants").paginate(KeyId=key_id, PaginationConfig={"PageSize": 1})
    assert len([grant for page in pages for grant in page["Grants"]]) == 4


def test_grants_end(kms: Any, key_id: str, alice: str) -> None:
    arn = kms.describe_key(KeyId=key_id)["KeyMetadata"]["Arn"]
    asked = {"KeyId": key_id, "GranteePrincipal": alice, "Operations": ["Encrypt"]}
    by_token, by_id, revoked = (kms.create_grant(**asked) for _ in range(3))
    with refused("DryRunOperationException"):
        kms.retire_grant(GrantToken=by_token["GrantToken"], DryRun=True)
    kms.retire_grant(GrantToken=by_token["GrantToken"])
    kms.retire_grant(KeyId=arn, GrantId=by_id["GrantId"])
    kms.revoke_grant(KeyId=key_id, GrantId=revoked["GrantId"])
    assert kms.list_grants(KeyId=key_id)["Grants"] == []
    with refused("InvalidGrantTokenException"):
        kms.retire_grant(GrantToken=by_token["GrantToken"])
    with refused("NotFoundException"):
        kms.retire_grant(KeyId=arn, GrantId=by_id["GrantId"])
    with refused("NotFoundException"):
        kms.revoke_grant(KeyId=key_id, GrantId=revoked["GrantId"])
    with refused("InvalidGrantIdException"):
        kms.revoke_grant(KeyId=key_id, GrantId="x")
    with refused("ValidationException"):
        kms.retire_grant(GrantId=by_id["GrantId"])


def test_grants_that_can_not_be(kms: Any, key_id: str, alice: str) -> None:
    asked = {"KeyId": key_id, "GranteePrincipal": alice, "Operations": ["Encrypt"]}
    with refused("ValidationException"):
        kms.create_grant(**(asked | {"Operations": ["Sign"]}))
    with refused("InvalidArnException", "ARN does not refer to a valid principal"):
        kms.create_grant(**(asked | {"GranteePrincipal": "arn:aws:iam::1:user/x"}))
    with refused("ValidationException"):
        kms.create_grant(**asked, Constraints={"EncryptionContextEquals": {str(n): "" for n in range(9)}})
    with refused("UnsupportedOperation"):
        kms.create_grant(KeyId=key_id, GranteeServicePrincipal="ec2.amazonaws.com", Operations=["Encrypt"])
    with refused("DryRunOperationException"):
        kms.create_grant(**asked, DryRun=True)
    signing = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    kms.create_grant(KeyId=signing, GranteePrincipal=alice, Operations=["Sign", "GetPublicKey"])
    for wrong in (["Encrypt"], ["GenerateDataKey"]):
        with refused("ValidationException"):
            kms.create_grant(KeyId=signing, GranteePrincipal=alice, Operations=wrong)
    kms.disable_key(KeyId=key_id)
    with refused("DisabledException"):
        kms.create_grant(**asked)


def test_grant_tokens_have_to_be_true(api: ApiServer, kms: Any, key_id: str, alice: str) -> None:
    made = kms.create_grant(KeyId=key_id, GranteePrincipal=alice, Operations=["Encrypt"])
    assert kms.encrypt(KeyId=key_id, Plaintext=b"x", GrantTokens=[made["GrantToken"]])["CiphertextBlob"]
    for wrong in ("x", made["GrantToken"][:-2] + "AA", "\u00e4"):
        with refused("InvalidGrantTokenException"):
            kms.encrypt(KeyId=key_id, Plaintext=b"x", GrantTokens=[wrong])
        with refused("InvalidGrantTokenException"):
            kms.retire_grant(GrantToken=wrong)
    _, keys = api.create_account()
    with refused("AccessDeniedException"):
        api.client("kms", keys=keys).retire_grant(GrantToken=made["GrantToken"])
