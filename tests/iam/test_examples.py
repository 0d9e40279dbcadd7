"""The example policies of AWS's documentation, and what they are said there to do.

https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_examples.html
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from freehold.iam.evaluate import Policies, Policy, evaluate
from freehold.iam.principals import Who
from tests.iam.granting import allow, deny

ALICE = Who("arn:aws:iam::111122223333:user/alice", "111122223333")
INSTANCE = "arn:aws:ec2:us-east-1:111122223333:instance/i-1"
EVERYTHING = allow("*")


def not_action(*actions: str, **condition: Any) -> dict[str, Any]:
    statement = deny("*", **condition)
    del statement["Action"]
    return statement | {"NotAction": list(actions)}


OUTSIDE_REGIONS = not_action(
    "cloudfront:*", "iam:*", "sts:*", StringNotEquals={"aws:RequestedRegion": ["eu-central-1", "eu-west-1"]}
)
OUTSIDE_NETWORKS = deny(
    "*",
    NotIpAddress={"aws:SourceIp": ["192.0.2.0/24", "203.0.113.0/24"]},
    Bool={"aws:ViaAWSService": "false"},
)
WITHOUT_MFA = not_action(
    "iam:CreateVirtualMFADevice", "sts:GetSessionToken", BoolIfExists={"aws:MultiFactorAuthPresent": "false"}
)
BETWEEN_DATES = allow(
    "service-prefix:action-name",
    DateGreaterThan={"aws:CurrentTime": "2020-04-01T00:00:00Z"},
    DateLessThan={"aws:CurrentTime": "2020-06-30T23:59:59Z"},
)
OWN_INSTANCES = allow(
    ["ec2:StartInstances", "ec2:StopInstances"],
    "arn:aws:ec2:*:*:instance/*",
    StringEquals={"aws:ResourceTag/Owner": "${aws:username}"},
)
ALLOWED_TAG_KEYS = allow(
    "ec2:CreateTags",
    INSTANCE,
    StringEquals={"aws:RequestTag/environment": ["preprod", "production"]},
    **{"ForAllValues:StringEquals": {"aws:TagKeys": ["environment", "cost-center"]}},
)
OWN_CREDENTIALS = allow(["iam:*LoginProfile", "iam:*AccessKey*"], "arn:aws:iam::111122223333:user/${aws:username}")


INSIDE = {"aws:sourceip": "203.0.113.7", "aws:viaawsservice": "false"}
OUTSIDE = {"aws:sourceip": "198.51.100.1", "aws:viaawsservice": "false"}


def tags(environment: str, keys: list[str]) -> dict[str, Any]:
    return {"aws:requesttag/environment": environment, "aws:tagkeys": keys}


@pytest.mark.parametrize(
    ("statements", "action", "resource", "context", "allowed"),
    [
        ([EVERYTHING, OUTSIDE_REGIONS], "ec2:RunInstances", "*", {"aws:requestedregion": "eu-west-1"}, True),
        ([EVERYTHING, OUTSIDE_REGIONS], "ec2:RunInstances", "*", {"aws:requestedregion": "us-east-1"}, False),
        ([EVERYTHING, OUTSIDE_REGIONS], "iam:GetUser", "*", {"aws:requestedregion": "us-east-1"}, True),
        ([EVERYTHING, OUTSIDE_NETWORKS], "s3:GetObject", "*", INSIDE, True),
        ([EVERYTHING, OUTSIDE_NETWORKS], "s3:GetObject", "*", OUTSIDE, False),
        ([EVERYTHING, OUTSIDE_NETWORKS], "s3:GetObject", "*", OUTSIDE | {"aws:viaawsservice": "true"}, True),
        ([EVERYTHING, WITHOUT_MFA], "ec2:RunInstances", "*", {}, False),
        ([EVERYTHING, WITHOUT_MFA], "ec2:RunInstances", "*", {"aws:multifactorauthpresent": "false"}, False),
        ([EVERYTHING, WITHOUT_MFA], "ec2:RunInstances", "*", {"aws:multifactorauthpresent": "true"}, True),
        ([EVERYTHING, WITHOUT_MFA], "iam:CreateVirtualMFADevice", "*", {}, True),
        ([BETWEEN_DATES], "service-prefix:action-name", "*", {"aws:currenttime": "2020-05-01T00:00:00Z"}, True),
        ([BETWEEN_DATES], "service-prefix:action-name", "*", {"aws:currenttime": "2020-07-01T00:00:00Z"}, False),
        ([OWN_INSTANCES], "ec2:StopInstances", INSTANCE, {"aws:resourcetag/owner": "alice"}, True),
        ([OWN_INSTANCES], "ec2:StopInstances", INSTANCE, {"aws:resourcetag/owner": "Alice"}, False),
        ([OWN_INSTANCES], "ec2:StopInstances", INSTANCE, {}, False),
        ([OWN_INSTANCES], "ec2:TerminateInstances", INSTANCE, {"aws:resourcetag/owner": "alice"}, False),
        ([ALLOWED_TAG_KEYS], "ec2:CreateTags", INSTANCE, tags("preprod", ["environment"]), True),
        ([ALLOWED_TAG_KEYS], "ec2:CreateTags", INSTANCE, tags("preprod", ["environment", "x"]), False),
        ([ALLOWED_TAG_KEYS], "ec2:CreateTags", INSTANCE, tags("test", ["environment"]), False),
        ([OWN_CREDENTIALS], "iam:CreateAccessKey", "arn:aws:iam::111122223333:user/alice", {}, True),
        ([OWN_CREDENTIALS], "iam:CreateAccessKey", "arn:aws:iam::111122223333:user/bob", {}, False),
        ([OWN_CREDENTIALS], "iam:CreateUser", "arn:aws:iam::111122223333:user/alice", {}, False),
    ],
)  # fmt: skip
def test_example(statements: Any, action: str, resource: str, context: Any, allowed: bool) -> None:
    policy = Policy.of(json.dumps({"Version": "2012-10-17", "Statement": statements}))
    lookup = ({"aws:username": "alice"} | context).get
    assert evaluate(ALICE, action, resource, lookup, Policies(identity=[policy])).allowed is allowed
