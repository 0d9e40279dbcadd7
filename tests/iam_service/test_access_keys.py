"""Access keys: they sign until they are inactive or deleted, and what they were used for is known."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError

from freehold.records.sessions import Holder
from tests.cloudapi import ApiServer, Keys
from tests.iam_service.documents import EC2
from tests.iam_service.refusals import refused


def keys_of(created: dict[str, Any]) -> Keys:
    return Keys(created["AccessKeyId"], created["SecretAccessKey"])


def arn_of(api: ApiServer, keys: Keys) -> str:
    arn: str = api.client("sts", keys=keys).get_caller_identity()["Arn"]
    return arn


def test_a_key_signs_until_it_is_inactive_or_deleted(iam: Any, api: ApiServer) -> None:
    iam.create_user(UserName="alice", Path="/staff/")
    created = iam.create_access_key(UserName="alice")["AccessKey"]
    assert (created["UserName"], created["Status"]) == ("alice", "Active")
    keys = keys_of(created)
    assert arn_of(api, keys).endswith(":user/staff/alice")
    iam.update_access_key(UserName="alice", AccessKeyId=keys.access_key_id, Status="Inactive")
    (listed,) = iam.list_access_keys(UserName="alice")["AccessKeyMetadata"]
    assert listed == {name: value for name, value in created.items() if name != "SecretAccessKey"} | {
        "Status": "Inactive"
    }
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        arn_of(api, keys)
    iam.update_access_key(UserName="alice", AccessKeyId=keys.access_key_id, Status="Active")
    assert arn_of(api, keys).endswith(":user/staff/alice")
    with refused("DeleteConflict", 409) as caught:
        iam.delete_user(UserName="alice")
    assert caught.value.response["Error"]["Message"] == "Cannot delete entity, must delete access keys first."
    iam.delete_access_key(UserName="alice", AccessKeyId=keys.access_key_id)
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        arn_of(api, keys)
    assert iam.list_access_keys(UserName="alice")["AccessKeyMetadata"] == []
    iam.delete_user(UserName="alice")


def test_two_at_most(iam: Any) -> None:
    iam.create_user(UserName="alice")
    first, second = (iam.create_access_key(UserName="alice")["AccessKey"] for _ in range(2))
    iam.update_access_key(UserName="alice", AccessKeyId=first["AccessKeyId"], Status="Inactive")
    with refused("LimitExceeded", 409) as caught:
        iam.create_access_key(UserName="alice")
    assert caught.value.response["Error"]["Message"] == "Cannot exceed quota for AccessKeysPerUser: 2"
    pages = iam.get_paginator("list_access_keys").paginate(UserName="alice", PaginationConfig={"PageSize": 1})
    listed = {key["AccessKeyId"] for page in pages for key in page["AccessKeyMetadata"]}
    assert listed == {first["AccessKeyId"], second["AccessKeyId"]}


def test_two_at_most_of_many_calls_at_once(iam: Any) -> None:
    iam.create_user(UserName="alice")
    made: list[str] = []

    def create() -> None:
        with suppress(iam.exceptions.LimitExceededException):
            made.append(iam.create_access_key(UserName="alice")["AccessKey"]["AccessKeyId"])

    threads = [threading.Thread(target=create) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    listed = [key["AccessKeyId"] for key in iam.list_access_keys(UserName="alice")["AccessKeyMetadata"]]
    assert sorted(listed) == sorted(made)
    assert len(made) == 2


def test_a_key_is_looked_for_at_its_user(iam: Any, api: ApiServer) -> None:
    for name in ("alice", "bob"):
        iam.create_user(UserName=name)
    key_id = iam.create_access_key(UserName="alice")["AccessKey"]["AccessKeyId"]
    for call in (
        lambda: iam.delete_access_key(UserName="bob", AccessKeyId=key_id),
        lambda: iam.update_access_key(UserName="bob", AccessKeyId=key_id, Status="Inactive"),
        lambda: iam.delete_access_key(AccessKeyId=key_id),
        lambda: api.client("iam").get_access_key_last_used(AccessKeyId=key_id),
    ):
        with refused("NoSuchEntity", 404):
            call()
    with refused("ValidationError"):
        iam.update_access_key(UserName="alice", AccessKeyId=key_id, Status="Expired")


def test_the_roots_own_keys(iam: Any, api: ApiServer) -> None:
    (held,) = iam.list_access_keys()["AccessKeyMetadata"]
    second = iam.create_access_key()["AccessKey"]
    assert arn_of(api, keys_of(second)).endswith(":root")
    with refused("LimitExceeded", 409):
        iam.create_access_key()
    iam.delete_access_key(AccessKeyId=held["AccessKeyId"])  # the one that signs this very call
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        iam.list_access_keys()


def test_when_a_key_was_last_used(iam: Any, api: ApiServer) -> None:
    iam.create_user(UserName="alice")
    keys = keys_of(iam.create_access_key(UserName="alice")["AccessKey"])
    never = iam.get_access_key_last_used(AccessKeyId=keys.access_key_id)
    assert (never["UserName"], never["AccessKeyLastUsed"]) == ("alice", {"ServiceName": "N/A", "Region": "N/A"})

    def used_for(service: str) -> dict[str, Any]:
        while True:  # uses are noted behind the calls
            used: dict[str, Any] = iam.get_access_key_last_used(AccessKeyId=keys.access_key_id)["AccessKeyLastUsed"]
            if used["ServiceName"] == service:
                return used
            time.sleep(0.05)

    arn_of(api, keys)
    assert used_for("sts")["Region"] == "us-east-1"
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        api.client("ec2", region="eu-west-1", keys=keys).describe_vpcs()
    assert used_for("ec2")["Region"] == "eu-west-1"
    assert used_for("ec2")["LastUsedDate"] > iam.get_user(UserName="alice")["User"]["CreateDate"]


def test_when_a_role_was_last_used(iam: Any, api: ApiServer) -> None:
    account_id = iam.get_user()["User"]["UserId"]
    role_id = iam.create_role(RoleName="worker", AssumeRolePolicyDocument=EC2)["Role"]["RoleId"]
    assert iam.get_role(RoleName="worker")["Role"].get("RoleLastUsed", {}) == {}
    arn_of(api, api.create_session(Holder(account_id, "role", role_id, "job")))
    while not (used := iam.get_role(RoleName="worker")["Role"].get("RoleLastUsed")):
        time.sleep(0.05)
    assert used["Region"] == "us-east-1"
    assert used["LastUsedDate"] >= iam.get_role(RoleName="worker")["Role"]["CreateDate"]
