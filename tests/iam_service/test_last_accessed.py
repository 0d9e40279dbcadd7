"""Who used what when, and by which policies: from the audit trail of real calls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from freehold.control.sealing import Chain
from freehold.iam import data
from tests.cloudapi import ApiServer, Keys
from tests.front.audited import records, written
from tests.iam_service.documents import EC2, allowing
from tests.iam_service.refusals import refused


def follow(api: ApiServer, directory: Path) -> None:
    """What the controllers do every second with the audit trail."""
    Chain(api.store, api.sealer, directory / "audit.head").follow()


def user(api: ApiServer, iam: Any, name: str) -> tuple[str, Keys]:
    arn: str = iam.create_user(UserName=name)["User"]["Arn"]
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return arn, Keys(key["AccessKeyId"], key["SecretAccessKey"])


def report(iam: Any, arn: str) -> dict[str, Mapping[str, Any]]:
    job = iam.generate_service_last_accessed_details(Arn=arn)["JobId"]
    found: dict[str, Mapping[str, Any]] = {}
    request: dict[str, Any] = {"JobId": job}
    while True:
        page = iam.get_service_last_accessed_details(**request)
        assert (page["JobStatus"], page["JobType"]) == ("COMPLETED", "SERVICE_LEVEL")
        found |= {service["ServiceNamespace"]: service for service in page["ServicesLastAccessed"]}
        if not page["IsTruncated"]:
            return found
        request["Marker"] = page["Marker"]


def test_what_users_groups_and_policies_gave_and_who_used_it(api: ApiServer, iam: Any, tmp_path: Path) -> None:
    policy = iam.create_policy(PolicyName="look", PolicyDocument=allowing("ec2:Describe*", "s3:Get*"))["Policy"]["Arn"]
    iam.create_group(GroupName="staff")
    iam.attach_group_policy(GroupName="staff", PolicyArn=policy)
    (alice, alices), (bob, _) = user(api, iam, "alice"), user(api, iam, "bob")
    for name in ("alice", "bob"):
        iam.add_user_to_group(GroupName="staff", UserName=name)
    iam.put_user_policy(UserName="bob", PolicyName="own", PolicyDocument=allowing("kms:ListKeys"))
    before = sum(record["eventName"] == "DescribeKeyPairs" for record in written(api.store))
    api.client("ec2", region="eu-west-1", keys=alices).describe_key_pairs()
    records(api, "DescribeKeyPairs", before + 1)
    follow(api, tmp_path)
    found = report(iam, alice)
    assert found.keys() == {"ec2", "s3"}
    assert found["s3"] == {"ServiceName": "Amazon S3", "ServiceNamespace": "s3", "TotalAuthenticatedEntities": 0}
    ec2 = found["ec2"]
    assert (ec2["ServiceName"], ec2["LastAuthenticatedEntity"]) == ("Amazon EC2", alice)
    assert (ec2["LastAuthenticatedRegion"], ec2["TotalAuthenticatedEntities"]) == ("eu-west-1", 1)
    assert {name: service["TotalAuthenticatedEntities"] for name, service in report(iam, bob).items()} == {
        "ec2": 0,
        "s3": 0,
        "kms": 0,
    }
    group = iam.get_group(GroupName="staff")["Group"]["Arn"]
    for of_both in (group, policy):
        assert report(iam, of_both)["ec2"] == ec2
        job = iam.generate_service_last_accessed_details(Arn=of_both)["JobId"]
        page = iam.get_service_last_accessed_details_with_entities(JobId=job, ServiceNamespace="ec2", MaxItems=1)
        (first,) = page["EntityDetailsList"]
        assert (first["EntityInfo"]["Arn"], first["EntityInfo"]["Type"]) == (alice, "USER")
        assert first["LastAuthenticated"] == ec2["LastAuthenticated"]
        page = iam.get_service_last_accessed_details_with_entities(
            JobId=job, ServiceNamespace="ec2", MaxItems=1, Marker=page["Marker"]
        )
        (second,) = page["EntityDetailsList"]
        assert (second["EntityInfo"]["Name"], "LastAuthenticated" in second) == ("bob", False)


def test_an_administrator_may_use_every_service(iam: Any) -> None:
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument=EC2)
    iam.attach_role_policy(RoleName="worker", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    arn = iam.get_role(RoleName="worker")["Role"]["Arn"]
    assert report(iam, arn).keys() == data.services().keys()
    power = report(iam, "arn:aws:iam::aws:policy/PowerUserAccess")
    assert {"ec2", "iam"} <= power.keys()  # some of iam


def test_a_report_is_for_whoever_began_it(api: ApiServer, iam: Any) -> None:
    alice, keys = user(api, iam, "alice")
    iam.put_user_policy(UserName="alice", PolicyName="own", PolicyDocument=allowing("iam:*"))
    job = iam.generate_service_last_accessed_details(Arn=alice)["JobId"]
    with refused("NoSuchEntity", 404):
        api.client("iam", keys=keys).get_service_last_accessed_details(JobId=job)
    account = iam.get_user()["User"]["UserId"]
    for arn, code, status in (
        (f"arn:aws:iam::{account}:user/nobody", "NoSuchEntity", 404),
        (f"arn:aws:iam::{account}:policy/nothing", "NoSuchEntity", 404),
        ("arn:aws:s3:::a-bucket-of-mine", "InvalidInput", 400),
    ):
        with refused(code, status):
            iam.generate_service_last_accessed_details(Arn=arn)
    with refused("UnsupportedOperation"):
        iam.generate_service_last_accessed_details(Arn=alice, Granularity="ACTION_LEVEL")
