"""IAM's own condition keys: an administrator who may do only some of it, as AWS's guide sets them up.

https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html#access_policies_boundaries-delegate
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cloudapi import ApiServer, Keys
from tests.iam_service.documents import EC2, allowing
from tests.iam_service.refusals import refused

READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"


def allow(action: str | list[str], resource: str = "*", **condition: dict[str, Any]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource} | ({"Condition": condition} if condition else {})


class Delegates:
    """Users of an account, made with the policies that a test gives them."""

    def __init__(self, api: ApiServer, iam: Any) -> None:
        self._api = api
        self.iam = iam

    def __call__(self, *statements: dict[str, Any]) -> Any:
        self.iam.create_user(UserName="delegate")
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        self.iam.put_user_policy(UserName="delegate", PolicyName="own", PolicyDocument=document)
        key = self.iam.create_access_key(UserName="delegate")["AccessKey"]
        return self._api.client("iam", keys=Keys(key["AccessKeyId"], key["SecretAccessKey"]))


@pytest.fixture
def delegate(api: ApiServer, iam: Any) -> Delegates:
    return Delegates(api, iam)


def test_only_some_policies_may_be_attached(delegate: Delegates) -> None:
    root = delegate.iam
    root.create_role(RoleName="worker", AssumeRolePolicyDocument=EC2)
    client = delegate(allow("iam:*RolePolicy", ArnEquals={"iam:PolicyARN": READ_ONLY}))
    client.attach_role_policy(RoleName="worker", PolicyArn=READ_ONLY)
    client.detach_role_policy(RoleName="worker", PolicyArn=READ_ONLY)
    with refused("AccessDenied", 403) as caught:
        client.attach_role_policy(RoleName="worker", PolicyArn=ADMINISTRATOR)
    message = caught.value.response["Error"]["Message"]
    role_arn = root.get_role(RoleName="worker")["Role"]["Arn"]
    assert f"is not authorized to perform: iam:AttachRolePolicy on resource: {role_arn}" in message
    with refused("AccessDenied", 403):
        client.put_role_policy(RoleName="worker", PolicyName="all", PolicyDocument=allowing("*"))


def test_who_is_made_must_have_the_boundary(delegate: Delegates) -> None:
    client = delegate(
        allow(
            ["iam:CreateUser", "iam:PutUserPolicy", "iam:PutUserPermissionsBoundary"],
            StringEquals={"iam:PermissionsBoundary": READ_ONLY},
        )
    )
    for request in ({}, {"PermissionsBoundary": ADMINISTRATOR}):
        with refused("AccessDenied", 403):
            client.create_user(UserName="bob", **request)
    client.create_user(UserName="bob", PermissionsBoundary=READ_ONLY)
    client.put_user_policy(UserName="bob", PolicyName="all", PolicyDocument=allowing("*"))
    with refused("AccessDenied", 403):
        client.put_user_permissions_boundary(UserName="bob", PermissionsBoundary=ADMINISTRATOR)
    with refused("AccessDenied", 403):
        client.delete_user_permissions_boundary(UserName="bob")
    with refused("AccessDenied", 403):
        client.put_user_policy(UserName="delegate", PolicyName="all", PolicyDocument=allowing("*"))


def test_by_the_tags_of_what_there_is(delegate: Delegates) -> None:
    root = delegate.iam
    web = [{"Key": "team", "Value": "web"}]
    for name, tags in (("web", web), ("db", [{"Key": "team", "Value": "db"}])):
        root.create_role(RoleName=name, AssumeRolePolicyDocument=EC2, Tags=tags)
        root.create_policy(PolicyName=name, PolicyDocument=allowing("s3:*"), Tags=tags)
        root.create_instance_profile(InstanceProfileName=name, Tags=tags)
    account = root.get_user()["User"]["UserId"]
    client = delegate(
        allow(["iam:Get*", "iam:Delete*"], StringEquals={"iam:ResourceTag/team": "web"}),
        allow("iam:TagRole", StringEquals={"aws:ResourceTag/team": "web"}, StringLike={"aws:RequestTag/stage": "t*"}),
    )
    for get in (
        lambda name: client.get_role(RoleName=name),
        lambda name: client.get_policy(PolicyArn=f"arn:aws:iam::{account}:policy/{name}"),
        lambda name: client.get_instance_profile(InstanceProfileName=name),
    ):
        get("web")
        with refused("AccessDenied", 403):
            get("db")
    client.tag_role(RoleName="web", Tags=[{"Key": "stage", "Value": "test"}])
    for name, value in (("web", "prod"), ("db", "test")):
        with refused("AccessDenied", 403):
            client.tag_role(RoleName=name, Tags=[{"Key": "stage", "Value": value}])


def test_a_role_may_be_put_into_a_profile_by_whoever_may_pass_it_to_ec2(delegate: Delegates) -> None:
    root = delegate.iam
    for name in ("small", "large"):
        root.create_role(RoleName=name, Path=f"/{name}/", AssumeRolePolicyDocument=EC2)
    root.create_instance_profile(InstanceProfileName="web")
    client = delegate(
        allow("iam:*InstanceProfile"),
        allow("iam:PassRole", "arn:aws:iam::*:role/small/*", StringEquals={"iam:PassedToService": "ec2.amazonaws.com"}),
    )
    with refused("AccessDenied", 403) as caught:
        client.add_role_to_instance_profile(InstanceProfileName="web", RoleName="large")
    message = caught.value.response["Error"]["Message"]
    assert "is not authorized to perform: iam:PassRole on resource: arn:aws:iam::" in message
    assert ":role/large/large" in message
    client.add_role_to_instance_profile(InstanceProfileName="web", RoleName="small")


def test_services_own_roles_by_the_service(delegate: Delegates) -> None:
    client = delegate(
        allow(
            ["iam:CreateServiceLinkedRole", "iam:GetServiceLinkedRoleDeletionStatus", "iam:DeleteServiceLinkedRole"],
            "arn:aws:iam::*:role/aws-service-role/*",
            StringEqualsIfExists={"iam:AWSServiceName": "rds.amazonaws.com"},
        )
    )
    name = client.create_service_linked_role(AWSServiceName="rds.amazonaws.com")["Role"]["RoleName"]
    with refused("AccessDenied", 403):
        client.create_service_linked_role(AWSServiceName="support.amazonaws.com")
    task = client.delete_service_linked_role(RoleName=name)["DeletionTaskId"]
    assert client.get_service_linked_role_deletion_status(DeletionTaskId=task)["Status"] == "SUCCEEDED"
