"""Who may use a key: its policy, IAM policies where it leaves it to them, grants; conditions on all of them."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from tests.cloudapi import ApiServer
from tests.kms.calls import refused

DENIED = "AccessDeniedException"
_numbers = itertools.count()


class Someone:
    """An IAM user of an account, and their client of KMS."""

    def __init__(self, api: ApiServer, *, root: Any = None, account_id: str = "") -> None:
        self.name = f"user-{next(_numbers)}"
        self.account_id = account_id or api.account_id
        self.iam = api.client("iam", keys=root)
        self.kms: Any = api.client("kms", keys=api.create_user(self.name, self.account_id))  # type: ignore[arg-type]
        self.arn = f"arn:aws:iam::{self.account_id}:user/{self.name}"

    def may(self, *actions: str, effect: str = "Allow", resource: str = "*", **condition: Any) -> None:
        """Give them a policy of one statement."""
        statement = {"Effect": effect, "Action": actions, "Resource": resource, "Condition": condition}
        document = json.dumps({"Version": "2012-10-17", "Statement": statement})
        self.iam.put_user_policy(UserName=self.name, PolicyName=f"p{next(_numbers)}", PolicyDocument=document)


@pytest.fixture
def alice(api: ApiServer) -> Someone:
    return Someone(api)


def put(kms: Any, key_id: str, *statements: dict[str, Any], account_id: str = "") -> None:
    """The default policy and further statements."""
    default = json.loads(kms.get_key_policy(KeyId=key_id)["Policy"])
    default["Statement"] = [default["Statement"][0], *statements]
    kms.put_key_policy(KeyId=key_id, Policy=json.dumps(default))


def allow(principal: str, *actions: str, **condition: Any) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Principal": {"AWS": principal},
        "Action": actions,
        "Resource": "*",
        "Condition": condition,
    }


def test_the_default_policy_leaves_it_to_iam(kms: Any, key_id: str, alice: Someone) -> None:
    arn = kms.describe_key(KeyId=key_id)["KeyMetadata"]["Arn"]
    denied = (
        f"User: {alice.arn} is not authorized to perform: kms:Encrypt on resource: {arn} because no identity-based "
        "policy allows the kms:Encrypt action"
    )
    with refused(DENIED, denied):
        alice.kms.encrypt(KeyId=key_id, Plaintext=b"x")
    alice.may("kms:Encrypt", resource=arn)
    blob = alice.kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    with refused(DENIED):
        alice.kms.decrypt(CiphertextBlob=blob)
    alice.may("kms:Decrypt", resource=arn)
    assert alice.kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    alice.may("kms:*", effect="Deny")
    with refused(DENIED):
        alice.kms.decrypt(CiphertextBlob=blob)


def test_a_key_policy_alone_is_enough_and_without_it_nothing_is(kms: Any, key_id: str, alice: Someone) -> None:
    put(kms, key_id, allow(alice.arn, "kms:GenerateDataKey*"))
    assert alice.kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")["Plaintext"]
    with refused(DENIED):
        alice.kms.describe_key(KeyId=key_id)
    locked = json.dumps({"Statement": [allow(alice.arn, "kms:*")]})
    kms.put_key_policy(KeyId=key_id, Policy=locked, BypassPolicyLockoutSafetyCheck=True)
    with refused(DENIED):
        kms.describe_key(KeyId=key_id)  # not even root
    assert alice.kms.describe_key(KeyId=key_id)


def test_encryption_context_in_conditions(kms: Any, key_id: str, alice: Someone) -> None:
    put(
        kms,
        key_id,
        allow(alice.arn, "kms:Encrypt", StringEquals={"kms:EncryptionContext:tenant": "a"}),
        allow(
            alice.arn,
            "kms:GenerateDataKey",
            **{"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["tenant"]}},
            StringEquals={"kms:EncryptionAlgorithm": "SYMMETRIC_DEFAULT", "kms:KeySpec": "SYMMETRIC_DEFAULT"},
        ),
    )
    assert alice.kms.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionContext={"tenant": "a", "more": "b"})
    for wrong in ({}, {"tenant": "b"}):
        with refused(DENIED):
            alice.kms.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionContext=wrong)
    assert alice.kms.generate_data_key(KeyId=key_id, KeySpec="AES_256", EncryptionContext={"tenant": "z"})
    with refused(DENIED):
        alice.kms.generate_data_key(KeyId=key_id, KeySpec="AES_256", EncryptionContext={"other": "z"})


def test_aliases_and_tags_in_conditions(kms: Any, key_id: str, alice: Someone) -> None:
    alias = f"alias/{alice.name}"
    alice.may("kms:Encrypt", StringEquals={"kms:RequestAlias": alias})
    alice.may("kms:DescribeKey", **{"ForAnyValue:StringEquals": {"kms:ResourceAliases": [alias]}})
    alice.may("kms:GetKeyPolicy", StringEquals={"aws:ResourceTag/team": "red"})
    for call, more in (("encrypt", {"Plaintext": b"x"}), ("describe_key", {}), ("get_key_policy", {})):
        with refused(DENIED):
            getattr(alice.kms, call)(KeyId=key_id, **more)
    kms.create_alias(AliasName=alias, TargetKeyId=key_id)
    kms.tag_resource(KeyId=key_id, Tags=[{"TagKey": "team", "TagValue": "red"}])
    assert alice.kms.encrypt(KeyId=alias, Plaintext=b"x")
    assert alice.kms.describe_key(KeyId=key_id)
    assert alice.kms.get_key_policy(KeyId=key_id)
    with refused(DENIED):
        alice.kms.encrypt(KeyId=key_id, Plaintext=b"x")
    with refused(DENIED):  # an alias needs both: the alias itself and the key
        alice.kms.delete_alias(AliasName=alias)
    alice.may("kms:DeleteAlias", resource=kms.list_aliases(KeyId=key_id)["Aliases"][0]["AliasArn"])
    with refused(DENIED):
        alice.kms.delete_alias(AliasName=alias)
    alice.may("kms:DeleteAlias", resource=kms.describe_key(KeyId=key_id)["KeyMetadata"]["Arn"])
    alice.kms.delete_alias(AliasName=alias)


def test_tags_on_a_new_key_need_a_permission_of_their_own(api: ApiServer, alice: Someone) -> None:
    alice.may("kms:CreateKey", StringEquals={"kms:KeySpec": "SYMMETRIC_DEFAULT"})
    tags = [{"TagKey": "a", "TagValue": "b"}]
    assert alice.kms.create_key()
    with refused(DENIED):
        alice.kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    with refused(DENIED):
        alice.kms.create_key(Tags=tags)
    alice.may("kms:TagResource")
    assert alice.kms.create_key(Tags=tags)


def test_a_grant_opens_a_key(kms: Any, key_id: str, alice: Someone) -> None:
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    grant = kms.create_grant(
        KeyId=key_id,
        GranteePrincipal=alice.arn,
        Operations=["Encrypt", "Decrypt", "DescribeKey", "RetireGrant", "ReEncryptFrom"],
        Constraints={"EncryptionContextSubset": {"tenant": "a"}},
    )
    context = {"tenant": "a", "more": "b"}
    blob = alice.kms.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionContext=context)["CiphertextBlob"]
    assert alice.kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"x"
    assert alice.kms.describe_key(KeyId=key_id)
    for call, more in (
        ("encrypt", {"KeyId": key_id, "Plaintext": b"x"}),
        ("encrypt", {"KeyId": key_id, "Plaintext": b"x", "EncryptionContext": {"tenant": "b"}}),
        ("encrypt", {"KeyId": other, "Plaintext": b"x", "EncryptionContext": context}),
        ("generate_data_key", {"KeyId": key_id, "KeySpec": "AES_256", "EncryptionContext": context}),
        ("list_grants", {"KeyId": key_id}),
        ("revoke_grant", {"KeyId": key_id, "GrantId": grant["GrantId"]}),
    ):
        with refused(DENIED):
            getattr(alice.kms, call)(**more)
    moved = {"CiphertextBlob": blob, "SourceEncryptionContext": context, "DestinationKeyId": other}
    with refused(DENIED):  # from, but not to
        alice.kms.re_encrypt(**moved)
    kms.create_grant(KeyId=other, GranteePrincipal=alice.arn, Operations=["ReEncryptTo"])
    assert alice.kms.re_encrypt(**moved)
    alice.may("kms:Encrypt", effect="Deny")
    with refused(DENIED):
        alice.kms.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionContext=context)
    alice.kms.retire_grant(GrantToken=grant["GrantToken"])
    with refused(DENIED):
        alice.kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)


def test_who_may_grant_may_not_grant_more(kms: Any, key_id: str, api: ApiServer, alice: Someone) -> None:
    bob = Someone(api)
    kms.create_grant(
        KeyId=key_id,
        GranteePrincipal=alice.arn,
        Operations=["Encrypt", "CreateGrant"],
        Constraints={"EncryptionContextSubset": {"tenant": "a"}},
    )
    asked = {"KeyId": key_id, "GranteePrincipal": bob.arn, "Operations": ["Encrypt"]}
    for wrong in ({}, {"Operations": ["Decrypt"], "Constraints": {"EncryptionContextSubset": {"tenant": "a"}}}):
        with refused(DENIED):
            alice.kms.create_grant(**(asked | wrong))
    alice.kms.create_grant(**asked, Constraints={"EncryptionContextEquals": {"tenant": "a", "more": "b"}})
    assert bob.kms.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionContext={"tenant": "a", "more": "b"})
    with refused(DENIED):
        bob.kms.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionContext={"tenant": "a"})


def test_another_account_needs_the_key_policy_and_its_own(api: ApiServer, kms: Any, key_id: str) -> None:
    account_id, root = api.create_account()
    stranger = Someone(api, root=root, account_id=account_id)
    arn = kms.describe_key(KeyId=key_id)["KeyMetadata"]["Arn"]
    stranger.may("kms:*")
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    for call, more in (
        ("encrypt", {"KeyId": arn, "Plaintext": b"x"}),
        ("decrypt", {"CiphertextBlob": blob}),
        ("list_grants", {"KeyId": arn}),
        ("disable_key", {"KeyId": arn}),
        ("put_key_policy", {"KeyId": arn, "Policy": "{}"}),
    ):
        with refused(DENIED):
            getattr(stranger.kms, call)(**more)
    put(kms, key_id, allow(f"arn:aws:iam::{account_id}:root", "kms:Encrypt", "kms:Decrypt", "kms:CreateGrant"))
    assert stranger.kms.encrypt(KeyId=arn, Plaintext=b"x")["KeyId"] == arn
    assert stranger.kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    with refused(DENIED):
        stranger.kms.disable_key(KeyId=arn)
    other = Someone(api, root=root, account_id=account_id)
    with refused(DENIED):  # their own account does not let them
        other.kms.decrypt(CiphertextBlob=blob)
    stranger.kms.create_grant(KeyId=arn, GranteePrincipal=other.arn, Operations=["Decrypt"])
    assert other.kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    (grant,) = kms.list_grants(KeyId=key_id)["Grants"]
    assert grant["IssuingAccount"] == f"arn:aws:iam::{account_id}:root"


def test_an_aws_managed_key_serves_its_service_alone(kms: Any) -> None:
    made = kms.describe_key(KeyId="alias/aws/ebs")["KeyMetadata"]["KeyId"]
    assert kms.get_key_policy(KeyId=made)
    for call, more in (
        ("generate_data_key", {"KeySpec": "AES_256"}),
        ("disable_key", {}),
        ("schedule_key_deletion", {}),
        ("put_key_policy", {"Policy": "{}"}),
        ("disable_key_rotation", {}),
    ):
        with refused(DENIED):
            getattr(kms, call)(KeyId=made, **more)


def test_who_retires_is_named_by_the_grant(api: ApiServer, kms: Any, key_id: str, alice: Someone) -> None:
    arn = kms.describe_key(KeyId=key_id)["KeyMetadata"]["Arn"]
    bob = Someone(api)
    asked = {"KeyId": key_id, "GranteePrincipal": alice.arn, "RetiringPrincipal": bob.arn, "Operations": ["Encrypt"]}
    grant = kms.create_grant(**asked)
    with refused(DENIED):
        alice.kms.retire_grant(KeyId=arn, GrantId=grant["GrantId"])
    bob.kms.retire_grant(KeyId=arn, GrantId=grant["GrantId"])
    assert kms.list_grants(KeyId=key_id)["Grants"] == []
