"""Instant fleets: what one call launches of several types, and how it ends."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import pytest

from freehold.config import Config
from freehold.control.housekeeping import keep_house
from freehold.quotas import RUNNING_VCPUS
from freehold.records.fleets import Fleet
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import IMAGE, add_host, add_images, census, host_reports, record, run_one, shown

DATA = {"ImageId": IMAGE, "InstanceType": "fh1.nano", "TagSpecifications": [
    {"ResourceType": "instance", "Tags": [{"Key": "from", "Value": "template"}]}]}  # fmt: skip


@pytest.fixture
def fleets(ready: Caller) -> Caller:
    """A caller with the launch template ``web``."""
    ready.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=DATA)
    return ready


def create(caller: Caller, total: int, *overrides: Mapping[str, Any], **request: Any) -> Mapping[str, Any]:
    config: dict[str, Any] = {"LaunchTemplateSpecification": {"LaunchTemplateName": "web", "Version": "$Latest"}}
    if overrides:
        config["Overrides"] = list(overrides)
    given = {
        "Type": "instant",
        "LaunchTemplateConfigs": [config],
        "TargetCapacitySpecification": {"TotalTargetCapacity": total, "DefaultTargetCapacityType": "on-demand"},
    }
    answer: Mapping[str, Any] = caller.create_fleet(**given | request)
    return answer


def types(answer: Mapping[str, Any]) -> list[tuple[str, int]]:
    return [(each["InstanceType"], len(each["InstanceIds"])) for each in answer["Instances"]]


def codes(answer: Mapping[str, Any]) -> list[str]:
    return [error["ErrorCode"] for error in answer["Errors"]]


def test_a_fleet_is_launched_at_once(fleets: Caller) -> None:
    answer = create(fleets, 3, TagSpecifications=[{"ResourceType": "fleet", "Tags": [{"Key": "team", "Value": "a"}]}])
    assert (types(answer), answer["Errors"]) == ([("fh1.nano", 3)], [])
    (part,) = answer["Instances"]
    assert part["Lifecycle"] == "on-demand"
    assert part["LaunchTemplateAndOverrides"]["LaunchTemplateSpecification"]["Version"] == "1"
    instance = shown(fleets, part["InstanceIds"][0])
    tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
    assert (tags["aws:ec2:fleet-id"], tags["from"]) == (answer["FleetId"], "template")
    assert tags["aws:ec2launchtemplate:version"] == "1"
    (fleet,) = fleets.describe_fleets(FleetIds=[answer["FleetId"]])["Fleets"]
    assert (fleet["FleetState"], fleet["ActivityStatus"], fleet["Type"]) == ("active", "fulfilled", "instant")
    assert (fleet["FulfilledCapacity"], fleet["FulfilledOnDemandCapacity"]) == (3, 3)
    assert fleet["Instances"] == answer["Instances"]
    assert fleet["Tags"] == [{"Key": "team", "Value": "a"}]
    assert fleets.describe_fleets()["Fleets"] == []  # instant ones are shown by their ids alone
    other = create(fleets, 1)["FleetId"]
    page = fleets.describe_fleets(FleetIds=[answer["FleetId"], other], MaxResults=1)
    (last,) = fleets.describe_fleets(FleetIds=[answer["FleetId"], other], NextToken=page["NextToken"])["Fleets"]
    assert [page["Fleets"][0]["FleetId"], last["FleetId"]] == [answer["FleetId"], other]
    by_state = [{"Name": "fleet-state", "Values": ["deleted"]}]
    assert fleets.describe_fleets(FleetIds=[answer["FleetId"]], Filters=by_state)["Fleets"] == []


def test_the_same_token_makes_one_fleet(fleets: Caller) -> None:
    first = create(fleets, 2, ClientToken="once")
    assert create(fleets, 2, ClientToken="once") == first
    with refused("IdempotentParameterMismatch"):
        create(fleets, 3, ClientToken="once")


def test_the_cheapest_or_the_first_by_priority_comes_first(fleets: Caller) -> None:
    both = ({"InstanceType": "t3.nano", "Priority": 1.0}, {"InstanceType": "fh1.micro", "Priority": 2.0})
    assert types(create(fleets, 1, *both)) == [("fh1.micro", 1)]
    by_priority = {"AllocationStrategy": "prioritized"}
    assert types(create(fleets, 1, *both, OnDemandOptions=by_priority)) == [("t3.nano", 1)]
    # By the unit: two of them for the price of one.
    weighed = ({"InstanceType": "t3.nano", "WeightedCapacity": 4.0}, {"InstanceType": "fh1.micro"})
    answer = create(fleets, 6, *weighed)
    assert types(answer) == [("t3.nano", 2)]
    (fleet,) = fleets.describe_fleets(FleetIds=[answer["FleetId"]])["Fleets"]
    assert fleet["FulfilledCapacity"] == 8


def test_what_one_pool_has_not_the_next_one_gives(caller: Caller) -> None:
    add_images(caller.store)
    add_host(caller.store, "small", "us-east-1a", memory_mib=384)
    add_host(caller.store, "large", "us-east-1b", memory_mib=1024)
    caller.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=DATA)
    answer = create(
        caller,
        5,
        {"InstanceType": "fh1.nano", "AvailabilityZone": "us-east-1a"},
        {"InstanceType": "fh1.micro", "AvailabilityZone": "us-east-1b"},
    )
    assert types(answer) == [("fh1.nano", 3), ("fh1.micro", 2)]
    assert codes(answer) == ["InsufficientInstanceCapacity"]
    (error,) = answer["Errors"]
    assert error["LaunchTemplateAndOverrides"]["Overrides"]["InstanceType"] == "fh1.nano"


def test_what_is_wrong_with_a_pool_is_an_error_of_the_fleet(fleets: Caller) -> None:
    answer = create(
        fleets, 2, {"KeyName": "none"}, {"InstanceType": "m5.metal"}, {"SubnetId": "subnet-0123456789abcdef0"}, {}
    )
    assert types(answer) == [("fh1.nano", 2)]
    assert codes(answer) == ["InvalidKeyPair.NotFound", "InvalidSubnetID.NotFound"]
    before = census(fleets.store)
    with refused("InvalidLaunchTemplateName.NotFoundException"):
        fleets.create_fleet(
            Type="instant",
            LaunchTemplateConfigs=[{"LaunchTemplateSpecification": {"LaunchTemplateName": "none", "Version": "1"}}],
            TargetCapacitySpecification={"TotalTargetCapacity": 1},
        )
    assert census(fleets.store) == before


def test_a_fleet_of_one_type_in_one_zone(caller: Caller) -> None:
    add_images(caller.store)
    add_host(caller.store, "small", "us-east-1a", memory_mib=256)
    add_host(caller.store, "large", "us-east-1b", memory_mib=1024)
    caller.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=DATA)
    together = {"SingleAvailabilityZone": True, "SingleInstanceType": True, "MinTargetCapacity": 4}
    answer = create(caller, 4, {"InstanceType": "fh1.micro"}, {"InstanceType": "fh1.nano"}, OnDemandOptions=together)
    assert types(answer) == [("fh1.nano", 4)]
    zones = {shown(caller, i)["Placement"]["AvailabilityZone"] for i in answer["Instances"][0]["InstanceIds"]}
    assert zones == {"us-east-1b"}
    nothing = create(caller, 9, {"InstanceType": "fh1.nano"}, OnDemandOptions=together | {"MinTargetCapacity": 9})
    assert nothing["Instances"] == []
    assert "InsufficientInstanceCapacity" in codes(nothing)


def test_a_fleet_costs_no_more_than_it_may(fleets: Caller) -> None:
    assert types(create(fleets, 5, OnDemandOptions={"MaxTotalPrice": "0.0027"})) == [("fh1.nano", 2)]
    with refused("InvalidParameterValue"):
        create(fleets, 5, OnDemandOptions={"MaxTotalPrice": "much"})


def test_types_are_chosen_by_requirements(fleets: Caller) -> None:
    needs = {"VCpuCount": {"Min": 2}, "MemoryMiB": {"Min": 512, "Max": 8192}, "BurstablePerformance": "included"}
    answer = create(fleets, 1, {"InstanceRequirements": needs | {"AllowedInstanceTypes": ["t3*"]}})
    assert types(answer) == [("t3a.nano", 1)]
    assert answer["Instances"][0]["LaunchTemplateAndOverrides"]["Overrides"]["InstanceType"] == "t3a.nano"
    by_vcpu = {"TotalTargetCapacity": 3, "TargetCapacityUnitType": "vcpu"}
    answer = create(
        fleets,
        3,
        {"InstanceRequirements": needs | {"AllowedInstanceTypes": ["t3.nano"]}},
        TargetCapacitySpecification=by_vcpu,
    )
    assert types(answer) == [("t3.nano", 2)]
    # m5.large costs more than 5 percent more than c5.large, and so may not be.
    near = {
        "VCpuCount": {"Min": 2, "Max": 2},
        "MemoryMiB": {"Min": 4096, "Max": 8192},
        "AllowedInstanceTypes": ["c5.large", "m5.large"],
        "OnDemandMaxPricePercentageOverLowestPrice": 5,
    }
    answer = create(fleets, 2, {"InstanceRequirements": near})
    assert types(answer) == [("c5.large", 1)]
    with refused("InvalidParameterValue"):
        create(fleets, 1, {"InstanceRequirements": needs | {"AcceleratorTypes": ["gpu"]}})


def test_a_quota_is_an_error_of_the_fleet(fleets: Caller) -> None:
    fleets.config = Config(quotas={RUNNING_VCPUS: 2})
    answer = create(fleets, 3)
    assert (types(answer), codes(answer)) == ([("fh1.nano", 2)], ["InsufficientInstanceCapacity"])
    assert codes(create(fleets, 1)) == ["VcpuLimitExceeded"]


def test_a_fleet_is_partly_from_spare_capacity(fleets: Caller) -> None:
    answer = create(
        fleets,
        3,
        TargetCapacitySpecification={
            "TotalTargetCapacity": 3,
            "OnDemandTargetCapacity": 1,
            "DefaultTargetCapacityType": "spot",
        },
        SpotOptions={"AllocationStrategy": "price-capacity-optimized"},
    )
    assert [(each["Lifecycle"], len(each["InstanceIds"])) for each in answer["Instances"]] == [
        ("on-demand", 1),
        ("spot", 2),
    ]
    spot = answer["Instances"][1]["InstanceIds"]
    assert {shown(fleets, instance_id)["InstanceLifecycle"] for instance_id in spot} == {"spot"}
    request_id = shown(fleets, spot[0])["SpotInstanceRequestId"]
    (fleet,) = fleets.describe_fleets(FleetIds=[answer["FleetId"]])["Fleets"]
    assert (fleet["FulfilledCapacity"], fleet["FulfilledOnDemandCapacity"]) == (3, 1)
    fleets.delete_fleets(FleetIds=[answer["FleetId"]], TerminateInstances=True)
    (closed,) = fleets.describe_spot_instance_requests(SpotInstanceRequestIds=[request_id])["SpotInstanceRequests"]
    assert closed["State"] == "closed"
    dear = {"InstanceType": "fh1.nano", "MaxPrice": "0.0000001"}
    too_dear = create(fleets, 1, dear, **target(1, DefaultTargetCapacityType="spot"))
    assert (too_dear["Instances"], codes(too_dear)) == ([], ["SpotMaxPriceTooLow"])


def test_a_fleet_goes_with_its_instances(fleets: Caller, stranger: Caller) -> None:
    answer = create(fleets, 2)
    first, second = answer["Instances"][0]["InstanceIds"]
    other = run_one(fleets)
    host_reports(fleets.store, first, "running")
    fleets.modify_instance_attribute(InstanceId=second, DisableApiTermination={"Value": True})
    unknown = "fleet-0123456789abcdef0"
    with refused("InvalidParameterCombination"):
        fleets.delete_fleets(FleetIds=[answer["FleetId"]], TerminateInstances=False)
    strange = stranger.delete_fleets(FleetIds=[answer["FleetId"]], TerminateInstances=True)
    assert [each["Error"]["Code"] for each in strange["UnsuccessfulFleetDeletions"]] == ["fleetIdDoesNotExist"]
    done = fleets.delete_fleets(FleetIds=[answer["FleetId"], unknown, "x"], TerminateInstances=True)
    assert done["SuccessfulFleetDeletions"] == [
        {
            "FleetId": answer["FleetId"],
            "CurrentFleetState": "deleted_terminating",
            "PreviousFleetState": "active",
        }
    ]
    errors = [each["Error"]["Code"] for each in done["UnsuccessfulFleetDeletions"]]
    assert errors == ["fleetIdDoesNotExist", "fleetIdMalformed"]
    assert record(fleets.store, first).state == "shutting-down"
    assert record(fleets.store, second).state == "pending"
    assert record(fleets.store, other).state == "running"
    host_reports(fleets.store, first, "absent")

    def state() -> str:
        (fleet,) = fleets.describe_fleets(FleetIds=[answer["FleetId"]])["Fleets"]
        return str(fleet["FleetState"])

    assert state() == "deleted_terminating"
    fleets.modify_instance_attribute(InstanceId=second, DisableApiTermination={"Value": False})
    fleets.terminate_instances(InstanceIds=[second])
    host_reports(fleets.store, second, "absent")
    assert state() == "deleted"
    keep_house(fleets.store, fleets.config)
    assert state() == "deleted"
    with fleets.store.write() as tx:
        (fleet,) = tx.select(Fleet)
        tx.update(fleet, deleted_at=tx.now - dt.timedelta(days=3))
    keep_house(fleets.store, fleets.config)
    with refused("InvalidFleetId.NotFound"):
        state()


def target(total: int, **members: Any) -> dict[str, Any]:
    return {"TargetCapacitySpecification": {"TotalTargetCapacity": total, **members}}


NO_VERSION = [{"LaunchTemplateSpecification": {"LaunchTemplateName": "web"}}]


@pytest.mark.parametrize(
    ("code", "request_"),
    [
        ("UnsupportedOperation", {"Type": "maintain"}),
        ("UnsupportedOperation", {"Type": "request"}),
        ("UnsupportedOperation", {"ReplaceUnhealthyInstances": True}),
        ("UnsupportedOperation", target(1, DefaultTargetCapacityType="capacity-block")),
        ("InvalidParameterValue", target(0)),
        ("InvalidParameterValue", target(1, OnDemandTargetCapacity=2)),
        ("InvalidParameterCombination", {"OnDemandOptions": {"MinTargetCapacity": 1}}),
        ("InvalidParameterCombination", target(1, TargetCapacityUnitType="vcpu")),
        ("MissingParameter", {"LaunchTemplateConfigs": NO_VERSION}),
    ],
)
def test_fleets_that_can_not_be(fleets: Caller, code: str, request_: dict[str, Any]) -> None:
    before = census(fleets.store)
    with refused(code):
        create(fleets, 1, **request_)
    assert census(fleets.store) == before


def test_fleets_that_are_not_there(fleets: Caller) -> None:
    for fleet_id, code in (
        ("fleet-0123456789abcdef0", "InvalidFleetId.NotFound"),
        ("fleet", "InvalidFleetId.Malformed"),
    ):
        with refused(code):
            fleets.describe_fleets(FleetIds=[fleet_id])
        with refused(code):
            fleets.describe_fleet_instances(FleetId=fleet_id)
    with refused("UnsupportedOperation"):
        fleets.describe_fleet_instances(FleetId=create(fleets, 1)["FleetId"])
    with fleets.store.read() as tx:
        assert tx.count(Fleet) == 1
