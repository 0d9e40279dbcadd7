"""By which policies a service may be used."""

from __future__ import annotations

import json
from typing import Any

from tests.iam_service.refusals import refused


def test_by_which_policies_a_service_may_be_used(iam: Any) -> None:
    arn = iam.create_user(UserName="alice")["User"]["Arn"]
    iam.create_group(GroupName="staff")
    iam.add_user_to_group(GroupName="staff", UserName="alice")
    read_only = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
    iam.attach_user_policy(UserName="alice", PolicyArn=read_only)
    others = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "NotAction": ["iam:*"], "Resource": "*"}}
    iam.put_group_policy(GroupName="staff", PolicyName="others", PolicyDocument=json.dumps(others))
    found = iam.list_policies_granting_service_access(Arn=arn, ServiceNamespaces=["s3", "ec2", "iam"])
    inline = {"PolicyName": "others", "PolicyType": "INLINE", "EntityType": "GROUP", "EntityName": "staff"}
    managed = {"PolicyName": "AmazonS3ReadOnlyAccess", "PolicyType": "MANAGED", "PolicyArn": read_only}
    assert found["PoliciesGrantingServiceAccess"] == [
        {"ServiceNamespace": "s3", "Policies": [managed, inline]},
        {"ServiceNamespace": "ec2", "Policies": [inline]},
        {"ServiceNamespace": "iam", "Policies": []},
    ]


def test_whose_policies_there_are(iam: Any) -> None:
    account = iam.get_user()["User"]["UserId"]
    with refused("NoSuchEntity", 404):
        iam.list_policies_granting_service_access(Arn=f"arn:aws:iam::{account}:role/nobody", ServiceNamespaces=["s3"])
    with refused("InvalidInput"):
        iam.list_policies_granting_service_access(Arn="arn:aws:s3:::a-bucket-of-mine", ServiceNamespaces=["s3"])
