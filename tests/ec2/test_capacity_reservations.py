"""Capacity reservations: the room that they hold, who may have it, and what it costs."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from freehold.control.accounts import close_account
from freehold.control.billing import bill
from freehold.control.capacity import end_reservations
from freehold.control.housekeeping import keep_house
from freehold.records.accounts import Account
from freehold.records.compute import Host
from freehold.records.reservations import CapacityReservation, ReservedRoom
from freehold.records.usage import UsageEntry, usage
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import (
    add_host,
    add_images,
    host_reports,
    launch,
    launch_one,
    record,
    run_one,
    shown,
    stop,
    terminate,
)

HERE = {"AvailabilityZone": "us-east-1a"}
TYPE = "fh1.nano"  # 128 MiB


@pytest.fixture
def rack(caller: Caller) -> Caller:
    """A caller who can launch eight fh1.nano on each of two hosts."""
    add_images(caller.store)
    for number in (1, 2):
        add_host(caller.store, f"host-{number}", memory_mib=1024)
    return caller


def reserve(caller: Caller, count: int = 1, **request: Any) -> str:
    given = {"InstanceType": TYPE, "InstancePlatform": "Linux/UNIX", "InstanceCount": count, **HERE} | request
    return str(caller.create_capacity_reservation(**given)["CapacityReservation"]["CapacityReservationId"])


def described(caller: Caller, reservation_id: str) -> Any:
    (one,) = caller.describe_capacity_reservations(CapacityReservationIds=[reservation_id])["CapacityReservations"]
    return one


def counts(caller: Caller, reservation_id: str) -> tuple[int, int]:
    """(total, available)."""
    one = described(caller, reservation_id)
    return one["TotalInstanceCount"], one["AvailableInstanceCount"]


def used_mib(caller: Caller) -> int:
    with caller.store.read() as tx:
        return sum(host.memory_used_mib for host in tx.select(Host))


def unused(caller: Caller, reservation_id: str) -> list[int]:
    """The quantities of a reservation's own usage entries that are open."""
    with caller.store.read() as tx:
        found = tx.select(UsageEntry, usage.c.resource_id == reservation_id, usage.c.closed_at.is_(None))
        assert all(entry.item == f"reserved:{TYPE}" for entry in found)
        return [entry.quantity for entry in found]


def only(reservation_id: str) -> Any:
    return {
        "CapacityReservationSpecification": {"CapacityReservationTarget": {"CapacityReservationId": reservation_id}}
    }


def preferring(preference: str) -> Any:
    return {"CapacityReservationSpecification": {"CapacityReservationPreference": preference}}


def test_a_reservation_is_described(rack: Caller, stranger: Caller) -> None:
    tags = [{"ResourceType": "capacity-reservation", "Tags": [{"Key": "team", "Value": "red"}]}]
    ends = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
    reservation_id = reserve(rack, 3, EndDateType="limited", EndDate=ends, EbsOptimized=True, TagSpecifications=tags)
    found = described(rack, reservation_id)
    assert found == {
        "AvailabilityZone": "us-east-1a",
        "AvailabilityZoneId": "use1-az1",
        "AvailableInstanceCount": 3,
        "CapacityAllocations": [],
        "CapacityReservationArn": f"arn:aws:ec2:us-east-1:111122223333:capacity-reservation/{reservation_id}",
        "CapacityReservationId": reservation_id,
        "CreateDate": found["CreateDate"],
        "EbsOptimized": True,
        "EndDate": ends,
        "EndDateType": "limited",
        "EphemeralStorage": False,
        "InstanceMatchCriteria": "open",
        "InstancePlatform": "Linux/UNIX",
        "InstanceType": TYPE,
        "OwnerId": "111122223333",
        "ReservationType": "default",
        "StartDate": found["CreateDate"],
        "State": "active",
        "Tags": [{"Key": "team", "Value": "red"}],
        "Tenancy": "default",
        "TotalInstanceCount": 3,
    }
    other = reserve(rack, InstanceMatchCriteria="targeted", AvailabilityZoneId="use1-az2", AvailabilityZone="")

    def matching(name: str, value: str) -> set[str]:
        answer = rack.describe_capacity_reservations(Filters=[{"Name": name, "Values": [value]}])
        return {one["CapacityReservationId"] for one in answer["CapacityReservations"]}

    for name, value, expected in (
        ("instance-type", "fh1.*", {reservation_id, other}),
        ("owner-id", "111122223333", {reservation_id, other}),
        ("instance-platform", "Linux/UNIX", {reservation_id, other}),
        ("availability-zone", "us-east-1b", {other}),
        ("tenancy", "dedicated", set()),
        ("state", "active", {reservation_id, other}),
        ("state", "cancelled", set()),
        ("start-date", "20*", {reservation_id, other}),
        ("end-date", "2100-01-01T00:00:00.000Z", {reservation_id}),
        ("end-date-type", "unlimited", {other}),
        ("instance-match-criteria", "targeted", {other}),
        ("outpost-arn", "*", set()),
        ("placement-group-arn", "*", set()),
        ("tag:team", "red", {reservation_id}),
    ):
        assert matching(name, value) == expected, name
    first = rack.describe_capacity_reservations(MaxResults=1)
    rest = rack.describe_capacity_reservations(MaxResults=1, NextToken=first["NextToken"])
    pages = [*first["CapacityReservations"], *rest["CapacityReservations"]]
    assert {one["CapacityReservationId"] for one in pages} == {reservation_id, other}
    with refused("InvalidCapacityReservationId.NotFound"):
        described(stranger, reservation_id)
    with refused("InvalidCapacityReservationId.Malformed"):
        described(rack, "a")


