"""What Terraform's AWS provider and Ansible's modules do with roles, policies and instance profiles, in their order."""

from __future__ import annotations

import json
from typing import Any

from tests.iam_service.documents import EC2, allowing
from tests.iam_service.refusals import refused

READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"


def refreshed(iam: Any, name: str) -> dict[str, Any]:
    """aws_iam_role, read: after each change, and on every refresh."""
    role: dict[str, Any] = iam.get_role(RoleName=name)["Role"]
    for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        role.setdefault("inline", {})[policy] = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    return role | {"attached": [policy["PolicyArn"] for policy in attached]}


def test_aws_iam_role(iam: Any) -> None:
    iam.create_role(RoleName="worker", Path="/", AssumeRolePolicyDocument=EC2, MaxSessionDuration=3600, Description="")
    role = refreshed(iam, "worker")
    assert (role["Path"], role["MaxSessionDuration"], role["attached"]) == ("/", 3600, [])
    assert "Description" not in role
    assert role["Arn"].startswith("arn:aws:iam::")
    iam.update_role_description(RoleName="worker", Description="Works")
    iam.update_role(RoleName="worker", MaxSessionDuration=7200)
    iam.put_role_permissions_boundary(RoleName="worker", PermissionsBoundary=READ_ONLY)
    iam.put_role_policy(RoleName="worker", PolicyName="own", PolicyDocument=allowing("s3:*"))
    iam.untag_role(RoleName="worker", TagKeys=["old"])
    iam.tag_role(RoleName="worker", Tags=[{"Key": "team", "Value": ""}])
    role = refreshed(iam, "worker")
    assert (role["Description"], role["MaxSessionDuration"]) == ("Works", 7200)
    assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == READ_ONLY
    assert role["inline"] == {"own": json.loads(allowing("s3:*"))}
    assert role["Tags"] == [{"Key": "team", "Value": ""}]
    for profile in iam.list_instance_profiles_for_role(RoleName="worker")["InstanceProfiles"]:
        iam.remove_role_from_instance_profile(InstanceProfileName=profile["InstanceProfileName"], RoleName="worker")
    for policy in iam.list_attached_role_policies(RoleName="worker")["AttachedPolicies"]:
        iam.detach_role_policy(RoleName="worker", PolicyArn=policy["PolicyArn"])
    for policy in iam.list_role_policies(RoleName="worker")["PolicyNames"]:
        iam.delete_role_policy(RoleName="worker", PolicyName=policy)
    iam.delete_role(RoleName="worker")
    with refused("NoSuchEntity", 404):
        iam.get_role(RoleName="worker")


def test_aws_iam_policy_at_its_sixth_change(iam: Any) -> None:
    """The oldest version that does not count goes first, when there are five."""
    arn = iam.create_policy(PolicyName="own", Path="/", PolicyDocument=allowing("s3:a"), Description="")["Policy"][
        "Arn"
    ]
    for change in "bcdefg":
        versions = iam.list_policy_versions(PolicyArn=arn)["Versions"]
        if len(versions) == 5:
            oldest = min(
                (version for version in versions if not version["IsDefaultVersion"]),
                key=lambda version: int(version["VersionId"][1:]),
            )
            iam.delete_policy_version(PolicyArn=arn, VersionId=oldest["VersionId"])
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=allowing(f"s3:{change}"), SetAsDefault=True)
        policy = iam.get_policy(PolicyArn=arn)["Policy"]
        version = iam.get_policy_version(PolicyArn=arn, VersionId=policy["DefaultVersionId"])["PolicyVersion"]
        assert version["Document"] == json.loads(allowing(f"s3:{change}"))
    for version in iam.list_policy_versions(PolicyArn=arn)["Versions"]:
        if not version["IsDefaultVersion"]:
            iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])
    iam.delete_policy(PolicyArn=arn)


def test_aws_iam_role_policy_attachment(iam: Any) -> None:
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument=EC2)
    arns = [
        "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore",
        "arn:aws:iam::aws:policy/CloudWatchAgentServerPolicy",
        "arn:aws:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role",
        "arn:aws:iam::aws:policy/job-function/ViewOnlyAccess",
    ]
    for arn in arns:
        iam.attach_role_policy(RoleName="worker", PolicyArn=arn)
        assert arn in refreshed(iam, "worker")["attached"]
    for arn in arns:
        iam.detach_role_policy(RoleName="worker", PolicyArn=arn)
    with refused("NoSuchEntity", 404):
        iam.detach_role_policy(RoleName="worker", PolicyArn=arns[0])


def test_aws_iam_instance_profile(iam: Any) -> None:
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument=EC2)
    iam.create_instance_profile(InstanceProfileName="web", Path="/")
    iam.get_waiter("instance_profile_exists").wait(InstanceProfileName="web")
    iam.add_role_to_instance_profile(InstanceProfileName="web", RoleName="worker")
    profile = iam.get_instance_profile(InstanceProfileName="web")["InstanceProfile"]
    assert iam.get_role(RoleName=profile["Roles"][0]["RoleName"])["Role"]["RoleId"] == profile["Roles"][0]["RoleId"]
    iam.remove_role_from_instance_profile(InstanceProfileName="web", RoleName="worker")
    iam.delete_instance_profile(InstanceProfileName="web")
    with refused("NoSuchEntity", 404):
        iam.get_instance_profile(InstanceProfileName="web")


def test_ansibles_iam_role(iam: Any) -> None:
    """With `create_instance_profile`, its default, and a managed policy that is given by its name alone."""
    with refused("NoSuchEntity", 404):
        iam.get_role(RoleName="worker")
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument=EC2, Path="/")
    iam.get_role(RoleName="worker")
    assert iam.list_instance_profiles_for_role(RoleName="worker")["InstanceProfiles"] == []
    with refused("NoSuchEntity", 404):
        iam.get_instance_profile(InstanceProfileName="worker")
    iam.create_instance_profile(InstanceProfileName="worker", Path="/")
    iam.add_role_to_instance_profile(InstanceProfileName="worker", RoleName="worker")
    pages = iam.get_paginator("list_policies").paginate()
    by_name = {policy["PolicyName"]: policy["Arn"] for page in pages for policy in page["Policies"]}
    iam.attach_role_policy(RoleName="worker", PolicyArn=by_name["PowerUserAccess"])
    assert refreshed(iam, "worker")["attached"] == ["arn:aws:iam::aws:policy/PowerUserAccess"]
    (profile,) = iam.list_instance_profiles_for_role(RoleName="worker")["InstanceProfiles"]
    assert [role["RoleName"] for role in profile["Roles"]] == ["worker"]
