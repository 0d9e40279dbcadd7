"""Roles: what Terraform and people do with them by boto3."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cloudapi import ApiServer
from tests.iam_service.documents import EC2, allowing, read, trusting
from tests.iam_service.refusals import refused


def account_of(iam: Any) -> str:
    account: str = iam.get_user()["User"]["UserId"]
    return account


def test_a_role_as_terraform_makes_reads_and_deletes_it(iam: Any) -> None:
    created = iam.create_role(
        RoleName="Worker",
        Path="/apps/",
        AssumeRolePolicyDocument=EC2,
        Description="Works",
        MaxSessionDuration=7200,
        Tags=[{"Key": "team", "Value": "web"}],
    )["Role"]
    assert created["Arn"] == f"arn:aws:iam::{account_of(iam)}:role/apps/Worker"
    assert created["RoleId"].startswith("AROA")
    assert created["CreateDate"]
    found = iam.get_role(RoleName="worker")["Role"]
    assert found == {**created, "RoleLastUsed": {}}
    assert found["AssumeRolePolicyDocument"] == json.loads(EC2)
    assert (found["MaxSessionDuration"], found["Description"]) == (7200, "Works")
    assert found["Tags"] == [{"Key": "team", "Value": "web"}]
    assert iam.list_role_policies(RoleName="Worker")["PolicyNames"] == []
    assert iam.list_attached_role_policies(RoleName="Worker")["AttachedPolicies"] == []
    (listed,) = iam.list_roles(PathPrefix="/apps/")["Roles"]
    assert listed == {name: value for name, value in created.items() if name != "Tags"}
    assert iam.list_roles(PathPrefix="/other/")["Roles"] == []
    assert iam.list_instance_profiles_for_role(RoleName="Worker")["InstanceProfiles"] == []
    iam.delete_role(RoleName="Worker")
    with refused("NoSuchEntity", 404) as caught:
        iam.get_role(RoleName="Worker")
    assert caught.value.response["Error"]["Message"] == "The role with name Worker cannot be found."


def test_a_name_is_taken_whatever_its_case_and_path(iam: Any) -> None:
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument=EC2)
    with refused("EntityAlreadyExists", 409) as caught:
        iam.create_role(RoleName="WORKER", Path="/apps/", AssumeRolePolicyDocument=EC2)
    assert caught.value.response["Error"]["Message"] == "Role with name WORKER already exists."


def test_what_can_be_changed(iam: Any) -> None:
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument=EC2, Description="Works")
    iam.update_role(RoleName="worker", MaxSessionDuration=43200)
    assert iam.get_role(RoleName="worker")["Role"]["Description"] == "Works"
    iam.update_role(RoleName="worker", Description="Works more")
    assert iam.get_role(RoleName="worker")["Role"]["MaxSessionDuration"] == 43200
    assert iam.update_role_description(RoleName="worker", Description="")["Role"]["RoleName"] == "worker"
    assert "Description" not in iam.get_role(RoleName="worker")["Role"]
    trust = trusting({"AWS": account_of(iam)})
    iam.update_assume_role_policy(RoleName="worker", PolicyDocument=trust)
    assert iam.get_role(RoleName="worker")["Role"]["AssumeRolePolicyDocument"] == json.loads(trust)


def test_how_long_who_signs_in_with_it_stays(iam: Any) -> None:
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument=EC2, MaxSigninSessionDuration=86400)
    assert iam.get_role(RoleName="worker")["Role"]["MaxSigninSessionDuration"] == 86400
    iam.update_role(RoleName="worker", MaxSigninSessionDuration=3600)
    assert iam.list_roles()["Roles"][0]["MaxSigninSessionDuration"] == 3600
    with refused("InvalidInput"):
        iam.update_role(RoleName="worker", MaxSigninSessionDuration=3600, ResetMaxSigninSessionDuration=True)
    iam.update_role(RoleName="worker", ResetMaxSigninSessionDuration=True)
    assert "MaxSigninSessionDuration" not in iam.get_role(RoleName="worker")["Role"]


def test_tags(iam: Any) -> None:
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument=EC2, Tags=[{"Key": "Team", "Value": "web"}])
    iam.tag_role(RoleName="worker", Tags=[{"Key": "team", "Value": "db"}, {"Key": "stage", "Value": ""}])
    assert iam.list_role_tags(RoleName="worker")["Tags"] == [
        {"Key": "stage", "Value": ""},
        {"Key": "team", "Value": "db"},
    ]
    iam.untag_role(RoleName="worker", TagKeys=["TEAM", "none"])
    assert iam.get_role(RoleName="worker")["Role"]["Tags"] == [{"Key": "stage", "Value": ""}]


def test_trust_names_only_whom_there_is(iam: Any, api: ApiServer) -> None:
    account = account_of(iam)
    iam.create_user(UserName="alice", Path="/staff/")
    iam.create_role(RoleName="other", AssumeRolePolicyDocument=EC2)
    stranger, _ = api.create_account("stranger")
    for place, good in enumerate(
        [
            {"AWS": "*"},
            "*",
            {"AWS": [account, f"arn:aws:iam::{stranger}:root"]},
            {"AWS": f"arn:aws:iam::{account}:user/staff/alice"},
            {"AWS": f"arn:aws:iam::{account}:role/other"},
            {"AWS": f"arn:aws:sts::{account}:assumed-role/other/session"},
            {"Service": ["ec2.amazonaws.com", "ecs-tasks.amazonaws.com"]},
            {"Federated": f"arn:aws:iam::{account}:oidc-provider/id.example.com"},
        ]
    ):
        iam.create_role(RoleName=f"r{place}", AssumeRolePolicyDocument=trusting(good))
    for bad in (
        {"AWS": "999999999999"},
        {"AWS": f"arn:aws:iam::{account}:user/alice"},
        {"AWS": f"arn:aws:iam::{account}:user/staff/Alice"},
        {"AWS": f"arn:aws:iam::{stranger}:role/other"},
        {"AWS": f"arn:aws:sts::{account}:assumed-role/nosuch/session"},
        {"AWS": "AROAAAAAAAAAAAAAAAAA"},
        {"CanonicalUser": "abc"},
        {"Service": "ec2.example.com"},
        {"Federated": "no provider"},
    ):
        with refused("MalformedPolicyDocument") as caught:
            iam.update_assume_role_policy(RoleName="other", PolicyDocument=trusting(bad))
        assert caught.value.response["Error"]["Message"].startswith("Invalid principal in policy: ")
    assert iam.get_role(RoleName="other")["Role"]["AssumeRolePolicyDocument"] == json.loads(EC2)


def test_whoever_gets_the_name_of_who_was_trusted_is_not(iam: Any, api: ApiServer) -> None:
    account = account_of(iam)
    user = iam.create_user(UserName="alice")["User"]
    role = iam.create_role(RoleName="other", AssumeRolePolicyDocument=EC2)["Role"]
    session = f"arn:aws:sts::{account}:assumed-role/other/night"
    _, keys = api.create_account("another")
    elsewhere = api.client("iam", keys=keys)
    for client, trusted in ((iam, [user["Arn"], account]), (elsewhere, [role["Arn"], session]), (iam, user["Arn"])):
        client.create_role(RoleName=f"trusting{len(trusted)}", AssumeRolePolicyDocument=trusting({"AWS": trusted}))
    iam.delete_user(UserName="alice")
    iam.delete_role(RoleName="other")
    iam.create_user(UserName="alice")

    def trusted_by(client: Any, name: str) -> Any:
        return client.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]["AWS"]

    assert trusted_by(iam, "trusting2") == [user["UserId"], account]
    assert trusted_by(iam, f"trusting{len(user['Arn'])}") == user["UserId"]
    assert trusted_by(elsewhere, "trusting2") == [role["RoleId"], f"{role['RoleId']}:night"]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("{", "Syntax errors in policy."),
        (allowing("sts:AssumeRole"), "Has prohibited field Resource"),
        (trusting({"AWS": "*"}, "s3:GetObject"), "AssumeRole policy may only specify STS AssumeRole actions."),
    ],
)
def test_what_is_no_trust_policy(iam: Any, document: str, reason: str) -> None:
    with refused("MalformedPolicyDocument") as caught:
        iam.create_role(RoleName="worker", AssumeRolePolicyDocument=document)
    assert caught.value.response["Error"]["Message"] == reason


def test_a_trust_policy_has_2048_characters_that_are_not_blank(iam: Any) -> None:
    longest = trusting({"Service": "ec2.amazonaws.com"}, "sts:AssumeRole")
    names = ["ec2.amazonaws.com"] * 80
    document = json.loads(longest)
    document["Statement"][0]["Principal"]["Service"] = names
    room = 2048 - len(json.dumps(document, separators=(",", ":")))
    document["Statement"][0]["Sid"] = "a" * (room - len(',"Sid":""'))
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument=json.dumps(document, indent=8))
    assert iam.get_role(RoleName="worker")["Role"]["AssumeRolePolicyDocument"] == document
    document["Statement"][0]["Sid"] += "a"
    with refused("LimitExceeded", 409) as caught:
        iam.update_assume_role_policy(RoleName="worker", PolicyDocument=json.dumps(document))
    assert caught.value.response["Error"]["Message"] == "Cannot exceed quota for ACLSizePerRole: 2048"


def test_a_role_goes_when_it_has_nothing_any_more(iam: Any) -> None:
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument=EC2)
    iam.create_instance_profile(InstanceProfileName="worker")
    iam.add_role_to_instance_profile(InstanceProfileName="worker", RoleName="worker")
    iam.put_role_policy(RoleName="worker", PolicyName="inline", PolicyDocument=allowing("ec2:*"))
    iam.attach_role_policy(RoleName="worker", PolicyArn="arn:aws:iam::aws:policy/ReadOnlyAccess")
    for first, undo in (
        ("remove roles from instance profile", "remove_role_from_instance_profile"),
        ("detach all policies", "detach_role_policy"),
        ("delete policies", "delete_role_policy"),
    ):
        with refused("DeleteConflict", 409) as caught:
            iam.delete_role(RoleName="worker")
        assert caught.value.response["Error"]["Message"] == f"Cannot delete entity, must {first} first."
        named = {
            "remove_role_from_instance_profile": {"InstanceProfileName": "worker"},
            "detach_role_policy": {"PolicyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess"},
            "delete_role_policy": {"PolicyName": "inline"},
        }[undo]
        getattr(iam, undo)(RoleName="worker", **named)
    iam.delete_role(RoleName="worker")


def test_services_own_roles(iam: Any) -> None:
    service = "elasticloadbalancing.amazonaws.com"
    role = iam.create_service_linked_role(AWSServiceName=service, Description="Balances")["Role"]
    name = role["RoleName"]
    assert role["Arn"].endswith(f":role/aws-service-role/{service}/AWSServiceRoleForElasticLoadBalancing")
    assert read(role["AssumeRolePolicyDocument"])["Statement"][0]["Principal"] == {"Service": service}
    (policy,) = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    assert policy["PolicyName"] == "AWSElasticLoadBalancingServiceRolePolicy"
    for change in (
        lambda: iam.delete_role(RoleName=name),
        lambda: iam.update_assume_role_policy(RoleName=name, PolicyDocument=EC2),
        lambda: iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=allowing("ec2:*")),
        lambda: iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"]),
        lambda: iam.update_role(RoleName=name, MaxSessionDuration=3600),
    ):
        with refused("UnmodifiableEntity"):
            change()
    iam.update_role(RoleName=name, Description="Balances well")
    with refused("InvalidInput") as caught:
        iam.create_service_linked_role(AWSServiceName=service)
    assert "has been taken in this account" in caught.value.response["Error"]["Message"]
    with refused("InvalidInput"):
        iam.create_service_linked_role(AWSServiceName=service, CustomSuffix="two")
    with refused("InvalidInput"):
        iam.create_service_linked_role(AWSServiceName="nosuch.amazonaws.com")
    iam.create_service_linked_role(AWSServiceName="autoscaling.amazonaws.com", CustomSuffix="two")
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument=EC2)
    with refused("InvalidInput"):
        iam.delete_service_linked_role(RoleName="worker")
    with refused("PolicyNotAttachable"):
        iam.attach_role_policy(RoleName="worker", PolicyArn=policy["PolicyArn"])
    task = iam.delete_service_linked_role(RoleName=name)["DeletionTaskId"]
    assert task.startswith(f"task/aws-service-role/{service}/{name}/")
    assert iam.get_service_linked_role_deletion_status(DeletionTaskId=task)["Status"] == "SUCCEEDED"
    with refused("NoSuchEntity", 404):
        iam.get_role(RoleName=name)
    with refused("NoSuchEntity", 404):
        iam.get_service_linked_role_deletion_status(DeletionTaskId=task + "0")
    assert [role["RoleName"] for role in iam.list_roles()["Roles"]] == ["AWSServiceRoleForAutoScaling_two", "worker"]
