"""Instance profiles, in the order of calls of Terraform and Ansible."""

from __future__ import annotations

from typing import Any

from tests.iam_service.documents import EC2
from tests.iam_service.refusals import refused


def test_a_profile_from_create_to_delete(iam: Any) -> None:
    with refused("NoSuchEntity", 404) as caught:
        iam.get_instance_profile(InstanceProfileName="web")
    assert caught.value.response["Error"]["Message"] == "Instance Profile web cannot be found."
    created = iam.create_instance_profile(
        InstanceProfileName="web", Path="/apps/", Tags=[{"Key": "team", "Value": "web"}]
    )["InstanceProfile"]
    assert created["Arn"].endswith(":instance-profile/apps/web")
    assert created["InstanceProfileId"].startswith("AIPA")
    assert created["Roles"] == []
    iam.get_waiter("instance_profile_exists").wait(InstanceProfileName="web")
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument=EC2)
    iam.add_role_to_instance_profile(InstanceProfileName="web", RoleName="worker")
    found = iam.get_instance_profile(InstanceProfileName="WEB")["InstanceProfile"]
    assert [role["RoleName"] for role in found["Roles"]] == ["worker"]
    assert found["Roles"][0]["Arn"] == iam.get_role(RoleName="worker")["Role"]["Arn"]
    assert found["Tags"] == created["Tags"]
    listed = iam.list_instance_profiles_for_role(RoleName="worker")["InstanceProfiles"]
    assert listed == iam.list_instance_profiles(PathPrefix="/apps/")["InstanceProfiles"]
    assert [profile["InstanceProfileName"] for profile in listed] == ["web"]
    with refused("DeleteConflict", 409):
        iam.delete_instance_profile(InstanceProfileName="web")
    iam.remove_role_from_instance_profile(InstanceProfileName="web", RoleName="worker")
    iam.delete_instance_profile(InstanceProfileName="web")
    assert iam.list_instance_profiles()["InstanceProfiles"] == []


def test_one_role_at_most(iam: Any) -> None:
    iam.create_instance_profile(InstanceProfileName="web")
    for name in ("one", "two"):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=EC2)
    iam.add_role_to_instance_profile(InstanceProfileName="web", RoleName="one")
    for name in ("one", "two"):
        with refused("LimitExceeded", 409) as caught:
            iam.add_role_to_instance_profile(InstanceProfileName="web", RoleName=name)
        message = caught.value.response["Error"]["Message"]
        assert message == "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1"
    with refused("NoSuchEntity", 404):
        iam.remove_role_from_instance_profile(InstanceProfileName="web", RoleName="two")
    with refused("NoSuchEntity", 404):
        iam.add_role_to_instance_profile(InstanceProfileName="web", RoleName="three")


def test_names_and_tags(iam: Any) -> None:
    iam.create_instance_profile(InstanceProfileName="web")
    with refused("EntityAlreadyExists", 409) as caught:
        iam.create_instance_profile(InstanceProfileName="Web", Path="/apps/")
    assert caught.value.response["Error"]["Message"] == "Instance Profile Web already exists."
    iam.tag_instance_profile(InstanceProfileName="web", Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    iam.untag_instance_profile(InstanceProfileName="web", TagKeys=["a"])
    assert iam.list_instance_profile_tags(InstanceProfileName="web")["Tags"] == [{"Key": "b", "Value": "2"}]
