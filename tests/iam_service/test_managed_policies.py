"""Managed policies, the account's own and AWS's, and their versions."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest

from tests.cloudapi import ApiServer
from tests.iam_service.documents import EC2, allowing
from tests.iam_service.refusals import refused

READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"


def arns(iam: Any, **request: Any) -> list[str]:
    pages = iam.get_paginator("list_policies").paginate(**request)
    return [policy["Arn"] for page in pages for policy in page["Policies"]]


def test_a_policy_as_terraform_makes_changes_and_deletes_it(iam: Any) -> None:
    first, second = allowing("ec2:Describe*"), allowing("s3:GetObject", resource="arn:aws:s3:::b/${aws:username}/a+b")
    created = iam.create_policy(
        PolicyName="Look",
        Path="/apps/",
        PolicyDocument=first,
        Description="To look",
        Tags=[{"Key": "team", "Value": "web"}],
    )["Policy"]
    arn = created["Arn"]
    assert arn.endswith(":policy/apps/Look")
    assert created["PolicyId"].startswith("ANPA")
    found = iam.get_policy(PolicyArn=arn)["Policy"]
    assert found == {**created, "Description": "To look"}
    assert (found["DefaultVersionId"], found["AttachmentCount"], found["IsAttachable"]) == ("v1", 0, True)
    version = iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]
    assert version["Document"] == json.loads(first)
    changed = iam.create_policy_version(PolicyArn=arn, PolicyDocument=second, SetAsDefault=True)["PolicyVersion"]
    assert (changed["VersionId"], changed["IsDefaultVersion"]) == ("v2", True)
    assert iam.get_policy_version(PolicyArn=arn, VersionId="v2")["PolicyVersion"]["Document"] == json.loads(second)
    listed = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    assert [(v["VersionId"], v["IsDefaultVersion"]) for v in listed] == [("v2", True), ("v1", False)]
    with refused("DeleteConflict", 409):
        iam.delete_policy(PolicyArn=arn)
    iam.delete_policy_version(PolicyArn=arn, VersionId="v1")
    iam.delete_policy(PolicyArn=arn)
    with refused("NoSuchEntity", 404) as caught:
        iam.get_policy(PolicyArn=arn)
    assert caught.value.response["Error"]["Message"] == f"Policy {arn} was not found."


def test_documents_come_back_url_encoded(api: ApiServer) -> None:
    """By RFC 3986: Terraform decodes a plus sign as a space."""
    _, keys = api.create_account("lab")
    client = api.client("iam", keys=keys)
    bodies: list[bytes] = []
    client.meta.events.register("after-call.*", lambda http_response, **_: bodies.append(http_response.content))
    document = allowing("s3:Get*", resource="arn:aws:s3:::b/a b+c/ü")
    arn = client.create_policy(PolicyName="p", PolicyDocument=document)["Policy"]["Arn"]
    client.get_policy_version(PolicyArn=arn, VersionId="v1")
    text = bodies[-1].decode().partition("<Document>")[2].partition("</Document>")[0]
    assert unquote(text) == document
    assert "+" not in text
    assert "%20" in text


def test_five_versions_whose_numbers_are_not_used_again(iam: Any) -> None:
    arn = iam.create_policy(PolicyName="p", PolicyDocument=allowing("ec2:*"))["Policy"]["Arn"]
    for _ in range(4):
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=allowing("s3:*"))
    with refused("LimitExceeded", 409) as caught:
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=allowing("s3:*"))
    assert "up to 5 versions" in caught.value.response["Error"]["Message"]
    iam.delete_policy_version(PolicyArn=arn, VersionId="v5")
    assert (
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=allowing("s3:*"))["PolicyVersion"]["VersionId"] == "v6"
    )
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v3")
    assert iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"] == "v3"
    with refused("DeleteConflict", 409) as caught:
        iam.delete_policy_version(PolicyArn=arn, VersionId="v3")
    assert caught.value.response["Error"]["Message"] == "Cannot delete the default version of a policy."
    for missing in ("v5", "v7", "v99999999999999999999"):
        with refused("NoSuchEntity", 404):
            iam.set_default_policy_version(PolicyArn=arn, VersionId=missing)


def test_names_are_unique_whatever_the_path(iam: Any) -> None:
    iam.create_policy(PolicyName="look", PolicyDocument=allowing("ec2:*"))
    with refused("EntityAlreadyExists", 409) as caught:
        iam.create_policy(PolicyName="Look", Path="/apps/", PolicyDocument=allowing("ec2:*"))
    message = caught.value.response["Error"]["Message"]
    assert message == "A policy called Look already exists. Duplicate names are not allowed."


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("no json", "Syntax errors in policy."),
        ('{"Version":"2012-10-17","Statement":[]}', "Syntax errors in policy."),
        (
            '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}}',
            "Policy document should not specify a principal.",
        ),
        (
            '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*"}}',
            "Policy statement must contain resources.",
        ),
    ],
)
def test_a_malformed_document_is_told_why(iam: Any, document: str, reason: str) -> None:
    with refused("MalformedPolicyDocument") as caught:
        iam.create_policy(PolicyName="p", PolicyDocument=document)
    assert caught.value.response["Error"]["Message"] == reason


def test_a_managed_policy_has_6144_characters_that_are_not_blank(iam: Any) -> None:
    shortest = json.dumps(json.loads(allowing("s3:")), separators=(",", ":"))
    document = json.loads(allowing("s3:" + "a" * (6144 - len(shortest))))
    arn = iam.create_policy(PolicyName="p", PolicyDocument=json.dumps(document, indent=4))["Policy"]["Arn"]
    document["Statement"][0]["Action"][0] += "a"
    with refused("LimitExceeded", 409) as caught:
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(document))
    assert caught.value.response["Error"]["Message"] == "Cannot exceed quota for PolicySize: 6144"
    with refused("ValidationError"):
        iam.create_policy(PolicyName="q", PolicyDocument=json.dumps(document).replace("aaaa", "\u0439", 1))


def test_tags(iam: Any) -> None:
    arn = iam.create_policy(PolicyName="p", PolicyDocument=allowing("ec2:*"))["Policy"]["Arn"]
    iam.tag_policy(PolicyArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}])
    iam.untag_policy(PolicyArn=arn, TagKeys=["a"])
    assert iam.list_policy_tags(PolicyArn=arn)["Tags"] == [{"Key": "A", "Value": "2"}]
    assert iam.list_policy_tags(PolicyArn=READ_ONLY)["Tags"] == []
    with refused("InvalidInput"):
        iam.tag_policy(PolicyArn=READ_ONLY, Tags=[{"Key": "a", "Value": "1"}])


def test_lists_and_their_filters(iam: Any) -> None:
    aws = arns(iam, Scope="AWS")
    assert len(aws) == len(set(aws)) >= 60
    assert READ_ONLY in aws
    own = [
        iam.create_policy(PolicyName=name, Path=path, PolicyDocument=allowing("ec2:*"))["Policy"]["Arn"]
        for name, path in (("b", "/apps/"), ("A", "/"), ("c", "/apps/web/"))
    ]
    assert arns(iam, Scope="Local") == [own[1], own[0], own[2]]
    assert arns(iam, PaginationConfig={"PageSize": 7}) == [*aws, own[1], own[0], own[2]]
    assert arns(iam, Scope="Local", PathPrefix="/apps/") == [own[0], own[2]]
    assert all("policy/job-function/" in arn for arn in arns(iam, PathPrefix="/job-function/"))
    assert arns(iam, OnlyAttached=True) == []
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument=EC2, PermissionsBoundary=own[0])
    iam.attach_role_policy(RoleName="worker", PolicyArn=READ_ONLY)
    iam.attach_role_policy(RoleName="worker", PolicyArn=own[1])
    assert arns(iam, OnlyAttached=True) == [READ_ONLY, own[1], own[0]]
    assert arns(iam, PolicyUsageFilter="PermissionsPolicy") == [READ_ONLY, own[1]]
    assert arns(iam, PolicyUsageFilter="PermissionsBoundary") == [own[0]]
    (bounding,) = iam.list_policies(PolicyUsageFilter="PermissionsBoundary")["Policies"]
    assert (bounding["AttachmentCount"], bounding["PermissionsBoundaryUsageCount"]) == (0, 1)


def test_aws_own_policies_can_be_read_and_not_changed(iam: Any) -> None:
    policy = iam.get_policy(PolicyArn=READ_ONLY)["Policy"]
    assert (policy["PolicyName"], policy["Path"], policy["DefaultVersionId"]) == ("ReadOnlyAccess", "/", "v1")
    assert len(iam.list_policy_versions(PolicyArn=READ_ONLY)["Versions"]) == 1
    version = iam.get_policy_version(PolicyArn=READ_ONLY, VersionId="v1")["PolicyVersion"]
    assert version["Document"]["Statement"][0]["Effect"] == "Allow"
    for change in (
        lambda: iam.delete_policy(PolicyArn=READ_ONLY),
        lambda: iam.create_policy_version(PolicyArn=READ_ONLY, PolicyDocument=allowing("ec2:*")),
        lambda: iam.set_default_policy_version(PolicyArn=READ_ONLY, VersionId="v1"),
        lambda: iam.get_policy(PolicyArn="arn:aws:s3:::bucket-of-someone"),
    ):
        with refused("InvalidInput"):
            change()


def test_another_accounts_policy_is_none(iam: Any, api: ApiServer) -> None:
    arn = iam.create_policy(PolicyName="p", PolicyDocument=allowing("ec2:*"))["Policy"]["Arn"]
    _, keys = api.create_account("stranger")
    stranger = api.client("iam", keys=keys)
    stranger.create_user(UserName="mallory")
    for attempt in (
        lambda: stranger.get_policy(PolicyArn=arn),
        lambda: stranger.get_policy_version(PolicyArn=arn, VersionId="v1"),
        lambda: stranger.delete_policy(PolicyArn=arn),
        lambda: stranger.attach_user_policy(UserName="mallory", PolicyArn=arn),
        lambda: stranger.put_user_permissions_boundary(UserName="mallory", PermissionsBoundary=arn),
    ):
        with refused("NoSuchEntity", 404):
            attempt()
