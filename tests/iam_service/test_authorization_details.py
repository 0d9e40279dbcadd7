"""GetAccountAuthorizationDetails: the whole account, page by page."""

from __future__ import annotations

import json
from typing import Any

from tests.iam_service.documents import EC2, allowing
from tests.iam_service.refusals import refused

READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"
LISTS = ("UserDetailList", "GroupDetailList", "RoleDetailList", "Policies")


def made(iam: Any) -> str:
    """An account with some of everything; the ARN of its own policy."""
    own: str = iam.create_policy(PolicyName="own", PolicyDocument=allowing("s3:*"))["Policy"]["Arn"]
    for name in ("alice", "Bob"):
        iam.create_user(UserName=name, PermissionsBoundary=own, Tags=[{"Key": "team", "Value": "web"}])
    iam.create_group(GroupName="staff")
    iam.add_user_to_group(GroupName="staff", UserName="alice")
    iam.put_group_policy(GroupName="staff", PolicyName="look", PolicyDocument=allowing("ec2:Describe*"))
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument=EC2)
    iam.attach_role_policy(RoleName="worker", PolicyArn=READ_ONLY)
    iam.create_instance_profile(InstanceProfileName="web")
    iam.add_role_to_instance_profile(InstanceProfileName="web", RoleName="worker")
    return own


def test_everything_of_an_account(iam: Any) -> None:
    own = made(iam)
    found = iam.get_account_authorization_details()
    alice, bob = found["UserDetailList"]
    assert (alice["UserName"], alice["GroupList"], bob["GroupList"]) == ("alice", ["staff"], [])
    assert alice["PermissionsBoundary"]["PermissionsBoundaryArn"] == own
    assert alice["Tags"] == [{"Key": "team", "Value": "web"}]
    (staff,) = found["GroupDetailList"]
    assert staff["GroupPolicyList"] == [{"PolicyName": "look", "PolicyDocument": json.loads(allowing("ec2:Describe*"))}]
    (worker,) = found["RoleDetailList"]
    assert worker["AttachedManagedPolicies"] == [{"PolicyName": "ReadOnlyAccess", "PolicyArn": READ_ONLY}]
    assert worker["AssumeRolePolicyDocument"] == json.loads(EC2)
    (profile,) = worker["InstanceProfileList"]
    assert (profile["InstanceProfileName"], profile["Roles"][0]["RoleName"]) == ("web", "worker")
    local, everyones = found["Policies"]
    assert (local["Arn"], local["PermissionsBoundaryUsageCount"], everyones["Arn"]) == (own, 2, READ_ONLY)
    assert local["PolicyVersionList"][0]["Document"] == json.loads(allowing("s3:*"))
    assert everyones["AttachmentCount"] == 1


def test_pages_hold_the_same_as_the_whole(iam: Any) -> None:
    made(iam)
    whole = iam.get_account_authorization_details()
    for size in (1, 2, 3, 4):
        pages = [*iam.get_paginator("get_account_authorization_details").paginate(PaginationConfig={"PageSize": size})]
        for name in LISTS:
            assert [item for page in pages for item in page[name]] == whole[name]
        assert [sum(len(page[name]) for name in LISTS) for page in pages[:-1]] == [size] * (len(pages) - 1)


def test_filters(iam: Any) -> None:
    made(iam)
    for wanted, count in {"User": 2, "Group": 1, "Role": 1, "LocalManagedPolicy": 1, "AWSManagedPolicy": 1}.items():
        found = iam.get_account_authorization_details(Filter=[wanted])
        assert sum(len(found[name]) for name in LISTS) == count
    marker = iam.get_account_authorization_details(Filter=["User"], MaxItems=1)["Marker"]
    with refused("ValidationError"):
        iam.get_account_authorization_details(Filter=["Role"], MaxItems=1, Marker=marker)
