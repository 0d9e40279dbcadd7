"""What a policy has to allow for IAM's own operations: which resource, under which conditions, and what else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloudapi import ApiServer, Keys
from tests.iam_service.refusals import refused

OLD, NEW = "Correct-horse-1", "Correct-horse-2"


@pytest.fixture
def user(iam: Any, api: ApiServer) -> Callable[..., Any]:
    """``user("alice", statement, …)`` is a client of a new user whose policy has the statements."""

    def create(name: str, *statements: dict[str, Any]) -> Any:
        iam.create_user(UserName=name)
        if statements:
            allow(iam, name, *statements)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return api.client("iam", keys=Keys(key["AccessKeyId"], key["SecretAccessKey"]))

    return create


def allow(iam: Any, name: str, *statements: dict[str, Any]) -> None:
    written = [{"Effect": "Allow", "Resource": "*"} | statement for statement in statements]
    document = json.dumps({"Version": "2012-10-17", "Statement": written})
    iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document)


def denied(action: str, resource: str = "") -> Any:
    return pytest.raises(ClientError, match=rf"AccessDenied.* not authorized to perform: iam:{action}.*{resource}")


def test_paths_and_tags_say_which_users(iam: Any, user: Callable[..., Any]) -> None:
    account = iam.get_user()["User"]["UserId"]
    admin = user(
        "admin",
        {"Action": "iam:*", "Resource": f"arn:aws:iam::{account}:user/staff/*"},
        {"Action": "iam:DeleteUser", "Condition": {"StringEquals": {"aws:ResourceTag/team": "web"}}},
        {"Action": "iam:GetUser", "Condition": {"StringEquals": {"iam:ResourceTag/team": "web"}}},
    )
    admin.create_user(UserName="alice", Path="/staff/")
    with denied("CreateUser", "user/bob"):
        admin.create_user(UserName="bob")
    assert admin.get_user(UserName="ALICE")["User"]["UserName"] == "alice"
    with denied("UpdateUser", "user/alice"):
        admin.update_user(UserName="alice", NewPath="/")  # the right to change what it becomes, too
    admin.update_user(UserName="alice", NewUserName="carol")
    iam.create_user(UserName="dave", Tags=[{"Key": "team", "Value": "web"}])
    iam.create_user(UserName="erin", Tags=[{"Key": "team", "Value": "db"}])
    assert admin.get_user(UserName="dave")
    with denied("GetUser", "user/erin"):
        admin.get_user(UserName="erin")
    with denied("DeleteUser", "user/erin"):
        admin.delete_user(UserName="erin")
    admin.delete_user(UserName="dave")
    with denied("DeleteUser", "user/nobody"):
        admin.delete_user(UserName="nobody")  # who may not learns nothing


def test_a_boundary_may_be_demanded(iam: Any, user: Callable[..., Any]) -> None:
    boundary = "arn:aws:iam::aws:policy/ReadOnlyAccess"
    on_condition = {"Condition": {"ArnEquals": {"iam:PermissionsBoundary": boundary}}}
    attach = {
        "Action": "iam:AttachUserPolicy",
        "Condition": {"ArnLike": {"iam:PolicyARN": "arn:aws:iam::aws:policy/*"}},
    }
    admin = user("admin", {"Action": ["iam:CreateUser", "iam:PutUserPolicy"]} | on_condition, attach)
    with denied("CreateUser"):
        admin.create_user(UserName="alice")
    with denied("CreateUser"):
        admin.create_user(UserName="alice", PermissionsBoundary="arn:aws:iam::aws:policy/PowerUserAccess")
    admin.create_user(UserName="alice", PermissionsBoundary=boundary)
    document = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]})
    admin.put_user_policy(UserName="alice", PolicyName="none", PolicyDocument=document)
    iam.create_user(UserName="bob")
    with denied("PutUserPolicy"):
        admin.put_user_policy(UserName="bob", PolicyName="none", PolicyDocument=document)
    admin.attach_user_policy(UserName="bob", PolicyArn=boundary)
    own = iam.create_policy(PolicyName="own", PolicyDocument=document)["Policy"]["Arn"]
    with denied("AttachUserPolicy"):
        admin.attach_user_policy(UserName="bob", PolicyArn=own)


def test_tags_of_mfa_devices_providers_and_policies(iam: Any, user: Callable[..., Any]) -> None:
    web = [{"Key": "team", "Value": "web"}]
    document = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]})
    admin = user(
        "admin",
        {"Action": ["iam:Delete*", "iam:Get*"], "Condition": {"StringEquals": {"aws:ResourceTag/team": "web"}}},
    )
    for tags in (web, []):
        name = "web" if tags else "other"
        serial = iam.create_virtual_mfa_device(VirtualMFADeviceName=name, Tags=tags)["VirtualMFADevice"]["SerialNumber"]
        provider = iam.create_open_id_connect_provider(Url=f"https://{name}.example.com", Tags=tags)
        arn = provider["OpenIDConnectProviderArn"]
        policy = iam.create_policy(PolicyName=name, PolicyDocument=document, Tags=tags)["Policy"]["Arn"]
        calls = (
            lambda arn=arn: admin.get_open_id_connect_provider(OpenIDConnectProviderArn=arn),
            lambda serial=serial: admin.delete_virtual_mfa_device(SerialNumber=serial),
            lambda policy=policy: admin.get_policy(PolicyArn=policy),
        )
        for call in calls:
            if tags:
                call()
            else:
                with pytest.raises(ClientError, match="AccessDenied"):
                    call()


def test_who_may_change_their_password(iam: Any, user: Callable[..., Any]) -> None:
    alice, bob = user("alice"), user("bob", {"Action": "iam:ChangePassword", "Resource": "*"})
    for name in ("alice", "bob"):
        iam.create_login_profile(UserName=name, Password=OLD, PasswordResetRequired=True)
    with denied("ChangePassword", "user/alice"):
        alice.change_password(OldPassword=OLD, NewPassword=NEW)
    with refused("AccessDenied", 403) as caught:
        bob.change_password(OldPassword=NEW, NewPassword=NEW)
    assert caught.value.response["Error"]["Message"] == "The old password was incorrect."
    bob.change_password(OldPassword=OLD, NewPassword=NEW)
    assert not iam.get_login_profile(UserName="bob")["LoginProfile"]["PasswordResetRequired"]
    bob.change_password(OldPassword=NEW, NewPassword=OLD)
    with refused("PasswordPolicyViolation"):
        bob.change_password(OldPassword=OLD, NewPassword="short")
    iam.update_account_password_policy(AllowUsersToChangePassword=True, PasswordReusePrevention=1)
    alice.change_password(OldPassword=OLD, NewPassword=NEW)
    assert alice.get_account_password_policy()["PasswordPolicy"]["PasswordReusePrevention"] == 1
    with refused("PasswordPolicyViolation"):
        alice.change_password(OldPassword=NEW, NewPassword=NEW)
    allow(iam, "alice", {"Effect": "Deny", "Action": "iam:ChangePassword"})
    with denied("ChangePassword"):
        alice.change_password(OldPassword=NEW, NewPassword=OLD)
    iam.delete_login_profile(UserName="bob")
    with refused("NoSuchEntity", 404):
        bob.change_password(OldPassword=NEW, NewPassword=OLD)


def test_a_password_is_not_found_by_trying(iam: Any, user: Callable[..., Any]) -> None:
    alice = user("alice", {"Action": "iam:ChangePassword"})
    iam.create_login_profile(UserName="alice", Password=OLD)
    for _ in range(10):
        with refused("AccessDenied", 403):
            alice.change_password(OldPassword="guess", NewPassword=NEW)
    with refused("Throttling"):
        alice.change_password(OldPassword=OLD, NewPassword=NEW)
