"""What policies say of placement groups: their names and strategies, and the launches that are put into them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cloudapi import api_server
from tests.ec2.launching import IMAGE, add_host, add_images
from tests.iam.granting import Grants, allow, denied, deny
from tests.iam.test_ec2_resources import EVERY, TYPES, allowed_or, client, run


@pytest.fixture(scope="module")
def grants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grants]:
    with api_server(tmp_path_factory.mktemp("cloud")) as api:
        add_host(api.store, memory_mib=65536)
        add_images(api.store)
        api.client("ec2").create_placement_group(GroupName="red-apart", Strategy="spread", SpreadLevel="host")
        api.client("ec2").create_placement_group(GroupName="blue", Strategy="partition")
        yield Grants(api)


def test_groups_are_named_in_arns(grants: Grants) -> None:
    ec2 = client(
        grants, allow(["ec2:CreatePlacementGroup", "ec2:DeletePlacementGroup"], f"{EVERY}placement-group/mine-*")
    )
    with denied("ec2:CreatePlacementGroup on resource: arn:aws:ec2:us-east-1:", ":placement-group/yours"):
        ec2.create_placement_group(GroupName="yours")
    tags = {"TagSpecifications": [{"ResourceType": "placement-group", "Tags": [{"Key": "a", "Value": "b"}]}]}
    with denied("ec2:CreateTags on resource: arn:aws:ec2:us-east-1:", ":placement-group/mine-1"):
        ec2.create_placement_group(GroupName="mine-1", **tags)
    made = ec2.create_placement_group(GroupName="mine-1")["PlacementGroup"]
    tagger = client(grants, allow("ec2:CreateTags", f"{EVERY}placement-group/mine-1"))
    tagger.create_tags(Resources=[made["GroupId"]], Tags=[{"Key": "a", "Value": "b"}])
    by_tag = client(grants, allow("ec2:DeletePlacementGroup", StringEquals={"aws:ResourceTag/a": "c"}))
    with denied("ec2:DeletePlacementGroup"):
        by_tag.delete_placement_group(GroupName="mine-1")
    ec2.delete_placement_group(GroupName="mine-1")


def test_a_strategy_may_be_asked_for(grants: Grants) -> None:
    ec2 = client(grants, allow("ec2:CreatePlacementGroup", StringEquals={"ec2:PlacementGroupStrategy": "spread"}))
    with denied("ec2:CreatePlacementGroup"):
        ec2.create_placement_group(GroupName="near", Strategy="cluster")
    ec2.create_placement_group(GroupName="far", Strategy="spread")


def test_a_launch_needs_the_group(grants: Grants) -> None:
    others = allow("ec2:RunInstances", [f"{EVERY}{one}/*" for one in TYPES])
    into = {"Placement": {"GroupName": "red-apart"}}
    with denied("ec2:RunInstances on resource: arn:aws:ec2:us-east-1:", ":placement-group/red-apart"):
        run(client(grants, others), **into)
    named = allow("ec2:RunInstances", f"{EVERY}placement-group/*", StringLike={"ec2:PlacementGroupName": "blue*"})
    with denied(":placement-group/red-apart"):
        run(client(grants, others, named), **into)
    run(client(grants, others, named), Placement={"GroupName": "blue"})
    red = {"ArnLike": {"ec2:PlacementGroup": "arn:aws:ec2:*:*:placement-group/red-*"}}
    ec2 = client(grants, allow("ec2:*"), deny("ec2:TerminateInstances", **red))
    kept = run(ec2, **into)
    with denied("ec2:TerminateInstances"):
        ec2.terminate_instances(InstanceIds=[kept])


def test_moving_needs_the_instance_and_the_group(grants: Grants) -> None:
    root = grants.api.client("ec2")
    instance_id = run(root)
    only_instance = client(grants, allow("ec2:ModifyInstancePlacement", f"{EVERY}instance/*"))
    with denied("ec2:ModifyInstancePlacement", ":placement-group/blue"):
        only_instance.modify_instance_placement(InstanceId=instance_id, GroupName="blue")
    only_group = client(grants, allow("ec2:ModifyInstancePlacement", f"{EVERY}placement-group/*"))
    with denied("ec2:ModifyInstancePlacement", instance_id):
        only_group.modify_instance_placement(InstanceId=instance_id, GroupName="blue")


def test_reservations_are_said_what_they_are(grants: Grants) -> None:
    asked = {
        "InstanceType": "fh1.nano",
        "InstancePlatform": "Linux/UNIX",
        "AvailabilityZone": "us-east-1a",
        "InstanceCount": 1,
    }
    few = {"NumericLessThanEquals": {"ec2:InstanceCount": "2"}, "StringEquals": {"ec2:InstanceType": "fh1.nano"}}
    ec2 = client(grants, allow(["ec2:CreateCapacityReservation", "ec2:CreateTags"], **few))
    with denied("ec2:CreateCapacityReservation on resource: arn:aws:ec2:us-east-1:", ":capacity-reservation/*"):
        ec2.create_capacity_reservation(**asked | {"InstanceCount": 3})
    tags = {"TagSpecifications": [{"ResourceType": "capacity-reservation", "Tags": [{"Key": "team", "Value": "red"}]}]}
    with denied("ec2:CreateTags"):
        client(grants, allow("ec2:CreateCapacityReservation")).create_capacity_reservation(**asked, **tags)
    made = ec2.create_capacity_reservation(**asked, **tags)["CapacityReservation"]["CapacityReservationId"]

    target = {"CapacityReservationSpecification": {"CapacityReservationTarget": {"CapacityReservationId": made}}}
    others = allow("ec2:RunInstances", [f"{EVERY}{one}/*" for one in TYPES])
    with denied(f":capacity-reservation/{made}"):
        run(client(grants, others), InstanceType="fh1.nano", **target)
    red = allow("ec2:RunInstances", f"{EVERY}capacity-reservation/*", StringEquals={"aws:ResourceTag/team": "red"})
    run(client(grants, others, red), InstanceType="fh1.nano", **target)

    count = {"ForAllValues:StringEquals": {"ec2:Attribute": ["InstanceCount"]}}
    ec2 = client(grants, allow("ec2:ModifyCapacityReservation", **count))
    ec2.modify_capacity_reservation(CapacityReservationId=made, InstanceCount=2)
    with denied("ec2:ModifyCapacityReservation"):
        ec2.modify_capacity_reservation(CapacityReservationId=made, InstanceMatchCriteria="targeted")


SPECIFICATION = {"ImageId": IMAGE, "InstanceType": "fh1.nano"}


def test_a_spot_request_needs_what_it_will_use(grants: Grants) -> None:
    uses = [f"{EVERY}{one}/*" for one in ("spot-instances-request", "image", "subnet", "security-group")]
    for missing in uses:
        ec2 = client(grants, allow("ec2:RequestSpotInstances", [one for one in uses if one != missing]))
        with denied("ec2:RequestSpotInstances", missing.removeprefix(EVERY).removesuffix("*")):
            ec2.request_spot_instances(LaunchSpecification=SPECIFICATION)
    ec2 = client(grants, allow("ec2:RequestSpotInstances", uses))
    tags = [{"ResourceType": "spot-instances-request", "Tags": [{"Key": "team", "Value": "red"}]}]
    with denied("ec2:CreateTags", "spot-instances-request/*"):
        ec2.request_spot_instances(LaunchSpecification=SPECIFICATION, TagSpecifications=tags)
    (made,) = ec2.request_spot_instances(LaunchSpecification=SPECIFICATION)["SpotInstanceRequests"]
    request_id = made["SpotInstanceRequestId"]
    grants.api.client("ec2").create_tags(Resources=[request_id], Tags=tags[0]["Tags"])
    for team, refused in (("blue", True), ("red", False)):
        own = {"StringEquals": {"aws:ResourceTag/team": team}}
        with allowed_or(refused, "ec2:CancelSpotInstanceRequests", request_id):
            client(grants, allow("ec2:CancelSpotInstanceRequests", **own)).cancel_spot_instance_requests(
                SpotInstanceRequestIds=[request_id]
            )


def test_a_launch_may_have_to_be_spot(grants: Grants) -> None:
    others = [f"{EVERY}{one}/*" for one in TYPES if one != "instance"]
    spot = allow("ec2:RunInstances", f"{EVERY}instance/*", StringEquals={"ec2:InstanceMarketType": "spot"})
    ec2 = client(grants, allow("ec2:RunInstances", others), spot)
    with denied(":instance/*"):
        run(ec2)
    run(ec2, InstanceMarketOptions={"MarketType": "spot"})
