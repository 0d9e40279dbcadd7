"""What Terraform's AWS provider does with users, in its order (aws_iam_user, aws_iam_group, aws_iam_access_key …)."""

from __future__ import annotations

from typing import Any

from tests.iam_service.documents import allowing
from tests.iam_service.refusals import refused

DOCUMENT = allowing("ec2:*")
READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"


def test_a_user_with_force_destroy(iam: Any) -> None:
    """Everything that a user may have is listed and removed before the user is."""
    iam.create_user(UserName="alice", Path="/staff/", Tags=[{"Key": "team", "Value": "web"}])
    assert iam.get_user(UserName="alice")["User"]["Tags"] == [{"Key": "team", "Value": "web"}]
    iam.create_group(GroupName="staff")
    iam.add_user_to_group(GroupName="staff", UserName="alice")
    iam.create_access_key(UserName="alice")
    iam.create_login_profile(UserName="alice", Password="Correct-horse-1")
    iam.put_user_policy(UserName="alice", PolicyName="own", PolicyDocument=DOCUMENT)
    iam.attach_user_policy(UserName="alice", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")

    for group in iam.list_groups_for_user(UserName="alice")["Groups"]:
        iam.remove_user_from_group(GroupName=group["GroupName"], UserName="alice")
    for key in iam.list_access_keys(UserName="alice")["AccessKeyMetadata"]:
        iam.delete_access_key(UserName="alice", AccessKeyId=key["AccessKeyId"])
    assert iam.list_ssh_public_keys(UserName="alice")["SSHPublicKeys"] == []
    assert iam.list_virtual_mfa_devices(AssignmentStatus="Assigned")["VirtualMFADevices"] == []
    assert iam.list_mfa_devices(UserName="alice")["MFADevices"] == []
    iam.delete_login_profile(UserName="alice")
    assert iam.list_signing_certificates(UserName="alice")["Certificates"] == []
    assert iam.list_service_specific_credentials(UserName="alice")["ServiceSpecificCredentials"] == []
    for policy in iam.list_attached_user_policies(UserName="alice")["AttachedPolicies"]:
        iam.detach_user_policy(UserName="alice", PolicyArn=policy["PolicyArn"])
    for name in iam.list_user_policies(UserName="alice")["PolicyNames"]:
        iam.delete_user_policy(UserName="alice", PolicyName=name)
    iam.delete_user(UserName="alice")
    with refused("NoSuchEntity", 404):
        iam.get_user(UserName="alice")


def test_what_keeps_a_user_from_being_deleted(iam: Any) -> None:
    iam.create_user(UserName="alice")
    for make, unmake, first in (
        (
            lambda: iam.put_user_policy(UserName="alice", PolicyName="own", PolicyDocument=DOCUMENT),
            lambda: iam.delete_user_policy(UserName="alice", PolicyName="own"),
            "delete policies",
        ),
        (
            lambda: iam.attach_user_policy(UserName="alice", PolicyArn=READ_ONLY),
            lambda: iam.detach_user_policy(UserName="alice", PolicyArn=READ_ONLY),
            "detach all policies",
        ),
    ):
        make()
        with refused("DeleteConflict", 409) as caught:
            iam.delete_user(UserName="alice")
        assert caught.value.response["Error"]["Message"] == f"Cannot delete entity, must {first} first."
        unmake()
    iam.delete_user(UserName="alice")


def test_a_user_with_a_boundary(iam: Any) -> None:
    with refused("NoSuchEntity", 404):
        iam.create_user(UserName="alice", PermissionsBoundary="arn:aws:iam::aws:policy/NoSuchPolicy")
    created = iam.create_user(UserName="alice", PermissionsBoundary=READ_ONLY)["User"]
    assert created["PermissionsBoundary"]["PermissionsBoundaryArn"] == READ_ONLY
    assert iam.get_user(UserName="alice")["User"] == created
    iam.delete_user_permissions_boundary(UserName="alice")
    assert "PermissionsBoundary" not in iam.get_user(UserName="alice")["User"]
