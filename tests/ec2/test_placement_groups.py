"""Placement groups, and the hosts that their instances are placed on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from freehold.control.specs import guest_specs
from freehold.host.metadata import documents
from freehold.host.wire import GuestSpec
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import add_host, add_images, launch, launch_one, record, run_one, shown, stop, terminate


@pytest.fixture
def rack(caller: Caller) -> Caller:
    """A caller who can launch on four hosts that serve every zone."""
    add_images(caller.store)
    for number in range(1, 5):
        add_host(caller.store, f"host-{number}")
    return caller


def group(caller: Caller, name: str, strategy: str, **request: Any) -> Any:
    return caller.create_placement_group(GroupName=name, Strategy=strategy, **request)["PlacementGroup"]


def hosts_of(caller: Caller, launched: Sequence[Any]) -> list[str]:
    return [str(record(caller.store, instance["InstanceId"]).host_id) for instance in launched]


def in_group(caller: Caller, name: str, count: int = 1, **placement: Any) -> list[Any]:
    instances: list[Any] = launch(caller, MinCount=count, MaxCount=count, Placement={"GroupName": name, **placement})[
        "Instances"
    ]
    return instances


def spec(caller: Caller, instance_id: str) -> GuestSpec:
    with caller.store.read() as tx:
        (found,) = guest_specs(tx, caller.config, [record(caller.store, instance_id)])
    return found


def test_groups_are_made_described_and_deleted(caller: Caller) -> None:
    tags = [{"ResourceType": "placement-group", "Tags": [{"Key": "team", "Value": "red"}]}]
    spread = group(caller, "apart", "spread", TagSpecifications=tags)
    assert spread == {
        "GroupArn": "arn:aws:ec2:us-east-1:111122223333:placement-group/apart",
        "GroupId": spread["GroupId"],
        "GroupName": "apart",
        "SpreadLevel": "rack",
        "State": "available",
        "Strategy": "spread",
        "Tags": [{"Key": "team", "Value": "red"}],
    }
    assert group(caller, "parts", "partition")["PartitionCount"] == 2
    assert group(caller, "many parts", "partition", PartitionCount=7)["PartitionCount"] == 7
    assert "SpreadLevel" not in group(caller, "near", "cluster")
    assert group(caller, "each host", "spread", SpreadLevel="host")["SpreadLevel"] == "host"

    def names(**request: Any) -> set[str]:
        found = caller.describe_placement_groups(**request)["PlacementGroups"]
        return {one["GroupName"] for one in found}

    assert names() == {"apart", "parts", "many parts", "near", "each host"}
    assert names(GroupNames=["near", "parts"]) == {"near", "parts"}
    assert names(GroupIds=[spread["GroupId"]]) == {"apart"}
    for name, value, expected in (
        ("strategy", "spread", {"apart", "each host"}),
        ("spread-level", "host", {"each host"}),
        ("group-name", "*parts", {"parts", "many parts"}),
        ("group-arn", "*placement-group/near", {"near"}),
        ("state", "available", names()),
        ("state", "deleted", set()),
        ("tag:team", "red", {"apart"}),
        ("tag-key", "team", {"apart"}),
    ):
        assert names(Filters=[{"Name": name, "Values": [value]}]) == expected, name
    caller.create_tags(Resources=[spread["GroupId"]], Tags=[{"Key": "team", "Value": "blue"}])
    assert names(Filters=[{"Name": "tag:team", "Values": ["blue"]}]) == {"apart"}

    assert caller.delete_placement_group(GroupName="apart") == {}
    assert caller.describe_tags()["Tags"] == []
    with refused("InvalidPlacementGroup.Unknown"):
        caller.delete_placement_group(GroupName="apart")


def test_groups_that_can_not_be(caller: Caller, stranger: Caller) -> None:
    for request, code in (
        ({}, "MissingParameter"),
        ({"GroupName": " a"}, "InvalidParameterValue"),
        ({"GroupName": "a" * 256}, "InvalidParameterValue"),
        ({"GroupName": "a", "Strategy": "precision-time"}, "UnsupportedOperation"),
        ({"GroupName": "a", "Strategy": "partition", "PartitionCount": 8}, "InvalidParameterValue"),
        ({"GroupName": "a", "Strategy": "partition", "PartitionCount": 0}, "InvalidParameterValue"),
        ({"GroupName": "a", "Strategy": "spread", "PartitionCount": 2}, "InvalidParameterCombination"),
        ({"GroupName": "a", "Strategy": "cluster", "SpreadLevel": "rack"}, "InvalidParameterCombination"),
        ({"GroupName": "a", "LinkedGroupId": "pg-0123456789abcdef0"}, "UnsupportedOperation"),
    ):
        with refused(code):
            caller.create_placement_group(**request)
    mine = group(caller, "a", "cluster")
    with refused("InvalidPlacementGroup.Duplicate"):
        group(caller, "a", "spread")
    assert group(stranger, "a", "spread")["GroupId"] != mine["GroupId"]
    with refused("InvalidPlacementGroup.Unknown"):
        stranger.describe_placement_groups(GroupIds=[mine["GroupId"]])
    with refused("InvalidPlacementGroup.Unknown"):
        caller.describe_placement_groups(GroupNames=["a", "b"])
    with refused("InvalidPlacementGroupId.Malformed"):
        caller.describe_placement_groups(GroupIds=["a"])
    with refused("InvalidParameterValue"):
        caller.describe_placement_groups(Filters=[{"Name": "colour", "Values": ["red"]}])


def test_a_spread_group_has_each_instance_on_a_host_of_its_own(rack: Caller) -> None:
    group(rack, "apart", "spread")
    with refused("InsufficientInstanceCapacity"):
        in_group(rack, "apart", 5)
    first = in_group(rack, "apart", 3)
    (last,) = in_group(rack, "apart")
    assert sorted(hosts_of(rack, [*first, last])) == ["host-1", "host-2", "host-3", "host-4"]
    with refused("InsufficientInstanceCapacity"):
        in_group(rack, "apart")
    launch_one(rack)  # there is room, only not for the group
    terminate(rack, first[0]["InstanceId"])
    assert hosts_of(rack, in_group(rack, "apart")) == hosts_of(rack, first[:1])


def test_as_many_as_fit_apart(rack: Caller) -> None:
    group(rack, "apart", "spread")
    made = launch(rack, MinCount=1, MaxCount=20, Placement={"GroupName": "apart"})["Instances"]
    assert len(set(hosts_of(rack, made))) == len(made) == 4


def test_seven_of_a_rack_level_group_run_in_a_zone(rack: Caller) -> None:
    for number in range(5, 13):
        add_host(rack.store, f"host-{number}")
    group(rack, "apart", "spread")
    group(rack, "more", "spread", SpreadLevel="host")
    here = {"AvailabilityZone": "us-east-1a"}
    assert len(launch(rack, MaxCount=20, Placement={"GroupName": "apart", **here})["Instances"]) == 7
    with refused("InsufficientInstanceCapacity"):
        in_group(rack, "apart", **here)
    assert len(launch(rack, MaxCount=20, Placement={"GroupName": "more", **here})["Instances"]) == 12
    there = in_group(rack, "apart", AvailabilityZone="us-east-1b")
    assert there[0]["Placement"]["AvailabilityZone"] == "us-east-1b"


def test_partitions_share_no_host(rack: Caller) -> None:
    group(rack, "parts", "partition", PartitionCount=3)
    made = in_group(rack, "parts", 9)
    numbers = [instance["Placement"]["PartitionNumber"] for instance in made]
    assert sorted(numbers) == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    of_host = dict(zip(hosts_of(rack, made), numbers, strict=True))
    assert all(of_host[host] == number for host, number in zip(hosts_of(rack, made), numbers, strict=True))
    (second,) = in_group(rack, "parts", PartitionNumber=2)
    assert second["Placement"]["PartitionNumber"] == 2
    assert of_host[hosts_of(rack, [second])[0]] == 2
    with refused("InvalidParameterValue"):
        in_group(rack, "parts", PartitionNumber=4)
    found = rack.describe_instances(Filters=[{"Name": "placement-partition-number", "Values": ["2"]}])["Reservations"]
    assert sum(len(reservation["Instances"]) for reservation in found) == 4


def test_more_partitions_than_hosts(rack: Caller) -> None:
    group(rack, "parts", "partition", PartitionCount=5)
    in_group(rack, "parts", 4)
    with refused("InsufficientInstanceCapacity"):
        in_group(rack, "parts", PartitionNumber=5)
    (fifth,) = in_group(rack, "parts")  # the hosts there are have the other four
    assert fifth["Placement"]["PartitionNumber"] in range(1, 5)


def test_a_cluster_is_packed_and_in_one_zone(rack: Caller) -> None:
    group(rack, "near", "cluster")
    made = in_group(rack, "near", 3, AvailabilityZone="us-east-1b")
    assert len(set(hosts_of(rack, made))) == 1
    (later,) = in_group(rack, "near")  # finds the zone by itself
    assert later["Placement"]["AvailabilityZone"] == "us-east-1b"
    assert hosts_of(rack, [later]) == hosts_of(rack, made[:1])
    with refused("InvalidPlacementGroup.InUse"):
        in_group(rack, "near", AvailabilityZone="us-east-1a")
    with refused("InvalidParameterCombination"):
        launch(rack, InstanceType="t3.nano", Placement={"GroupName": "near"})
    big = launch(rack, InstanceType="m5.large", MaxCount=2, Placement={"GroupName": "near"})["Instances"]
    assert len({*hosts_of(rack, big), *hosts_of(rack, made)}) == 3  # beside it: it has not room for them too


def test_what_a_launch_may_not_ask_for(rack: Caller) -> None:
    apart = group(rack, "apart", "spread")
    for placement, code in (
        ({"GroupName": "other"}, "InvalidPlacementGroup.Unknown"),
        ({"GroupId": "pg-0123456789abcdef0"}, "InvalidPlacementGroup.Unknown"),
        ({"GroupId": "apart"}, "InvalidPlacementGroupId.Malformed"),
        ({"GroupName": "apart", "GroupId": apart["GroupId"]}, "InvalidParameterCombination"),
        ({"GroupName": "apart", "PartitionNumber": 1}, "InvalidParameterCombination"),
        ({"PartitionNumber": 1}, "InvalidParameterCombination"),
        ({"GroupName": "apart", "SpreadDomain": "x"}, "UnsupportedOperation"),
    ):
        with refused(code):
            launch(rack, Placement=placement)
    assert launch_one(rack, Placement={"GroupId": apart["GroupId"]})["Placement"]["GroupName"] == "apart"


def test_a_group_stays_while_it_has_instances(rack: Caller) -> None:
    made = group(rack, "apart", "spread")
    instance_id = run_one(rack, Placement={"GroupName": "apart"})
    placed = shown(rack, instance_id)["Placement"]
    assert placed["GroupName"] == "apart"
    assert placed["GroupId"] == made["GroupId"]
    found = rack.describe_instances(Filters=[{"Name": "placement-group-name", "Values": ["apart"]}])["Reservations"]
    assert found[0]["Instances"][0]["InstanceId"] == instance_id
    data = rack.get_launch_template_data(InstanceId=instance_id)["LaunchTemplateData"]
    assert data["Placement"]["GroupName"] == "apart"
    with refused("InvalidPlacementGroup.InUse"):
        rack.delete_placement_group(GroupName="apart")
    terminate(rack, instance_id)
    rack.delete_placement_group(GroupName="apart")
    assert shown(rack, instance_id)["Placement"]["GroupName"] == "apart"


def test_the_guest_reads_where_it_is(rack: Caller) -> None:
    group(rack, "parts", "partition")
    instance_id = run_one(rack, Placement={"GroupName": "parts", "PartitionNumber": 2})
    placement = "/latest/meta-data/placement"
    told = spec(rack, instance_id)
    assert documents.find(told, f"{placement}/group-name") == b"parts"
    assert documents.find(told, f"{placement}/partition-number") == b"2"
    other = spec(rack, run_one(rack))
    assert documents.find(other, placement) == b"availability-zone\nregion"


def test_a_stopped_instance_moves_between_groups(rack: Caller) -> None:
    group(rack, "apart", "spread")
    group(rack, "parts", "partition")
    instance_id = run_one(rack)
    with refused("IncorrectInstanceState"):
        rack.modify_instance_placement(InstanceId=instance_id, GroupName="apart")
    stop(rack, instance_id)
    for request, code in (
        ({}, "MissingParameter"),
        ({"GroupName": "none"}, "InvalidPlacementGroup.Unknown"),
        ({"GroupName": "parts", "PartitionNumber": 3}, "InvalidParameterValue"),
        ({"GroupName": "", "PartitionNumber": 1}, "InvalidParameterCombination"),
        ({"PartitionNumber": 1}, "InvalidParameterCombination"),
        ({"Tenancy": "host"}, "UnsupportedOperation"),
        ({"HostId": "h-0123456789abcdef0"}, "UnsupportedOperation"),
    ):
        with refused(code):
            rack.modify_instance_placement(InstanceId=instance_id, **request)
    assert rack.modify_instance_placement(InstanceId=instance_id, GroupName="apart") == {"Return": True}
    assert shown(rack, instance_id)["Placement"]["GroupName"] == "apart"

    in_group(rack, "apart", 3)  # its host comes last
    with refused("InvalidPlacementGroup.InUse"):
        rack.delete_placement_group(GroupName="apart")
    rack.start_instances(InstanceIds=[instance_id])
    with refused("InsufficientInstanceCapacity"):
        in_group(rack, "apart")


def test_a_start_finds_its_host_taken_by_the_group(rack: Caller) -> None:
    group(rack, "apart", "spread")
    instance_id = run_one(rack, Placement={"GroupName": "apart"})
    stop(rack, instance_id)
    in_group(rack, "apart", 4)
    with refused("InsufficientInstanceCapacity"):
        rack.start_instances(InstanceIds=[instance_id])
    rack.modify_instance_placement(InstanceId=instance_id, GroupName="")
    rack.start_instances(InstanceIds=[instance_id])
    assert shown(rack, instance_id)["Placement"]["GroupName"] == ""


def test_a_start_gets_a_partition(rack: Caller) -> None:
    group(rack, "parts", "partition")
    instance_id = run_one(rack)
    stop(rack, instance_id)
    rack.modify_instance_placement(InstanceId=instance_id, GroupName="parts")
    assert "PartitionNumber" not in shown(rack, instance_id)["Placement"]
    rack.start_instances(InstanceIds=[instance_id])
    assert shown(rack, instance_id)["Placement"]["PartitionNumber"] == 1
