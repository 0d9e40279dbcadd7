"""Security groups: made, found, deleted, and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from freehold.config import Config
from freehold.quotas import SECURITY_GROUPS
from freehold.records.feed import position, since
from freehold.records.ids import InstanceId, new_id
from freehold.records.network import Subnet, Vpc, subnets
from freehold.records.store import Store
from freehold.services.ec2.interfaces import create_primary_interface
from tests.cloudapi import api_server
from tests.ec2.calls import Caller, refused
from tests.ec2.conftest import opened


def default_group(caller: Caller) -> Any:
    (group,) = caller.describe_security_groups(GroupNames=["default"])["SecurityGroups"]
    return group


def test_the_default_group_lets_members_reach_each_other_and_everything(caller: Caller) -> None:
    group = default_group(caller)
    assert group["Description"] == "default VPC security group"
    assert group["SecurityGroupArn"] == f"arn:aws:ec2:us-east-1:111122223333:security-group/{group['GroupId']}"
    assert group["IpPermissions"] == [
        {
            "IpProtocol": "-1",
            "IpRanges": [],
            "Ipv6Ranges": [],
            "PrefixListIds": [],
            "UserIdGroupPairs": [{"GroupId": group["GroupId"], "UserId": "111122223333"}],
        }
    ]
    with refused("CannotDelete"):
        caller.delete_security_group(GroupId=group["GroupId"])


def test_a_new_group_has_its_egress_rule_its_tags_and_its_place(caller: Caller) -> None:
    with caller.store.read() as tx:
        before = position(tx)
    created = caller.create_security_group(
        GroupName="web  ",
        Description="Web servers (all of them!)",
        TagSpecifications=[{"ResourceType": "security-group", "Tags": [{"Key": "tier", "Value": "1"}]}],
    )
    assert created["Tags"] == [{"Key": "tier", "Value": "1"}]
    (group,) = caller.describe_security_groups(GroupIds=[created["GroupId"]])["SecurityGroups"]
    (vpc,) = caller.describe_vpcs()["Vpcs"]
    with caller.store.read() as tx:
        assert since(tx, before, ("vpc",))[1] == {("vpc", vpc["VpcId"])}
    assert (group["GroupName"], group["VpcId"]) == ("web", vpc["VpcId"])
    assert (group["IpPermissions"], group["Tags"]) == ([], created["Tags"])
    assert [p["IpRanges"] for p in group["IpPermissionsEgress"]] == [[{"CidrIp": "0.0.0.0/0"}]]
    with refused("InvalidGroup.Duplicate"):
        caller.create_security_group(GroupName="web", Description="again", VpcId=vpc["VpcId"])
    assert caller.delete_security_group(GroupId=group["GroupId"]) == {"Return": True, "GroupId": group["GroupId"]}
    with refused("InvalidGroup.NotFound"):
        caller.describe_security_groups(GroupIds=[group["GroupId"]])
    with refused("InvalidGroup.NotFound"):
        caller.delete_security_group(GroupName="web")
    assert caller.describe_tags() == {"Tags": []}


@pytest.mark.parametrize(
    ("name", "description", "code"),
    [
        ("sg-web", "d", "InvalidParameterValue"),
        ("SG-web", "d", "InvalidParameterValue"),
        ("default", "d", "InvalidParameterValue"),
        ("x" * 256, "d", "InvalidParameterValue"),
        ("a\nb", "d", "InvalidParameterValue"),
        ("a\0", "d", "InvalidParameterValue"),
        ("Straße", "d", "InvalidParameterValue"),
        ("a'; DROP", "d", "InvalidParameterValue"),
        ("web", "<script>", "InvalidParameterValue"),
        ("web", "x" * 256, "InvalidParameterValue"),
        ("", "d", "MissingParameter"),
        ("  ", "d", "MissingParameter"),
        ("web", "", "MissingParameter"),
    ],
)
def test_names_that_may_not_be(caller: Caller, name: str, description: str, code: str) -> None:
    with refused(code):
        caller.create_security_group(GroupName=name, Description=description)


def test_a_group_in_use_stays(caller: Caller) -> None:
    group_id = caller.create_security_group(GroupName="web", Description="d")["GroupId"]
    with caller.store.write() as tx:
        subnet = tx.find(Subnet, subnets.c.account_id == caller.account)
        assert subnet is not None
        create_primary_interface(caller.call(tx, "RunInstances"), subnet, InstanceId(new_id("i")), group_ids=[group_id])
    with refused("DependencyViolation"):
        caller.delete_security_group(GroupId=group_id)


def test_groups_of_others_do_not_exist(caller: Caller, stranger: Caller) -> None:
    theirs = default_group(stranger)["GroupId"]
    for operation, request, code in (
        ("describe_security_groups", {"GroupIds": [theirs]}, "InvalidGroup.NotFound"),
        ("describe_security_groups", {"GroupIds": ["sg-\0"]}, "InvalidGroupId.Malformed"),
        ("describe_security_groups", {"GroupNames": ["nobody", "a\0b"]}, "InvalidGroup.NotFound"),
        ("delete_security_group", {"GroupId": theirs}, "InvalidGroup.NotFound"),
        ("delete_security_group", {"GroupId": theirs, "GroupName": "web"}, "InvalidParameterCombination"),
        ("delete_security_group", {}, "MissingParameter"),
        (
            "create_security_group",
            {"GroupName": "web", "Description": "d", "VpcId": stranger.describe_vpcs()["Vpcs"][0]["VpcId"]},
            "InvalidVpcID.NotFound",
        ),
    ):
        with refused(code):
            getattr(caller, operation)(**request)
    assert {g["OwnerId"] for g in caller.describe_security_groups()["SecurityGroups"]} == {caller.account}


def test_without_a_default_vpc_a_group_needs_its_vpc(caller: Caller) -> None:
    (vpc,) = caller.describe_vpcs()["Vpcs"]
    with caller.store.write() as tx:
        record = tx.get(Vpc, vpc["VpcId"])
        assert record is not None
        tx.update(record, is_default=False)
    with refused("VPCIdNotSpecified"):
        caller.create_security_group(GroupName="web", Description="d")
    caller.create_security_group(GroupName="web", Description="d", VpcId=vpc["VpcId"])
    with refused("InvalidGroup.NotFound"):
        caller.describe_security_groups(GroupNames=["web"])


def test_a_region_holds_so_many_groups(caller: Caller, store: Store) -> None:
    caller.config = Config(quotas={SECURITY_GROUPS: 2})
    caller.create_security_group(GroupName="one", Description="d")
    with refused("SecurityGroupLimitExceeded"):
        caller.create_security_group(GroupName="two", Description="d")
    opened(store, "111122223333", "eu-west-1").create_security_group(GroupName="two", Description="d")


def test_pages_hold_every_group_once(caller: Caller) -> None:
    made = {caller.create_security_group(GroupName=f"g{n}", Description="d")["GroupId"] for n in range(11)}
    made.add(default_group(caller)["GroupId"])
    seen: list[str] = []
    token: dict[str, str] = {}
    while True:
        answer = caller.describe_security_groups(MaxResults=5, **token)
        seen += [group["GroupId"] for group in answer["SecurityGroups"]]
        if "NextToken" not in answer:
            break
        token = {"NextToken": answer["NextToken"]}
    assert len(seen) == 12
    assert set(seen) == made


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("description", "Web *"),
        ("egress.ip-permission.cidr", "0.0.0.0/0"),
        ("egress.ip-permission.from-port", "-1"),
        ("egress.ip-permission.protocol", "-1"),
        ("group-name", "web"),
        ("owner-id", "111122223333"),
        ("tag:tier", "1"),
        ("tag-key", "tier"),
    ],
)
def test_filters_find_a_group(caller: Caller, name: str, value: str) -> None:
    web = caller.create_security_group(
        GroupName="web",
        Description="Web servers",
        TagSpecifications=[{"ResourceType": "security-group", "Tags": [{"Key": "tier", "Value": "1"}]}],
    )
    found = caller.describe_security_groups(Filters=[{"Name": name, "Values": [value]}])["SecurityGroups"]
    assert web["GroupId"] in {group["GroupId"] for group in found}
    found = caller.describe_security_groups(Filters=[{"Name": name, "Values": ["other"]}])["SecurityGroups"]
    assert found == []


def test_a_group_is_found_by_the_group_that_a_rule_names(caller: Caller) -> None:
    group = default_group(caller)
    caller.create_security_group(GroupName="web", Description="d")
    for name, value in (("group-id", group["GroupId"]), ("group-name", "default"), ("user-id", group["OwnerId"])):
        asked = [{"Name": f"ip-permission.{name}", "Values": [value]}]
        assert caller.describe_security_groups(Filters=asked)["SecurityGroups"] == [group]
        asked = [{"Name": f"egress.ip-permission.{name}", "Values": [value]}]
        assert caller.describe_security_groups(Filters=asked)["SecurityGroups"] == []
    with refused("InvalidParameterValue"):
        caller.describe_security_groups(Filters=[{"Name": "ip-permission.colour", "Values": ["red"]}])


def test_boto3_makes_finds_and_deletes_a_group(tmp_path: Path) -> None:
    with api_server(tmp_path) as api:
        ec2: Any = api.client("ec2")
        group_id = ec2.create_security_group(GroupName="web", Description="d")["GroupId"]
        ec2.get_waiter("security_group_exists").wait(GroupIds=[group_id])
        pages = ec2.get_paginator("describe_security_groups").paginate(
            Filters=[{"Name": "group-name", "Values": ["w?b"]}], PaginationConfig={"PageSize": 5}
        )
        (group,) = [group for page in pages for group in page["SecurityGroups"]]
        assert group["IpPermissions"] == []
        assert "FromPort" not in group["IpPermissionsEgress"][0]
        ec2.delete_security_group(GroupId=group_id)