def test_reservations_that_can_not_be(rack: Caller) -> None:
    past, coming = dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
    for request, code in (
        ({"InstanceType": "x9.huge"}, "InvalidParameterValue"),
        ({"InstancePlatform": "Windows"}, "UnsupportedOperation"),
        ({"AvailabilityZone": ""}, "MissingParameter"),
        ({"AvailabilityZone": "us-east-1q"}, "InvalidParameterValue"),
        ({"InstanceCount": 0}, "InvalidParameterValue"),
        ({"InstanceCount": 1001}, "InvalidParameterValue"),
        ({"InstanceCount": 17}, "InsufficientInstanceCapacity"),
        ({"EndDateType": "limited"}, "InvalidParameterCombination"),
        ({"EndDate": coming}, "InvalidParameterCombination"),
        ({"EndDateType": "limited", "EndDate": past}, "InvalidParameterValue"),
        ({"InstanceMatchCriteria": "closed"}, "InvalidParameterValue"),
        ({"Tenancy": "dedicated"}, "UnsupportedOperation"),
        ({"EphemeralStorage": True}, "UnsupportedOperation"),
        ({"PlacementGroupArn": "arn:aws:ec2:us-east-1:111122223333:placement-group/a"}, "UnsupportedOperation"),
        ({"StartDate": coming}, "UnsupportedOperation"),
        ({"CommitmentDuration": 86400}, "UnsupportedOperation"),
    ):
        with refused(code):
            reserve(rack, **request)
    assert used_mib(rack) == 0


def test_a_token_makes_one(rack: Caller) -> None:
    assert reserve(rack, 2, ClientToken="once") == reserve(rack, 2, ClientToken="once")
    assert used_mib(rack) == 256
    with refused("IdempotentParameterMismatch"):
        reserve(rack, 3, ClientToken="once")


def test_room_is_held_from_all_others(rack: Caller, stranger: Caller) -> None:
    reservation_id = reserve(rack, 16)
    assert used_mib(rack) == 2048
    with refused("InsufficientInstanceCapacity"):
        launch_one(stranger)
    with refused("InsufficientInstanceCapacity"):
        launch_one(rack, **preferring("none"))
    with refused("InsufficientInstanceCapacity"):
        launch_one(rack, Placement={"AvailabilityZone": "us-east-1b"})
    with refused("InsufficientInstanceCapacity"):
        launch_one(rack, InstanceType="fh1.micro")
    mine = launch(rack, MinCount=16, MaxCount=16)["Instances"]
    assert {one["CapacityReservationId"] for one in mine} == {reservation_id}
    assert counts(rack, reservation_id) == (16, 0)
    assert used_mib(rack) == 2048
    with refused("InsufficientInstanceCapacity"):
        launch_one(rack)


def test_an_open_one_is_used_first_then_other_room(rack: Caller) -> None:
    reservation_id = reserve(rack, 2)
    made = launch(rack, MinCount=3, MaxCount=3, Placement=HERE)["Instances"]
    assert [one.get("CapacityReservationId") for one in made] == [reservation_id, reservation_id, None]
    assert [one["CapacityReservationSpecification"] for one in made] == [{"CapacityReservationPreference": "open"}] * 3
    usages = rack.get_capacity_reservation_usage(CapacityReservationId=reservation_id)
    assert usages == {
        "CapacityReservationId": reservation_id,
        "InstanceType": TYPE,
        "State": "active",
        "TotalInstanceCount": 2,
        "AvailableInstanceCount": 0,
        "InstanceUsages": [{"AccountId": "111122223333", "UsedInstanceCount": 2}],
    }
    for name, value, count in (
        ("capacity-reservation-id", reservation_id, 2),
        ("capacity-reservation-specification.capacity-reservation-preference", "open", 3),
        ("capacity-reservation-specification.capacity-reservation-target.capacity-reservation-id", "*", 0),
    ):
        found = rack.describe_instances(Filters=[{"Name": name, "Values": [value]}])["Reservations"]
        assert sum(len(one["Instances"]) for one in found) == count, name


