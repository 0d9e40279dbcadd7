"""Key policies: the default one, changing it, what is no policy."""

from __future__ import annotations

import json
from typing import Any

from tests.cloudapi import ApiServer
from tests.kms.calls import refused


def statement(principal: object, action: str = "kms:*", **more: object) -> dict[str, object]:
    return {"Effect": "Allow", "Principal": principal, "Action": action, "Resource": "*", **more}


def document(*statements: object) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def test_the_default_policy_leaves_it_to_the_account(api: ApiServer, kms: Any, key_id: str) -> None:
    answer = kms.get_key_policy(KeyId=key_id)
    assert answer["PolicyName"] == "default"
    assert json.loads(answer["Policy"]) == {
        "Version": "2012-10-17",
        "Id": "key-default-1",
        "Statement": [
            {
                "Sid": "Enable IAM User Permissions",
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{api.account_id}:root"},
                "Action": "kms:*",
                "Resource": "*",
            }
        ],
    }
    assert kms.list_key_policies(KeyId=key_id)["PolicyNames"] == ["default"]


def test_a_policy_is_returned_as_it_was_put(api: ApiServer, kms: Any, key_id: str) -> None:
    api.create_user("keeper")
    root = statement({"AWS": api.account_id})
    for named in (f"arn:aws:iam::{api.account_id}:user/keeper", "*"):
        policy = document(root, statement({"AWS": [named]}, "kms:Encrypt", Sid="Use of the key"))
        kms.put_key_policy(KeyId=key_id, PolicyName="default", Policy=policy)
        assert kms.get_key_policy(KeyId=key_id, PolicyName="default")["Policy"] == policy
        made = kms.create_key(Policy=policy)["KeyMetadata"]["KeyId"]
        assert kms.get_key_policy(KeyId=made)["Policy"] == policy


def test_what_is_no_policy(api: ApiServer, kms: Any, key_id: str) -> None:
    root = statement({"AWS": f"arn:aws:iam::{api.account_id}:root"})
    for wrong in (
        "{}",
        "no JSON",
        document(),
        document(root | {"Effect": "Maybe"}),
        document({name: value for name, value in root.items() if name != "Principal"}),
        document(root, statement({"AWS": f"arn:aws:iam::{api.account_id}:user/nobody"})),
        document(root, statement({"AWS": "000000000000"})),
        document(root, statement({"AWS": "arn:aws:iam::1:root"})),
    ):
        for call, named in (("put_key_policy", {"KeyId": key_id}), ("create_key", {})):
            with refused("MalformedPolicyDocumentException"):
                getattr(kms, call)(Policy=wrong, **named)
    with refused("LimitExceededException"):
        kms.put_key_policy(KeyId=key_id, Policy=document(root) + " " * 32768)
    with refused("NotFoundException"):
        kms.get_key_policy(KeyId=key_id, PolicyName="other")


def test_nobody_locks_themselves_out_unless_they_ask_for_it(api: ApiServer, kms: Any, key_id: str) -> None:
    api.create_user("other-keeper")
    locked = document(statement({"AWS": f"arn:aws:iam::{api.account_id}:user/other-keeper"}))
    with refused(
        "MalformedPolicyDocumentException",
        "The new key policy will not allow you to update the key policy in the future.",
    ):
        kms.put_key_policy(KeyId=key_id, Policy=locked)
    kms.put_key_policy(KeyId=key_id, Policy=locked, BypassPolicyLockoutSafetyCheck=True)


def test_the_policy_of_an_aws_managed_key(api: ApiServer, kms: Any) -> None:
    made = kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]["KeyId"]
    through, metadata = json.loads(kms.get_key_policy(KeyId=made)["Policy"])["Statement"]
    assert through["Condition"] == {
        "StringEquals": {"kms:CallerAccount": api.account_id, "kms:ViaService": "s3.us-east-1.amazonaws.com"}
    }
    assert "kms:Encrypt" not in metadata["Action"]
