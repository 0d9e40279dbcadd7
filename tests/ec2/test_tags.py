"""Tags: on every kind of resource, within AWS's limits, found by wildcards and page by page."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from freehold.services.ec2.key_pairs import delete_key_pair
from freehold.services.ec2.resources import KINDS
from freehold.services.ec2.security_groups import delete_security_group
from freehold.services.errors import AwsError
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import IMAGE, run_one
from tests.ec2.snapshotting import snapshot_of


def pairs(**tags: str) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def held(caller: Caller, resource_id: str) -> dict[str, str]:
    found = caller.describe_tags(Filters=[{"Name": "resource-id", "Values": [resource_id]}])["Tags"]
    return {tag["Key"]: tag["Value"] for tag in found}


@pytest.fixture
def vpc_id(caller: Caller) -> str:
    vpc_id: str = caller.describe_vpcs()["Vpcs"][0]["VpcId"]
    return vpc_id


def one_of_each_kind(ready: Caller) -> dict[str, str]:
    """A resource of every kind that can be tagged: resource type → id."""
    instance_id = run_one(ready)
    group = ready.describe_security_groups()["SecurityGroups"][0]["GroupId"]
    volume = ready.describe_volumes()["Volumes"][0]
    template = ready.create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"ImageId": IMAGE})
    template_id = template["LaunchTemplate"]["LaunchTemplateId"]
    reserved = {"InstanceType": "t3.nano", "InstancePlatform": "Linux/UNIX", "AvailabilityZone": "us-east-1a"}
    launch = {"ImageId": IMAGE, "InstanceType": "t3.nano"}
    named = {"LaunchTemplateSpecification": {"LaunchTemplateId": template_id, "Version": "1"}}
    snapshot_id = snapshot_of(ready, volume["VolumeId"])
    return {
        "import-image-task": ready.import_image(DiskContainers=[{"SnapshotId": snapshot_id}])["ImportTaskId"],
        "capacity-reservation": ready.create_capacity_reservation(**reserved, InstanceCount=1)["CapacityReservation"][
            "CapacityReservationId"
        ],
        "fleet": ready.create_fleet(
            Type="instant",
            TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
            LaunchTemplateConfigs=[{**named, "Overrides": [{"InstanceType": "t3.nano"}]}],
        )["FleetId"],
        "placement-group": ready.create_placement_group(GroupName="g", Strategy="spread")["PlacementGroup"]["GroupId"],
        "replace-root-volume-task": ready.create_replace_root_volume_task(InstanceId=instance_id)[
            "ReplaceRootVolumeTask"
        ]["ReplaceRootVolumeTaskId"],
        "snapshot": snapshot_id,
        "spot-instances-request": ready.request_spot_instances(LaunchSpecification=launch)["SpotInstanceRequests"][0][
            "SpotInstanceRequestId"
        ],
        "elastic-ip": ready.allocate_address()["AllocationId"],
        "instance": instance_id,
        "instance-event-window": ready.create_instance_event_window(CronExpression="* 0-4 * * SUN")[
            "InstanceEventWindow"
        ]["InstanceEventWindowId"],
        "internet-gateway": ready.describe_internet_gateways()["InternetGateways"][0]["InternetGatewayId"],
        "key-pair": ready.create_key_pair(KeyName="k", KeyType="ed25519")["KeyPairId"],
        "launch-template": template_id,
        "network-interface": ready.describe_network_interfaces()["NetworkInterfaces"][0]["NetworkInterfaceId"],
        "route-table": ready.describe_route_tables()["RouteTables"][0]["RouteTableId"],
        "security-group": group,
        "security-group-rule": ready.describe_security_group_rules()["SecurityGroupRules"][0]["SecurityGroupRuleId"],
        "subnet": ready.describe_subnets()["Subnets"][0]["SubnetId"],
        "volume": volume["VolumeId"],
        "vpc": ready.describe_vpcs()["Vpcs"][0]["VpcId"],
    }


def own_tags(caller: Caller) -> list[Mapping[str, Any]]:
    """All but those of AWS, which tell of what fleet an instance is."""
    return [tag for tag in caller.describe_tags()["Tags"] if not tag["Key"].startswith("aws:")]


def test_every_kind_has_tags_that_its_description_and_filters_show(ready: Caller, stranger: Caller) -> None:
    resources = one_of_each_kind(ready)
    assert {kind.resource_type for kind in KINDS.values()} == {*resources, "image"}
    ready.create_tags(Resources=list(resources.values()), Tags=pairs(team="web", stage="test"))
    shown = own_tags(ready)
    assert {(tag["ResourceType"], tag["ResourceId"]) for tag in shown} == set(resources.items())
    assert len(shown) == 2 * len(resources)
    by_tag = {"Filters": [{"Name": "tag:team", "Values": ["web"]}]}
    for answer in (
        ready.describe_addresses(**by_tag)["Addresses"],
        ready.describe_capacity_reservations(**by_tag)["CapacityReservations"],
        ready.describe_import_image_tasks(**by_tag)["ImportImageTasks"],
        ready.describe_instance_event_windows(**by_tag)["InstanceEventWindows"],
        ready.describe_instances(**by_tag)["Reservations"][0]["Instances"],
        ready.describe_internet_gateways(**by_tag)["InternetGateways"],
        ready.describe_key_pairs(**by_tag)["KeyPairs"],
        ready.describe_launch_templates(**by_tag)["LaunchTemplates"],
        ready.describe_placement_groups(**by_tag)["PlacementGroups"],
        ready.describe_replace_root_volume_tasks(**by_tag)["ReplaceRootVolumeTasks"],
        ready.describe_route_tables(**by_tag)["RouteTables"],
        ready.describe_security_groups(**by_tag)["SecurityGroups"],
        ready.describe_security_group_rules(**by_tag)["SecurityGroupRules"],
        ready.describe_snapshots(**by_tag)["Snapshots"],
        ready.describe_spot_instance_requests(**by_tag)["SpotInstanceRequests"],
        ready.describe_subnets(**by_tag)["Subnets"],
        ready.describe_volumes(**by_tag)["Volumes"],
        ready.describe_vpcs(**by_tag)["Vpcs"],
    ):
        assert [resource["Tags"] for resource in answer] == [pairs(stage="test", team="web")]
    (interface,) = ready.describe_network_interfaces(**by_tag)["NetworkInterfaces"]
    assert interface["TagSet"] == pairs(stage="test", team="web")
    assert stranger.describe_tags() == {"Tags": []}
    ready.delete_tags(Resources=list(resources.values()), Tags=[{"Key": "team"}])
    assert {tag["Key"] for tag in own_tags(ready)} == {"stage"}
    ready.delete_tags(Resources=list(resources.values()))
    assert own_tags(ready) == []


def test_unknown_ids_get_the_code_of_their_kind_and_nothing_is_tagged(
    ready: Caller, stranger: Caller, vpc_id: str
) -> None:
    missing = "0123456789abcdef0"
    for resource_id, code in (
        (f"eipalloc-{missing}", "InvalidAllocationID.NotFound"),
        ("ami-0fffffffffffffff0", "InvalidAMIID.NotFound"),
        (f"i-{missing}", "InvalidInstanceID.NotFound"),
        (f"igw-{missing}", "InvalidInternetGatewayID.NotFound"),
        (f"key-{missing}", "InvalidKeyPair.NotFound"),
        (f"eni-{missing}", "InvalidNetworkInterfaceID.NotFound"),
        (f"lt-{missing}", "InvalidLaunchTemplateId.NotFound"),
        (f"rtb-{missing}", "InvalidRouteTableID.NotFound"),
        (f"sg-{missing}", "InvalidGroup.NotFound"),
        (f"sgr-{missing}", "InvalidSecurityGroupRuleId.NotFound"),
        (f"subnet-{missing}", "InvalidSubnetID.NotFound"),
        (f"vol-{missing}", "InvalidVolume.NotFound"),
        (f"vpc-{missing}", "InvalidVpcID.NotFound"),
        (stranger.describe_vpcs()["Vpcs"][0]["VpcId"], "InvalidVpcID.NotFound"),
        ("i-", "InvalidInstanceID.Malformed"),
        ("vpc-x\0", "InvalidVpcID.Malformed"),
        ("web", "InvalidID"),
        ("", "InvalidID"),
        (f"tgw-{missing}", "InvalidID"),
        (IMAGE, "UnsupportedOperation"),
    ):
        with refused(code):
            ready.create_tags(Resources=[vpc_id, resource_id], Tags=pairs(team="web"))
        with refused(code):
            ready.delete_tags(Resources=[vpc_id, resource_id])
    assert ready.describe_tags() == {"Tags": []}


def test_limits(caller: Caller, vpc_id: str) -> None:
    for tags, code in (
        ([{"Key": "k" * 129, "Value": "v"}], "InvalidParameterValue"),
        ([{"Key": "k", "Value": "v" * 257}], "InvalidParameterValue"),
        ([{"Key": "aws:k", "Value": "v"}], "InvalidParameterValue"),
        ([{"Key": "AWS:k", "Value": "v"}], "InvalidParameterValue"),
        ([{"Key": "k\0", "Value": "v"}], "InvalidParameterValue"),
        ([{"Key": "k", "Value": "\x1b[31m"}], "InvalidParameterValue"),
        ([{"Key": "k", "Value": "\ud800"}], "InvalidParameterValue"),
        ([{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}], "InvalidParameterValue"),
        ([{"Value": "v"}], "MissingParameter"),
        (pairs(**{f"k{number}": "v" for number in range(51)}), "TagLimitExceeded"),
    ):
        with refused(code):
            caller.create_tags(Resources=[vpc_id], Tags=tags)
    assert held(caller, vpc_id) == {}
    longest = {"ä" * 128: "\U0001f600" * 256, "empty": "", "aws": "aws:", "k'\";--": "%s {} \u202e\n"}
    caller.create_tags(Resources=[vpc_id], Tags=pairs(**longest))
    caller.create_tags(Resources=[vpc_id], Tags=[{"Key": "valueless"}])
    assert held(caller, vpc_id) == longest | {"valueless": ""}
    more = {f"k{number}": "v" for number in range(45)}
    caller.create_tags(Resources=[vpc_id], Tags=pairs(**more))
    assert len(held(caller, vpc_id)) == 50
    with refused("TagLimitExceeded"):
        caller.create_tags(Resources=[vpc_id], Tags=pairs(k0="changed", one_more="v"))
    caller.create_tags(Resources=[vpc_id, vpc_id], Tags=pairs(k0="changed"))
    assert held(caller, vpc_id)["k0"] == "changed"
    with refused("InvalidParameterValue"):
        caller.create_tags(Resources=[vpc_id] * 1001, Tags=pairs(k="v"))


def test_deleting_with_and_without_values(caller: Caller, vpc_id: str) -> None:
    caller.create_tags(Resources=[vpc_id], Tags=pairs(a="1", b="", c="3", d="4"))
    caller.delete_tags(Resources=[vpc_id], Tags=[{"Key": "a", "Value": "2"}, {"Key": "b", "Value": ""}, {"Key": "x"}])
    assert held(caller, vpc_id) == {"a": "1", "c": "3", "d": "4"}
    caller.delete_tags(Resources=[vpc_id], Tags=[{"Key": "a", "Value": "1"}, {"Key": "c"}, {"Key": "d", "Value": ""}])
    assert held(caller, vpc_id) == {"d": "4"}
    caller.delete_tags(Resources=[vpc_id], Tags=[{"Key": "d", "Value": "4\0"}])
    for tags, code in (
        ([{"Key": "aws:x"}], "InvalidParameterValue"),
        ([{"Key": "d\0"}], "InvalidParameterValue"),
        ([{"Value": "4"}], "MissingParameter"),
    ):
        with refused(code):
            caller.delete_tags(Resources=[vpc_id], Tags=tags)
    assert held(caller, vpc_id) == {"d": "4"}
    caller.delete_tags(Resources=[vpc_id])
    caller.delete_tags(Resources=[vpc_id])
    assert held(caller, vpc_id) == {}


def test_filters_and_pages(caller: Caller, vpc_id: str) -> None:
    subnet_id = caller.describe_subnets()["Subnets"][0]["SubnetId"]
    caller.create_tags(Resources=[vpc_id], Tags=pairs(name="a*b", Name="axb", stage="prod"))
    caller.create_tags(Resources=[subnet_id], Tags=pairs(name="100%", stage="test"))
    for filters, found in (
        ([("key", "name")], {"a*b", "100%"}),
        ([("key", "?ame")], {"a*b", "axb", "100%"}),
        ([("value", r"a\*b")], {"a*b"}),
        ([("value", "a*b")], {"a*b", "axb"}),
        ([("value", "%")], set()),
        ([("value", "*%")], {"100%"}),
        ([("value", "A*")], set()),
        ([("value", "x\0")], set()),
        ([("resource-type", "vpc")], {"a*b", "axb", "prod"}),
        ([("resource-type", "sub*"), ("key", "stage")], {"test"}),
        ([("resource-id", vpc_id), ("value", "p*")], {"prod"}),
        ([("tag:name", "*")], {"a*b", "100%"}),
        ([("tag:stage", "prod")], {"prod"}),
    ):
        given: list[Any] = [{"Name": name, "Values": [value]} for name, value in filters]
        assert {tag["Value"] for tag in caller.describe_tags(Filters=given)["Tags"]} == found, filters
    with refused("InvalidParameterValue") as caught:
        caller.describe_tags(Filters=[{"Name": "colour", "Values": ["red"]}])
    assert "colour" in caught.value.message
    everything = caller.describe_tags()["Tags"]
    caller.create_tags(Resources=[vpc_id], Tags=pairs(**{f"k{number}": "v" for number in range(9)}))
    seen, request = [], {"MaxResults": 5}
    while True:
        answer = caller.describe_tags(**request)
        seen += answer["Tags"]
        if "NextToken" not in answer:
            break
        request = {"MaxResults": 5, "NextToken": answer["NextToken"]}
    assert seen == caller.describe_tags()["Tags"]
    assert len(seen) == len(everything) + 9
    for limit in (0, 4, 1001):
        with refused("InvalidParameterValue"):
            caller.describe_tags(MaxResults=limit)


@pytest.mark.parametrize("kind", ["security-group", "key-pair"])
def test_no_tag_stays_on_what_is_deleted_at_that_moment(caller: Caller, kind: str) -> None:
    if kind == "key-pair":
        resource_id = caller.create_key_pair(KeyName="k", KeyType="ed25519")["KeyPairId"]
    else:
        resource_id = caller.create_security_group(GroupName="web", Description="d")["GroupId"]
    errors: list[AwsError] = []

    def tag() -> None:
        try:
            caller.create_tags(Resources=[resource_id], Tags=pairs(team="web"))
        except AwsError as error:
            errors.append(error)

    other = threading.Thread(target=tag)
    with caller.store.write() as tx:
        if kind == "key-pair":
            delete_key_pair(caller.call(tx, "DeleteKeyPair"), {"KeyPairId": resource_id})
        else:
            delete_security_group(caller.call(tx, "DeleteSecurityGroup"), {"GroupId": resource_id})
        other.start()
        other.join(0.5)  # it has to wait for us, or has ended by now
    other.join()
    assert [error.code.partition(".")[2] for error in errors] == ["NotFound"]
    assert caller.describe_tags() == {"Tags": []}
