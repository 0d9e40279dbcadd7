"""What simulations say policies would decide."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.iam_service.documents import EC2, allowing
from tests.iam_service.refusals import refused

BUCKET = "arn:aws:s3:::photos"
READ_ONLY = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, indent=2)


def decisions(answer: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {(r["EvalActionName"], r["EvalResourceName"]): r["EvalDecision"] for r in answer["EvaluationResults"]}


def test_custom_policies_decide_each_action_on_each_resource(iam: Any) -> None:
    given = policy(
        {"Effect": "Allow", "Action": "s3:*", "Resource": f"{BUCKET}/*"},
        {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": "*"},
    )
    answer = iam.simulate_custom_policy(
        PolicyInputList=[given],
        ActionNames=["s3:GetObject", "s3:DeleteObject"],
        ResourceArns=[f"{BUCKET}/a", "arn:aws:s3:::other/a"],
    )
    assert decisions(answer) == {
        ("s3:GetObject", f"{BUCKET}/a"): "allowed",
        ("s3:GetObject", "arn:aws:s3:::other/a"): "implicitDeny",
        ("s3:DeleteObject", f"{BUCKET}/a"): "explicitDeny",
        ("s3:DeleteObject", "arn:aws:s3:::other/a"): "explicitDeny",
    }
    first = answer["EvaluationResults"][0]
    (specific,) = first["ResourceSpecificResults"]
    assert (specific["EvalResourceName"], specific["EvalResourceDecision"]) == (f"{BUCKET}/a", "allowed")
    (statement,) = first["MatchedStatements"]
    assert (statement["SourcePolicyId"], statement["SourcePolicyType"]) == ("PolicyInputList.1", "none")
    lines = given.split("\n")
    start, end = statement["StartPosition"], statement["EndPosition"]
    assert lines[start["Line"] - 1][start["Column"] - 1 :] == "{"
    assert lines[end["Line"] - 1][: end["Column"] - 1].strip() == "}"
    assert answer["EvaluationResults"][1]["MatchedStatements"] == []
    assert len(answer["EvaluationResults"][2]["MatchedStatements"]) == 1


def test_results_come_in_pages(iam: Any) -> None:
    request = {
        "PolicyInputList": [allowing("ec2:*")],
        "ActionNames": [f"ec2:Action{n}" for n in range(7)],
        "ResourceArns": [f"arn:aws:ec2:us-east-1:111122223333:instance/i-{n}" for n in range(3)],
    }
    whole = iam.simulate_custom_policy(**request)["EvaluationResults"]
    assert len(whole) == 21
    pages = [*iam.get_paginator("simulate_custom_policy").paginate(**request, PaginationConfig={"PageSize": 4})]
    assert [len(page["EvaluationResults"]) for page in pages] == [4, 4, 4, 4, 4, 1]
    assert [result for page in pages for result in page["EvaluationResults"]] == whole


def test_the_context_is_what_is_said_and_what_is_missing_is_named(iam: Any) -> None:
    given = policy(
        {
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": "*",
            "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}, "Bool": {"aws:SecureTransport": "true"}},
        }
    )
    request: dict[str, Any] = {"PolicyInputList": [given], "ActionNames": ["s3:GetObject", "ec2:RunInstances"]}
    get, run = iam.simulate_custom_policy(**request)["EvaluationResults"]
    assert (get["EvalDecision"], get["EvalResourceName"]) == ("implicitDeny", "*")
    assert get["MissingContextValues"] == ["aws:SourceIp", "aws:SecureTransport"]
    assert run["MissingContextValues"] == []
    entries = [
        {"ContextKeyName": "aws:SourceIp", "ContextKeyValues": ["10.1.2.3"], "ContextKeyType": "ip"},
        {"ContextKeyName": "aws:securetransport", "ContextKeyValues": ["true"], "ContextKeyType": "boolean"},
    ]
    get, _ = iam.simulate_custom_policy(**request, ContextEntries=entries)["EvaluationResults"]
    assert (get["EvalDecision"], get["MissingContextValues"]) == ("allowed", [])
    with refused("InvalidInput"):
        entries[0]["ContextKeyValues"] = ["10.1.2.3", "10.1.2.4"]
        iam.simulate_custom_policy(**request, ContextEntries=entries)
    home = allowing("s3:*", resource=f"{BUCKET}/${{aws:username}}/*")
    keys = iam.get_context_keys_for_custom_policy(PolicyInputList=[given, home])
    assert keys["ContextKeyNames"] == ["aws:SourceIp", "aws:SecureTransport", "aws:username"]


def test_a_users_policies_are_those_of_groups_as_well(iam: Any) -> None:
    user = iam.create_user(UserName="alice", Tags=[{"Key": "team", "Value": "web"}])["User"]["Arn"]
    iam.create_group(GroupName="staff")
    iam.add_user_to_group(GroupName="staff", UserName="alice")
    iam.put_user_policy(
        UserName="alice",
        PolicyName="own",
        PolicyDocument=allowing("s3:PutObject", resource=f"{BUCKET}/${{aws:username}}/${{aws:PrincipalTag/team}}"),
    )
    iam.put_group_policy(GroupName="staff", PolicyName="look", PolicyDocument=allowing("ec2:Describe*"))
    iam.attach_group_policy(GroupName="staff", PolicyArn=READ_ONLY)
    request: dict[str, Any] = {
        "PolicySourceArn": user,
        "ActionNames": ["s3:PutObject", "ec2:DescribeVpcs", "s3:GetObject"],
        "ResourceArns": [f"{BUCKET}/alice/web"],
    }
    results = iam.simulate_principal_policy(**request)["EvaluationResults"]
    assert [result["EvalDecision"] for result in results] == ["allowed", "allowed", "allowed"]
    request["ResourceArns"] = ["*"]
    results = iam.simulate_principal_policy(**request)["EvaluationResults"]
    assert [result["EvalDecision"] for result in results] == ["implicitDeny", "allowed", "allowed"]
    sources = [[(s["SourcePolicyId"], s["SourcePolicyType"]) for s in r["MatchedStatements"]] for r in results]
    assert sources == [[], [("group_staff_look", "group")], [("AmazonS3ReadOnlyAccess", "aws-managed")]]
    keys = iam.get_context_keys_for_principal_policy(PolicySourceArn=user)["ContextKeyNames"]
    assert keys == ["aws:username", "aws:PrincipalTag/team"]
    for exclusion in ({"PolicyArn": READ_ONLY}, {"PolicyType": "aws-managed"}):
        _, look, read = iam.simulate_principal_policy(**request, PolicyExclusionList=[exclusion])["EvaluationResults"]
        assert (look["EvalDecision"], read["EvalDecision"]) == ("allowed", "implicitDeny")
    inline = {"PolicyName": "look", "AttachmentType": "group", "AttachmentName": "Staff"}
    _, look, read = iam.simulate_principal_policy(**request, PolicyExclusionList=[{"InlinePolicyIdentifier": inline}])[
        "EvaluationResults"
    ]
    assert (look["EvalDecision"], read["EvalDecision"]) == ("implicitDeny", "allowed")


def test_boundaries_and_guardrails_must_allow(iam: Any) -> None:
    role = iam.create_role(RoleName="worker", AssumeRolePolicyDocument=EC2, PermissionsBoundary=READ_ONLY)["Role"]
    iam.put_role_policy(RoleName="worker", PolicyName="all", PolicyDocument=allowing("*"))
    request: dict[str, Any] = {"PolicySourceArn": role["Arn"], "ActionNames": ["s3:GetObject", "s3:PutObject"]}
    get, put = iam.simulate_principal_policy(**request)["EvaluationResults"]
    assert (get["EvalDecision"], put["EvalDecision"]) == ("allowed", "implicitDeny")
    assert get["PermissionsBoundaryDecisionDetail"] == {"AllowedByPermissionsBoundary": True}
    assert put["PermissionsBoundaryDecisionDetail"] == {"AllowedByPermissionsBoundary": False}
    other = iam.simulate_principal_policy(**request, PermissionsBoundaryPolicyInputList=[allowing("s3:PutObject")])
    assert [result["EvalDecision"] for result in other["EvaluationResults"]] == ["implicitDeny", "allowed"]
    (excluded,) = iam.simulate_principal_policy(
        PolicySourceArn=role["Arn"],
        ActionNames=["s3:PutObject"],
        PolicyExclusionList=[{"PolicyType": "permission-boundary"}],
    )["EvaluationResults"]
    assert excluded["EvalDecision"] == "allowed"
    levels = [{"ServiceControlPolicyInputList": [allowing(action)]} for action in ("*", "ec2:*")]
    run, get = iam.simulate_custom_policy(
        PolicyInputList=[allowing("*")],
        ActionNames=["ec2:RunInstances", "s3:GetObject"],
        OrderedOrganizationPolicyInputList=levels,
    )["EvaluationResults"]
    assert (run["EvalDecision"], get["EvalDecision"]) == ("allowed", "implicitDeny")
    assert get["OrganizationsDecisionDetail"] == {"AllowedByOrganizations": False}


def test_a_resources_policy_counts_by_whom_it_names(iam: Any) -> None:
    user = iam.create_user(UserName="alice")["User"]["Arn"]
    named = policy({"Effect": "Allow", "Principal": {"AWS": user}, "Action": "s3:GetObject", "Resource": f"{BUCKET}/*"})
    request: dict[str, Any] = {
        "ActionNames": ["s3:GetObject"],
        "ResourceArns": [f"{BUCKET}/a"],
        "ResourcePolicy": named,
    }
    (own,) = iam.simulate_principal_policy(PolicySourceArn=user, **request)["EvaluationResults"]
    assert own["EvalDecision"] == "allowed"
    assert own["MatchedStatements"][0]["SourcePolicyType"] == "resource"
    foreign = iam.simulate_principal_policy(PolicySourceArn=user, ResourceOwner="999988887777", **request)
    assert foreign["EvaluationResults"][0]["EvalDecision"] == "implicitDeny"
    both = iam.simulate_principal_policy(
        PolicySourceArn=user, ResourceOwner="999988887777", PolicyInputList=[allowing("s3:*")], **request
    )
    assert both["EvaluationResults"][0]["EvalDecision"] == "allowed"
    bob = iam.simulate_principal_policy(PolicySourceArn=user, CallerArn=user.replace("alice", "bob"), **request)
    assert bob["EvaluationResults"][0]["EvalDecision"] == "implicitDeny"
    with refused("InvalidInput"):
        iam.simulate_custom_policy(PolicyInputList=[allowing("s3:*")], **request)


def test_a_scenario_wants_its_resources(iam: Any) -> None:
    kinds = ("instance", "image", "security-group", "network-interface", "volume")
    resources = [f"arn:aws:ec2:us-east-1:111122223333:{kind}/x-1" for kind in kinds]
    request: dict[str, Any] = {
        "PolicyInputList": [allowing("ec2:RunInstances", resource="arn:aws:ec2:*:*:i*")],
        "ActionNames": ["ec2:RunInstances"],
        "ResourceHandlingOption": "EC2-VPC-EBS",
    }
    (result,) = iam.simulate_custom_policy(**request, ResourceArns=resources)["EvaluationResults"]
    assert result["EvalDecision"] == "implicitDeny"
    each = [specific["EvalResourceDecision"] for specific in result["ResourceSpecificResults"]]
    assert each == ["allowed", "allowed", "implicitDeny", "implicitDeny", "implicitDeny"]
    with refused("InvalidInput"):
        iam.simulate_custom_policy(**request, ResourceArns=resources[:-1])
    with refused("InvalidInput"):
        iam.simulate_custom_policy(**request | {"ResourceHandlingOption": "EC2-Moon"}, ResourceArns=resources)


@pytest.mark.parametrize(
    "changes",
    [
        {"ActionNames": ["GetObject"]},
        {"ActionNames": ["s3:*"]},
        {"PolicyInputList": ["{}"]},
        {"CallerArn": "arn:aws:sts::111122223333:assumed-role/worker/session"},
        {"ResourceOwner": "someone"},
        {"ContextEntries": [{"ContextKeyValues": ["a"]}]},
    ],
)
def test_what_can_not_be_simulated(iam: Any, changes: dict[str, Any]) -> None:
    with refused("InvalidInput"):
        iam.simulate_custom_policy(**{"PolicyInputList": [allowing("s3:*")], "ActionNames": ["s3:GetObject"]} | changes)


def test_whose_policies_there_are(iam: Any) -> None:
    account = iam.get_user()["User"]["UserId"]
    with refused("NoSuchEntity", 404):
        iam.simulate_principal_policy(PolicySourceArn=f"arn:aws:iam::{account}:user/no", ActionNames=["s3:GetObject"])
    with refused("InvalidInput"):
        iam.simulate_principal_policy(PolicySourceArn="arn:aws:iam::999988887777:user/no", ActionNames=["s3:Get"])
