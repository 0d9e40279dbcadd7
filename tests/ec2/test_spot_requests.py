"""RequestSpotInstances and what becomes of requests: held, fulfilled, expired, cancelled; filters; prices."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from freehold.config import Config
from freehold.control.housekeeping import keep_house
from freehold.records.spot import SpotRequest
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import add_host, add_images, host_reports, launch, record, run_one, shown, stop, terminate
from tests.ec2.spotting import STOPPING, ask, described, look, standing, used_mib

NOW = dt.datetime.now(dt.UTC)
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def small(caller: Caller) -> Caller:
    """A caller with a host for four fh1.nano."""
    add_images(caller.store)
    add_host(caller.store, memory_mib=512)
    return caller


def change(caller: Caller, request_id: str, **changes: Any) -> None:
    with caller.store.write() as tx:
        request = tx.get(SpotRequest, request_id)
        assert request is not None
        tx.update(request, **changes)


def test_requests_are_fulfilled_while_there_is_room(small: Caller) -> None:
    ids = ask(small, 6, LaunchSpecification={"KeyName": ""})
    assert {standing(small, each) for each in ids} == {("open", "pending-evaluation")}
    assert used_mib(small) == 0
    look(small)
    found = [standing(small, each) for each in ids]
    assert found.count(("active", "fulfilled")) == 4
    assert found.count(("open", "capacity-not-available")) == 2
    active = [each for each in ids if standing(small, each)[0] == "active"]
    instance_id = described(small, active[0])["InstanceId"]
    instance = shown(small, instance_id)
    assert instance["SpotInstanceRequestId"] == active[0]
    assert described(small, active[0])["LaunchedAvailabilityZone"] == instance["Placement"]["AvailabilityZone"]
    updated = described(small, active[0])["Status"]["UpdateTime"]
    look(small)
    assert described(small, active[0])["Status"]["UpdateTime"] == updated
    terminate(small, instance_id)
    look(small)
    assert [standing(small, each)[0] for each in ids].count("active") == 4


def test_a_request_that_is_not_for_now(small: Caller) -> None:
    (cheap,) = ask(small, SpotPrice="0.0001")
    (later,) = ask(small, ValidFrom=NOW + HOUR, ValidUntil=NOW + 2 * HOUR)
    (brief,) = ask(small, ValidUntil=NOW + HOUR, LaunchSpecification={"InstanceType": "m5.large"})
    look(small)
    assert standing(small, cheap) == ("open", "price-too-low")
    assert standing(small, later) == ("open", "not-scheduled-yet")
    assert standing(small, brief) == ("open", "capacity-not-available")
    assert described(small, cheap)["SpotPrice"] == "0.000100"
    assert described(small, later)["ValidFrom"] == NOW + HOUR
    change(small, later, valid_from=NOW)
    change(small, brief, valid_until=NOW)
    look(small)
    assert standing(small, later) == ("active", "fulfilled")
    assert standing(small, brief) == ("cancelled", "schedule-expired")


def test_a_request_that_has_become_wrong(small: Caller) -> None:
    group = small.create_security_group(GroupName="short", Description="lived")["GroupId"]
    (request_id,) = ask(small, LaunchSpecification={"SecurityGroupIds": [group]})
    assert described(small, request_id)["LaunchSpecification"]["SecurityGroups"] == [
        {"GroupId": group, "GroupName": "short"}
    ]
    small.delete_security_group(GroupId=group)
    look(small)
    assert standing(small, request_id) == ("closed", "bad-parameters")
    assert described(small, request_id)["Fault"]["Code"] == "InvalidGroup.NotFound"
    assert used_mib(small) == 0


def test_what_can_not_be_requested(small: Caller) -> None:
    for request, code in (
        ({"LaunchSpecification": {"InstanceType": ""}}, "MissingParameter"),
        ({"LaunchSpecification": {"ImageId": ""}}, "MissingParameter"),
        ({"LaunchSpecification": {"InstanceType": "x9.huge"}}, "InvalidParameterValue"),
        ({"LaunchSpecification": {"ImageId": "ami-00000000000000000"}}, "InvalidAMIID.NotFound"),
        ({"LaunchSpecification": {"KeyName": "none"}}, "InvalidKeyPair.NotFound"),
        ({"LaunchSpecification": {"SubnetId": "subnet-0123456789abcdef0"}}, "InvalidSubnetID.NotFound"),
        ({"LaunchSpecification": {"AddressingType": "public"}}, "UnsupportedOperation"),
        ({"LaunchSpecification": {"Placement": {"Tenancy": "dedicated"}}}, "UnsupportedOperation"),
        ({"count": 0}, "InvalidParameterValue"),
        ({"count": 1001}, "InstanceLimitExceeded"),
        ({"Type": "one-time", "InstanceInterruptionBehavior": "stop"}, "InvalidParameterCombination"),
        ({"InstanceInterruptionBehavior": "hibernate"}, "InvalidParameterCombination"),
        ({"ValidUntil": NOW - HOUR}, "InvalidParameterValue"),
        ({"ValidFrom": NOW + 2 * HOUR, "ValidUntil": NOW + HOUR}, "InvalidParameterValue"),
        ({"BlockDurationMinutes": 60}, "UnsupportedOperation"),
        ({"LaunchGroup": "all"}, "UnsupportedOperation"),
        ({"AvailabilityZoneGroup": "a"}, "UnsupportedOperation"),
        ({"SpotPrice": "x"}, "InvalidParameterValue"),
    ):
        with refused(code):
            ask(small, **request)
    with refused("MissingParameter"):
        small.request_spot_instances()
    assert small.describe_spot_instance_requests()["SpotInstanceRequests"] == []


def test_a_token_asks_once(small: Caller) -> None:
    first = ask(small, 2, ClientToken="once")
    assert sorted(ask(small, 2, ClientToken="once")) == sorted(first)
    with refused("IdempotentParameterMismatch"):
        ask(small, 3, ClientToken="once")


def test_requests_are_cancelled(small: Caller, stranger: Caller) -> None:
    (running,) = ask(small)
    (waiting,) = ask(small, SpotPrice="0.0001")
    look(small)

    def cancel(*ids: str) -> dict[str, str]:
        answer = small.cancel_spot_instance_requests(SpotInstanceRequestIds=list(ids))
        return {one["SpotInstanceRequestId"]: one["State"] for one in answer["CancelledSpotInstanceRequests"]}

    assert cancel(running, waiting) == {running: "cancelled", waiting: "cancelled"}
    assert standing(small, waiting) == ("cancelled", "canceled-before-fulfillment")
    assert standing(small, running) == ("cancelled", "request-canceled-and-instance-running")
    instance_id = described(small, running)["InstanceId"]
    host_reports(small.store, instance_id, "running")
    launch(small, MinCount=4, MaxCount=4)  # it is still a spot instance
    assert standing(small, running) == ("cancelled", "marked-for-termination")
    assert cancel(running) == {running: "cancelled"}
    terminate(small, instance_id)
    assert standing(small, running) == ("cancelled", "instance-terminated-by-user")
    with refused("InvalidSpotInstanceRequestID.NotFound"):
        stranger.cancel_spot_instance_requests(SpotInstanceRequestIds=[running])
    with refused("InvalidSpotInstanceRequestID.Malformed"):
        small.cancel_spot_instance_requests(SpotInstanceRequestIds=["a"])


def test_cancelling_ends_an_instance_that_is_stopped(small: Caller) -> None:
    instance_id = run_one(small, **STOPPING)
    request_id = shown(small, instance_id)["SpotInstanceRequestId"]
    stop(small, instance_id)
    small.cancel_spot_instance_requests(SpotInstanceRequestIds=[request_id])
    assert record(small.store, instance_id).state == "shutting-down"
    assert standing(small, request_id) == ("cancelled", "instance-terminated-by-service")


def test_old_requests_are_forgotten_but_not_those_of_instances(small: Caller) -> None:
    once, other = ask(small, 2)
    look(small)
    terminate(small, described(small, once)["InstanceId"])
    small.cancel_spot_instance_requests(SpotInstanceRequestIds=[other])
    with small.store.write() as tx:
        for request in tx.select(SpotRequest):
            if request.ended_at is not None:
                tx.update(request, ended_at=tx.now - dt.timedelta(days=2))
    keep_house(small.store, small.config)
    (left,) = small.describe_spot_instance_requests()["SpotInstanceRequests"]
    assert left["SpotInstanceRequestId"] == other


def test_filters(small: Caller) -> None:
    tags = [{"ResourceType": "spot-instances-request", "Tags": [{"Key": "team", "Value": "red"}]}]
    group = small.create_security_group(GroupName="web", Description="web")["GroupId"]
    disk = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 3, "VolumeType": "gp3", "DeleteOnTermination": True}}
    specification = {
        "SecurityGroupIds": [group],
        "BlockDeviceMappings": [disk],
        "Monitoring": {"Enabled": True},
        "Placement": {"AvailabilityZone": "us-east-1b"},
    }
    (mine,) = ask(small, LaunchSpecification=specification, TagSpecifications=tags, Type="persistent")
    card = {"DeviceIndex": 0, "Description": "first", "Groups": [group]}
    (other,) = ask(small, SpotPrice="0.0001", LaunchSpecification={"NetworkInterfaces": [card]}, ValidUntil=NOW + HOUR)
    look(small)
    instance_id = described(small, mine)["InstanceId"]
    for name, value, expected in (
        ("availability-zone-group", "*", set()),
        ("create-time", "20*", {mine, other}),
        ("fault-code", "*", set()),
        ("fault-message", "*", set()),
        ("instance-id", instance_id, {mine}),
        ("launch-group", "*", set()),
        ("launch.block-device-mapping.delete-on-termination", "true", {mine}),
        ("launch.block-device-mapping.device-name", "/dev/xv*", {mine}),
        ("launch.block-device-mapping.snapshot-id", "*", set()),
        ("launch.block-device-mapping.volume-size", "3", {mine}),
        ("launch.block-device-mapping.volume-type", "gp3", {mine}),
        ("launch.group-id", group, {mine}),
        ("launch.group-name", "web", {mine}),
        ("launch.image-id", "ami-*", {mine, other}),
        ("launch.instance-type", "fh1.nano", {mine, other}),
        ("launch.kernel-id", "*", set()),
        ("launch.key-name", "*", set()),
        ("launch.monitoring-enabled", "true", {mine}),
        ("launch.ramdisk-id", "*", set()),
        ("launched-availability-zone", "us-east-1b", {mine}),
        ("launched-availability-zone-id", "use1-az2", {mine}),
        ("network-interface.addresses.primary", "true", set()),
        ("network-interface.delete-on-termination", "true", set()),
        ("network-interface.description", "first", {other}),
        ("network-interface.device-index", "0", {other}),
        ("network-interface.group-id", group, {other}),
        ("network-interface.network-interface-id", "*", set()),
        ("network-interface.private-ip-address", "*", set()),
        ("network-interface.subnet-id", "*", set()),
        ("product-description", "Linux/UNIX", {mine, other}),
        ("spot-instance-request-id", mine, {mine}),
        ("spot-price", "0.000100", {other}),
        ("state", "active", {mine}),
        ("status-code", "price-too-low", {other}),
        ("status-message", "Your Spot request is fulfilled.", {mine}),
        ("tag:team", "red", {mine}),
        ("tag-key", "team", {mine}),
        ("type", "persistent", {mine}),
        ("valid-from", "*", set()),
        ("valid-until", "20*", {other}),
    ):
        answer = small.describe_spot_instance_requests(Filters=[{"Name": name, "Values": [value]}])
        assert {one["SpotInstanceRequestId"] for one in answer["SpotInstanceRequests"]} == expected, name
    with refused("InvalidParameterValue"):
        small.describe_spot_instance_requests(Filters=[{"Name": "colour", "Values": ["red"]}])


def test_pages(small: Caller) -> None:
    ids = set(ask(small, 12))
    found: list[str] = []
    request: dict[str, Any] = {"MaxResults": 5}
    while True:
        answer = small.describe_spot_instance_requests(**request)
        found += [one["SpotInstanceRequestId"] for one in answer["SpotInstanceRequests"]]
        if "NextToken" not in answer:
            break
        request["NextToken"] = answer["NextToken"]
    assert len(found) == 12
    assert set(found) == ids


def test_prices(small: Caller) -> None:
    asked = {"InstanceTypes": ["fh1.nano", "m5.large"], "ProductDescriptions": ["Linux/UNIX"]}
    found = small.describe_spot_price_history(**asked)
    assert found["NextToken"] == ""
    prices = {(one["InstanceType"], one["AvailabilityZone"]): one["SpotPrice"] for one in found["SpotPriceHistory"]}
    assert prices["fh1.nano", "us-east-1a"] == "0.000390"
    assert prices["m5.large", "us-east-1c"] == "0.028800"
    assert len(prices) == 6

    def shown_for(**request: Any) -> int:
        return len(small.describe_spot_price_history(**asked | request)["SpotPriceHistory"])

    assert shown_for(AvailabilityZone="us-east-1a") == 2
    assert shown_for(AvailabilityZoneId="use1-az1") == 2
    assert shown_for(ProductDescriptions=["Windows"]) == 0
    assert shown_for(StartTime=NOW, EndTime=NOW + HOUR) == 6
    assert shown_for(EndTime=NOW - 1000 * HOUR) == 0
    assert shown_for(Filters=[{"Name": "spot-price", "Values": ["0.000390"]}]) == 3
    assert shown_for(Filters=[{"Name": "instance-type", "Values": ["m5.*"]}]) == 3
    first = small.describe_spot_price_history(**asked, MaxResults=4)
    rest = small.describe_spot_price_history(**asked, MaxResults=4, NextToken=first["NextToken"])
    assert [*first["SpotPriceHistory"], *rest["SpotPriceHistory"]] == found["SpotPriceHistory"]
    with refused("InvalidNextToken"):
        small.describe_spot_price_history(NextToken=first["NextToken"])
    with refused("InvalidParameterValue"):
        small.describe_spot_price_history(AvailabilityZone="us-east-1q")
    with refused("InvalidParameterCombination"):
        shown_for(StartTime=NOW, EndTime=NOW - HOUR)
    every = small.describe_spot_price_history()
    assert len(every["SpotPriceHistory"]) <= 1000


def test_a_quota_of_their_own(small: Caller) -> None:
    small.config = Config(quotas={"L-34B43A08": 2, "L-1216C47A": 2})
    ask(small, 2)
    look(small)
    launch(small, MinCount=2, MaxCount=2)
    with refused("MaxSpotInstanceCountExceeded"):
        ask(small)
    with refused("MaxSpotInstanceCountExceeded"):
        launch(small, InstanceMarketOptions={"MarketType": "spot"})
    with refused("VcpuLimitExceeded"):
        launch(small)
    with refused("VcpuLimitExceeded"):
        small.create_capacity_reservation(
            InstanceType="fh1.nano", InstancePlatform="Linux/UNIX", InstanceCount=3, AvailabilityZone="us-east-1a"
        )


def test_a_defect_of_ours_holds_up_no_other_request(small: Caller) -> None:
    (odd,) = ask(small)
    change(small, odd, launch={"ImageId": 1, "InstanceType": "fh1.nano"})  # nothing that a caller could ask for
    (fine,) = ask(small)
    look(small)
    assert standing(small, fine) == ("active", "fulfilled")
    with small.store.read() as tx:
        request = tx.get(SpotRequest, odd)
    assert request is not None
    assert (request.state, request.status) == ("closed", "system-error")
