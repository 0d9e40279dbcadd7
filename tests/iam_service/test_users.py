"""Users and their tags, as boto3 and Terraform use them."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloudapi import ApiServer
from tests.iam_service.refusals import refused


def names(iam: Any, **request: Any) -> list[str]:
    return [user["UserName"] for page in iam.get_paginator("list_users").paginate(**request) for user in page["Users"]]


def test_a_user_from_create_to_delete(iam: Any) -> None:
    created = iam.create_user(UserName="Alice", Path="/staff/", Tags=[{"Key": "team", "Value": "web"}])["User"]
    account = iam.get_user()["User"]["UserId"]
    assert created["Arn"] == f"arn:aws:iam::{account}:user/staff/Alice"
    assert created["UserId"].startswith("AIDA")
    assert len(created["UserId"]) == 20
    assert iam.get_user(UserName="alice")["User"] == created  # names are looked up whatever their case
    (listed,) = iam.list_users()["Users"]
    assert listed == {name: value for name, value in created.items() if name != "Tags"}
    iam.delete_user(UserName="Alice")
    assert names(iam) == []
    with refused("NoSuchEntity", 404) as caught:
        iam.get_user(UserName="Alice")
    assert caught.value.response["Error"]["Message"] == "The user with name Alice cannot be found."


def test_a_name_is_taken_whatever_its_case(iam: Any, api: ApiServer) -> None:
    iam.create_user(UserName="alice")
    with refused("EntityAlreadyExists", 409) as caught:
        iam.create_user(UserName="ALICE", Path="/elsewhere/")
    assert caught.value.response["Error"]["Message"] == "User with name ALICE already exists."
    _, keys = api.create_account("another")
    api.client("iam", keys=keys).create_user(UserName="Alice")  # an account has names of its own


@pytest.mark.parametrize(
    "request_",
    [
        {"UserName": "a b"},
        {"UserName": "a" * 65},
        {"UserName": "ü"},
        {"UserName": "a/b"},
        {"UserName": "a", "Path": "staff/"},
        {"UserName": "a", "Path": "/staff"},
        {"UserName": "a", "Path": "/" + "a" * 512 + "/"},
        {"UserName": "a", "Tags": [{"Key": "", "Value": ""}]},
    ],
)
def test_what_the_model_forbids_is_refused(api: ApiServer, request_: dict[str, Any]) -> None:
    client = api.client("iam", parameter_validation=False)
    with refused("ValidationError"):
        client.create_user(**request_)


def test_the_caller_without_a_name(iam: Any, api: ApiServer) -> None:
    root = iam.get_user()["User"]
    assert root["Arn"] == f"arn:aws:iam::{root['UserId']}:root"
    assert root["UserName"] == "lab"


def test_lists_come_in_pages_and_by_path(iam: Any) -> None:
    for name in ("eve", "Bob", "dora", "alice", "Carl"):
        iam.create_user(UserName=name, Path="/a/b/" if name in ("Bob", "dora") else "/A/")
    assert names(iam, PaginationConfig={"PageSize": 2}) == ["alice", "Bob", "Carl", "dora", "eve"]
    assert names(iam, PathPrefix="/a/", PaginationConfig={"PageSize": 1}) == ["Bob", "dora"]
    assert names(iam, PathPrefix="/a") == ["Bob", "dora"]
    assert names(iam, PathPrefix="/%/") == []
    first = iam.list_users(MaxItems=1)
    assert first["IsTruncated"]
    assert iam.list_users(MaxItems=4, Marker=first["Marker"])["IsTruncated"] is False
    for wrong in ("x", "AAAA", "é"):
        with refused("ValidationError"):
            iam.list_users(Marker=wrong)
    with refused("ValidationError"):
        iam.list_users(PathPrefix="/a/", Marker=first["Marker"])  # a marker belongs to what was asked


def test_another_name_and_path(iam: Any) -> None:
    before = iam.create_user(UserName="alice", Tags=[{"Key": "k", "Value": "v"}])["User"]
    iam.create_user(UserName="bob")
    iam.update_user(UserName="alice", NewUserName="Alice", NewPath="/staff/")
    after = iam.get_user(UserName="Alice")["User"]
    assert after["UserId"] == before["UserId"]
    assert after["Arn"].endswith(":user/staff/Alice")
    assert after["Tags"] == before["Tags"]
    with refused("EntityAlreadyExists", 409):
        iam.update_user(UserName="Alice", NewUserName="BOB")
    with refused("NoSuchEntity", 404):
        iam.update_user(UserName="nobody", NewPath="/")


def test_tags_of_a_user(iam: Any) -> None:
    iam.create_user(UserName="alice", Tags=[{"Key": "Team", "Value": "web"}])
    iam.tag_user(UserName="alice", Tags=[{"Key": "team", "Value": "db"}, {"Key": "zone", "Value": ""}])
    # Keys of users differ by more than their case.
    assert iam.list_user_tags(UserName="alice")["Tags"] == [
        {"Key": "team", "Value": "db"},
        {"Key": "zone", "Value": ""},
    ]
    first = iam.list_user_tags(UserName="alice", MaxItems=1)
    rest = iam.list_user_tags(UserName="alice", Marker=first["Marker"])
    assert [first["Tags"][0]["Key"], rest["Tags"][0]["Key"], rest["IsTruncated"]] == ["team", "zone", False]
    iam.untag_user(UserName="alice", TagKeys=["TEAM", "none"])
    assert iam.list_user_tags(UserName="alice")["Tags"] == [{"Key": "zone", "Value": ""}]
    with refused("InvalidInput"):
        iam.tag_user(UserName="alice", Tags=[{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}])
    with refused("InvalidInput"):
        iam.tag_user(UserName="alice", Tags=[{"Key": "aws:x", "Value": "1"}])
    iam.tag_user(UserName="alice", Tags=[{"Key": f"k{n}", "Value": ""} for n in range(49)])
    with refused("LimitExceeded", 409):
        iam.tag_user(UserName="alice", Tags=[{"Key": "one-more", "Value": ""}])
    iam.delete_user(UserName="alice")
    iam.create_user(UserName="alice")
    assert iam.list_user_tags(UserName="alice")["Tags"] == []


def test_a_user_without_policies_may_nothing(api: ApiServer) -> None:
    keys = api.create_user("limited")
    client = api.client("iam", keys=keys)
    for call, resource in (
        (client.get_user, "user/limited"),
        (client.list_users, "user/"),
        (lambda: client.create_user(UserName="x", Path="/y/"), "user/y/x"),
    ):
        with pytest.raises(ClientError, match=f"AccessDenied.*on resource: arn:aws:iam::{api.account_id}:{resource}"):
            call()
