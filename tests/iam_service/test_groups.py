"""Groups and memberships."""

from __future__ import annotations

from typing import Any

from tests.iam_service.refusals import refused


def members(iam: Any, group: str) -> list[str]:
    pages = iam.get_paginator("get_group").paginate(GroupName=group, PaginationConfig={"PageSize": 2})
    return [user["UserName"] for page in pages for user in page["Users"]]


def test_a_group_from_create_to_delete(iam: Any) -> None:
    created = iam.create_group(GroupName="Admins", Path="/staff/")["Group"]
    assert created["Arn"].endswith(":group/staff/Admins")
    assert created["GroupId"].startswith("AGPA")
    assert iam.get_group(GroupName="admins")["Group"] == created
    assert iam.list_groups()["Groups"] == [created]
    assert iam.list_groups(PathPrefix="/x/")["Groups"] == []
    with refused("EntityAlreadyExists", 409):
        iam.create_group(GroupName="ADMINS")
    iam.update_group(GroupName="Admins", NewGroupName="Owners", NewPath="/")
    renamed = iam.get_group(GroupName="owners")["Group"]
    assert (renamed["GroupId"], renamed["Arn"].rpartition(":")[2]) == (created["GroupId"], "group/Owners")
    iam.delete_group(GroupName="Owners")
    with refused("NoSuchEntity", 404):
        iam.get_group(GroupName="Owners")


def test_who_is_in_a_group(iam: Any) -> None:
    for name in ("a", "b", "c"):
        iam.create_user(UserName=name)
        iam.create_group(GroupName=f"group-{name}")
        iam.add_user_to_group(GroupName="group-a", UserName=name)
    iam.add_user_to_group(GroupName="group-a", UserName="a")
    iam.add_user_to_group(GroupName="group-b", UserName="A")
    assert members(iam, "group-a") == ["a", "b", "c"]
    assert [group["GroupName"] for group in iam.list_groups_for_user(UserName="a")["Groups"]] == ["group-a", "group-b"]
    with refused("DeleteConflict", 409) as caught:
        iam.delete_user(UserName="b")
    assert caught.value.response["Error"]["Message"] == "Cannot delete entity, must remove users from group first."
    with refused("DeleteConflict", 409):
        iam.delete_group(GroupName="group-a")
    iam.remove_user_from_group(GroupName="group-a", UserName="b")
    iam.remove_user_from_group(GroupName="group-a", UserName="b")
    assert members(iam, "group-a") == ["a", "c"]
    iam.delete_user(UserName="b")
    iam.update_user(UserName="a", NewUserName="z")
    assert members(iam, "group-a") == ["c", "z"]
    for group, user in (("group-a", "nobody"), ("nothing", "a")):
        with refused("NoSuchEntity", 404):
            iam.add_user_to_group(GroupName=group, UserName=user)


def test_a_user_is_in_ten_groups_at_most(iam: Any) -> None:
    iam.create_user(UserName="busy")
    for number in range(11):
        iam.create_group(GroupName=f"g{number}")
    for number in range(10):
        iam.add_user_to_group(GroupName=f"g{number}", UserName="busy")
    with refused("LimitExceeded", 409) as caught:
        iam.add_user_to_group(GroupName="g10", UserName="busy")
    assert caught.value.response["Error"]["Message"] == "Cannot exceed quota for GroupsPerUser: 10"