def test_a_targeted_one_is_used_by_those_who_name_it(rack: Caller) -> None:
    reservation_id = reserve(rack, 1, InstanceMatchCriteria="targeted")
    assert "CapacityReservationId" not in launch_one(rack, Placement=HERE)
    mine = launch_one(rack, **only(reservation_id))  # finds the zone by itself
    assert mine["CapacityReservationId"] == reservation_id
    assert mine["CapacityReservationSpecification"] == only(reservation_id)["CapacityReservationSpecification"]
    data = rack.get_launch_template_data(InstanceId=mine["InstanceId"])["LaunchTemplateData"]
    assert data["CapacityReservationSpecification"] == mine["CapacityReservationSpecification"]
    with refused("ReservationCapacityExceeded"):
        launch_one(rack, **only(reservation_id))
    with refused("InvalidParameterCombination"):
        launch_one(rack, InstanceType="fh1.micro", **only(reservation_id))
    with refused("InvalidCapacityReservationId.NotFound"):
        launch_one(rack, **only("cr-0123456789abcdef0"))
    both = only(reservation_id)["CapacityReservationSpecification"] | {"CapacityReservationPreference": "open"}
    with refused("InvalidParameterCombination"):
        launch_one(rack, CapacityReservationSpecification=both)
    with refused("ReservationCapacityExceeded"):
        launch_one(rack, **preferring("capacity-reservations-only"))
    opened = reserve(rack, 2)  # one is filled by the instance that runs outside
    assert launch_one(rack, **preferring("capacity-reservations-only"))["CapacityReservationId"] == opened
    with refused("UnsupportedOperation"):
        arn = "arn:aws:resource-groups:us-east-1:111122223333:group/a"
        target = {"CapacityReservationResourceGroupArn": arn}
        launch_one(rack, CapacityReservationSpecification={"CapacityReservationTarget": target})


def test_running_instances_fill_an_open_one(rack: Caller) -> None:
    made = launch(rack, MinCount=16, MaxCount=16, Placement=HERE)["Instances"]
    reservation_id = reserve(rack, 2)  # the hosts are full: only what runs can make it up
    assert counts(rack, reservation_id) == (2, 0)
    using = [one["InstanceId"] for one in made if record(rack.store, one["InstanceId"]).capacity_reservation_id]
    assert len(using) == 2
    terminate(rack, using[0])
    assert counts(rack, reservation_id) == (2, 1)
    assert used_mib(rack) == 2048
    with refused("InsufficientInstanceCapacity"):
        reserve(rack, 2, InstanceMatchCriteria="targeted")


def test_what_no_instance_has_is_metered(rack: Caller) -> None:
    reservation_id = reserve(rack, 3)
    assert unused(rack, reservation_id) == [3]
    instance_id = run_one(rack, Placement=HERE)
    assert unused(rack, reservation_id) == [2]
    stop(rack, instance_id)
    assert unused(rack, reservation_id) == [3]
    assert "CapacityReservationId" not in shown(rack, instance_id)
    rack.start_instances(InstanceIds=[instance_id])
    host_reports(rack.store, instance_id, "running")
    assert shown(rack, instance_id)["CapacityReservationId"] == reservation_id
    assert unused(rack, reservation_id) == [2]
    launch(rack, MinCount=2, MaxCount=2, Placement=HERE)
    assert unused(rack, reservation_id) == []

    with rack.store.write() as tx:
        hour = dt.timedelta(hours=1)
        tx.delete_where(UsageEntry)
        tx.append(
            UsageEntry,
            account_id=rack.account,
            region="us-east-1",
            resource_id=reservation_id,
            item=f"reserved:{TYPE}",
            quantity=3,
            opened_at=tx.now - hour,
            closed_at=tx.now,
        )
        (line,) = bill(tx, rack.config, rack.account, tx.now - hour, tx.now)
    assert line.cost == 3 * Decimal("0.0013")


def test_a_reservation_changes(rack: Caller) -> None:
    reservation_id = reserve(rack, 2, InstanceMatchCriteria="targeted")
    launch(rack, MinCount=2, MaxCount=2, **only(reservation_id))
    free = run_one(rack, Placement=HERE)

    def modify(**request: Any) -> None:
        assert rack.modify_capacity_reservation(CapacityReservationId=reservation_id, **request) == {"Return": True}

    modify(InstanceCount=4)
    assert counts(rack, reservation_id) == (4, 2)
    assert unused(rack, reservation_id) == [2]
    modify(InstanceMatchCriteria="open")  # and the instance that runs already is in it
    assert counts(rack, reservation_id) == (4, 1)
    assert shown(rack, free)["CapacityReservationId"] == reservation_id
    assert used_mib(rack) == 4 * 128
    modify(InstanceCount=3)
    assert counts(rack, reservation_id) == (3, 0)
    assert used_mib(rack) == 3 * 128
    ends = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
    modify(EndDateType="limited", EndDate=ends)
    assert described(rack, reservation_id)["EndDate"] == ends
    modify(EndDateType="unlimited")
    assert "EndDate" not in described(rack, reservation_id)
    for request, code in (
        ({}, "MissingParameter"),
        ({"InstanceCount": 2}, "InvalidParameterValue"),
        ({"InstanceCount": 0}, "InvalidParameterValue"),
        ({"InstanceCount": 100}, "InsufficientInstanceCapacity"),
        ({"EndDate": ends}, "InvalidParameterCombination"),
        ({"Accept": True}, "UnsupportedOperation"),
        ({"AdditionalInfo": "x"}, "UnsupportedOperation"),
    ):
        with refused(code):
            modify(**request)
    assert counts(rack, reservation_id) == (3, 0)


def test_its_instances_outlive_it(rack: Caller) -> None:
    reservation_id = reserve(rack, 3, InstanceMatchCriteria="targeted")
    instance_id = run_one(rack, **only(reservation_id))
    assert rack.cancel_capacity_reservation(CapacityReservationId=reservation_id) == {"Return": True}
    assert described(rack, reservation_id)["State"] == "cancelled"
    assert described(rack, reservation_id)["AvailableInstanceCount"] == 0
    assert unused(rack, reservation_id) == []
    assert used_mib(rack) == 128
    assert "CapacityReservationId" not in shown(rack, instance_id)
    with refused("InvalidCapacityReservationState"):
        rack.cancel_capacity_reservation(CapacityReservationId=reservation_id)
    with refused("InvalidCapacityReservationState"):
        rack.modify_capacity_reservation(CapacityReservationId=reservation_id, InstanceCount=4)
    with refused("InvalidCapacityReservationState"):
        launch_one(rack, **only(reservation_id))
    stop(rack, instance_id)
    assert used_mib(rack) == 0
    with refused("ReservationCapacityExceeded"):
        rack.start_instances(InstanceIds=[instance_id])
    specification = {"CapacityReservationPreference": "none"}
    rack.modify_instance_capacity_reservation_attributes(
        InstanceId=instance_id, CapacityReservationSpecification=specification
    )
    assert shown(rack, instance_id)["CapacityReservationSpecification"] == specification
    rack.start_instances(InstanceIds=[instance_id])
    with refused("IncorrectInstanceState"):
        rack.modify_instance_capacity_reservation_attributes(
            InstanceId=instance_id, CapacityReservationSpecification=specification
        )


def test_it_ends_on_its_date(rack: Caller) -> None:
    coming = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    ending = reserve(rack, 2, EndDateType="limited", EndDate=coming)
    staying = reserve(rack, 2)
    end_reservations(rack.store)
    assert described(rack, ending)["State"] == "active"
    with rack.store.write() as tx:
        found = tx.get(CapacityReservation, ending)
        assert found is not None
        tx.update(found, ends_at=tx.now)
    end_reservations(rack.store)
    assert described(rack, ending)["State"] == "expired"
    assert described(rack, staying)["State"] == "active"
    assert unused(rack, ending) == []
    assert used_mib(rack) == 2 * 128
    with rack.store.write() as tx:
        found = tx.get(CapacityReservation, ending)
        assert found is not None
        tx.update(found, ended_at=tx.now - dt.timedelta(days=2))
    keep_house(rack.store, rack.config)
    with refused("InvalidCapacityReservationId.NotFound"):
        described(rack, ending)


def test_an_account_that_closes_holds_nothing(rack: Caller) -> None:
    reserve(rack, 3)
    run_one(rack, Placement=HERE)
    with rack.store.write() as tx:
        account = tx.get(Account, rack.account)
        assert account is not None
        close_account(tx, account)
    assert used_mib(rack) == 128  # until the host has reported the instance gone
    with rack.store.read() as tx:
        assert tx.select(ReservedRoom) == []
        assert tx.count(UsageEntry, usage.c.closed_at.is_(None), usage.c.item.like("reserved:%")) == 0
