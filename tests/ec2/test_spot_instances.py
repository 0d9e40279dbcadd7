"""Spot instances: launched into spare room, interrupted when on-demand instances need it, started again after."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from freehold.control.accounts import close_account
from freehold.control.billing import rates
from freehold.control.specs import guest_specs
from freehold.host.metadata import documents
from freehold.records.accounts import Account
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
from tests.ec2.spotting import SPOT, STOPPING, described, let_notice_pass, look, standing, used_mib


@pytest.fixture
def small(caller: Caller) -> Caller:
    """A caller with a host for four fh1.nano."""
    add_images(caller.store)
    add_host(caller.store, memory_mib=512)
    return caller


def request_of(caller: Caller, instance_id: str) -> str:
    return str(shown(caller, instance_id)["SpotInstanceRequestId"])


def metadata(caller: Caller, instance_id: str, path: str) -> bytes | None:
    with caller.store.read() as tx:
        (spec,) = guest_specs(tx, caller.config, [record(caller.store, instance_id)])
    return documents.find(spec, f"/latest/meta-data/{path}")


def options(**spot: Any) -> Any:
    return {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": spot}}


def test_a_launch_asks_for_spot(small: Caller) -> None:
    tags = [{"ResourceType": "spot-instances-request", "Tags": [{"Key": "team", "Value": "red"}]}]
    instance_id = run_one(small, **SPOT, TagSpecifications=tags)
    instance = shown(small, instance_id)
    assert instance["InstanceLifecycle"] == "spot"
    request = described(small, instance["SpotInstanceRequestId"])
    assert request == {
        "CreateTime": request["CreateTime"],
        "InstanceId": instance_id,
        "InstanceInterruptionBehavior": "terminate",
        "LaunchSpecification": {
            "ImageId": instance["ImageId"],
            "InstanceType": "fh1.nano",
            "Monitoring": {"Enabled": False},
            "Placement": {},
            "SecurityGroups": [],
        },
        "LaunchedAvailabilityZone": "us-east-1a",
        "LaunchedAvailabilityZoneId": "use1-az1",
        "ProductDescription": "Linux/UNIX",
        "SpotInstanceRequestId": instance["SpotInstanceRequestId"],
        "SpotPrice": "0.001300",
        "State": "active",
        "Status": {
            "Code": "fulfilled",
            "Message": "Your Spot request is fulfilled.",
            "UpdateTime": request["CreateTime"],
        },
        "Tags": [{"Key": "team", "Value": "red"}],
        "Type": "one-time",
    }
    assert metadata(small, instance_id, "instance-life-cycle") == b"spot"
    assert metadata(small, instance_id, "spot") is None
    plain = run_one(small)
    assert "InstanceLifecycle" not in shown(small, plain)
    assert metadata(small, plain, "instance-life-cycle") == b"on-demand"
    for name, value in (("instance-lifecycle", "spot"), ("spot-instance-request-id", "sir-*")):
        (found,) = small.describe_instances(Filters=[{"Name": name, "Values": [value]}])["Reservations"]
        assert [one["InstanceId"] for one in found["Instances"]] == [instance_id]


def test_what_can_not_be_asked_for(small: Caller) -> None:
    small.create_placement_group(GroupName="apart", Strategy="spread")
    for request, code in (
        (options(MaxPrice="0.0001"), "SpotMaxPriceTooLow"),
        (options(MaxPrice="cheap"), "InvalidParameterValue"),
        (options(MaxPrice="-1"), "InvalidParameterValue"),
        (options(BlockDurationMinutes=60), "UnsupportedOperation"),
        (options(InstanceInterruptionBehavior="hibernate"), "InvalidParameterCombination"),
        (options(InstanceInterruptionBehavior="stop"), "InvalidParameterCombination"),
        (options(SpotInstanceType="persistent"), "InvalidParameterCombination"),
        (STOPPING | {"Placement": {"GroupName": "apart"}}, "InvalidParameterCombination"),
        (SPOT | {"InstanceInitiatedShutdownBehavior": "stop"}, "InvalidParameterCombination"),
        (SPOT | {"DisableApiTermination": True}, "InvalidParameterCombination"),
        (
            SPOT
            | {"CapacityReservationSpecification": {"CapacityReservationPreference": "capacity-reservations-only"}},
            "InvalidParameterCombination",
        ),
        ({"InstanceMarketOptions": {"MarketType": "capacity-block"}}, "UnsupportedOperation"),
        ({"InstanceMarketOptions": {"SpotOptions": {"MaxPrice": "1"}}}, "InvalidParameterCombination"),
    ):
        with refused(code):
            launch(small, **request)
    assert used_mib(small) == 0
    with refused("UnsupportedOperation"):
        small.stop_instances(InstanceIds=[run_one(small, **SPOT)])


def test_it_costs_the_spot_price(small: Caller) -> None:
    instance_id = run_one(small, **SPOT)
    with small.store.read() as tx:
        (entry,) = tx.select(UsageEntry, usage.c.resource_id == instance_id)
    assert entry.item == "spot:fh1.nano"
    price, unit = rates(small.config)["spot:fh1.nano"]
    assert (price, unit) == (Decimal("0.0013") * Decimal("0.3"), "hour")
    assert launch_one(small, **options(MaxPrice="0.00039"))["InstanceLifecycle"] == "spot"


def test_there_must_be_room_to_spare(small: Caller) -> None:
    launch(small, MinCount=4, MaxCount=4)
    with refused("InsufficientInstanceCapacity"):
        launch_one(small, **SPOT)


def test_an_on_demand_launch_has_its_room_at_once(small: Caller) -> None:
    spots = [run_one(small, **SPOT) for _ in range(3)]
    run_one(small)
    assert used_mib(small) == 512
    made = launch_one(small, InstanceType="fh1.micro")  # as much as two of them
    host_reports(small.store, made["InstanceId"], "running")
    assert shown(small, made["InstanceId"])["State"]["Name"] == "running"
    assert used_mib(small) == 512

    # The youngest two have their notice and run on.
    assert metadata(small, spots[0], "spot") is None
    for instance_id in spots[1:]:
        request_id = request_of(small, instance_id)
        assert standing(small, request_id) == ("active", "marked-for-termination")
        assert shown(small, instance_id)["State"]["Name"] == "running"
        notice = json.loads(metadata(small, instance_id, "spot/instance-action") or b"")
        assert notice == {
            "action": "terminate",
            "time": (metadata(small, instance_id, "spot/termination-time") or b"").decode(),
        }
        rebalance = json.loads(metadata(small, instance_id, "events/recommendations/rebalance") or b"")
        assert rebalance["noticeTime"] < notice["time"]
    assert 100 < (look(small) or 0) <= 120
    assert shown(small, spots[1])["State"]["Name"] == "running"

    let_notice_pass(small, request_of(small, spots[1]))
    gone = shown(small, spots[1])
    assert gone["State"]["Name"] == "shutting-down"
    assert gone["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    assert gone["StateTransitionReason"].startswith("Server.SpotInstanceTermination (")
    assert standing(small, request_of(small, spots[1])) == ("closed", "instance-terminated-no-capacity")
    host_reports(small.store, spots[1], "absent")
    assert used_mib(small) == 512  # what it held has been the other's since its notice
    with small.store.read() as tx:
        assert tx.count(UsageEntry, usage.c.resource_id == spots[1], usage.c.closed_at.is_(None)) == 0


def test_no_more_are_interrupted_than_must_be(small: Caller) -> None:
    for number in (2, 3):
        add_host(small.store, f"host-{number}", memory_mib=512)
    launch(small, MinCount=12, MaxCount=12, **SPOT)
    add_host(small.store, "host-4", memory_mib=512)
    launch(small, MinCount=4, MaxCount=4)  # there is room
    made = launch(small, MinCount=1, MaxCount=20)["Instances"]  # and now there is none
    assert len(made) == 1
    marked = [{"Name": "status-code", "Values": ["marked-for-termination"]}]
    assert len(small.describe_spot_instance_requests(Filters=marked)["SpotInstanceRequests"]) == 1
    with refused("InsufficientInstanceCapacity"):
        launch(small, MinCount=12, MaxCount=12)
    assert len(small.describe_spot_instance_requests(Filters=marked)["SpotInstanceRequests"]) == 1
    assert used_mib(small) == 16 * 128


def test_spot_instances_do_not_push_each_other_out(small: Caller) -> None:
    launch(small, MinCount=4, MaxCount=4, **SPOT)
    with refused("InsufficientInstanceCapacity"):
        launch_one(small, **SPOT)


def test_reservations_and_starts_have_room_of_spot_instances(small: Caller) -> None:
    sleeping = run_one(small)
    stop(small, sleeping)
    spots = [run_one(small, **SPOT) for _ in range(4)]
    small.start_instances(InstanceIds=[sleeping])
    assert standing(small, request_of(small, spots[3])) == ("active", "marked-for-termination")
    small.create_capacity_reservation(
        InstanceType="fh1.nano", InstancePlatform="Linux/UNIX", InstanceCount=3, AvailabilityZone="us-east-1a"
    )  # one is filled by the instance that runs
    assert [standing(small, request_of(small, each))[1] for each in spots] == [
        "fulfilled",
        "marked-for-termination",
        "marked-for-termination",
        "marked-for-termination",
    ]


def test_a_placement_group_s_hosts_are_reclaimed(small: Caller) -> None:
    add_host(small.store, "host-2", memory_mib=512)
    small.create_placement_group(GroupName="apart", Strategy="spread")
    launch(small, MinCount=8, MaxCount=8, **SPOT)
    made = launch(small, MinCount=2, MaxCount=2, Placement={"GroupName": "apart"})["Instances"]
    assert len({record(small.store, one["InstanceId"]).host_id for one in made}) == 2
    with refused("InsufficientInstanceCapacity"):
        launch_one(small, Placement={"GroupName": "apart"})


def test_a_persistent_one_stops_and_is_started_again(small: Caller) -> None:
    instance_id = run_one(small, **STOPPING)
    request_id = request_of(small, instance_id)
    others = launch(small, MinCount=4, MaxCount=4)["Instances"]
    assert standing(small, request_id) == ("active", "marked-for-stop")
    notice = json.loads(metadata(small, instance_id, "spot/instance-action") or b"")
    assert notice["action"] == "stop"
    assert metadata(small, instance_id, "spot/termination-time") is None
    let_notice_pass(small, request_id)
    assert shown(small, instance_id)["State"]["Name"] == "stopping"
    assert shown(small, instance_id)["StateReason"]["Code"] == "Server.SpotInstanceShutdown"
    assert standing(small, request_id) == ("disabled", "instance-stopped-no-capacity")
    host_reports(small.store, instance_id, "stopped")
    with refused("IncorrectSpotRequestState"):
        small.start_instances(InstanceIds=[instance_id])
    look(small)
    assert shown(small, instance_id)["State"]["Name"] == "stopped"
    terminate(small, others[0]["InstanceId"])
    look(small)
    assert shown(small, instance_id)["State"]["Name"] == "pending"
    assert standing(small, request_id) == ("active", "fulfilled")
    assert metadata(small, instance_id, "spot") is None
    host_reports(small.store, instance_id, "running")
    assert used_mib(small) == 512


def test_one_that_hibernates_goes_at_once(small: Caller) -> None:
    small.enable_ebs_encryption_by_default()
    hibernating = options(SpotInstanceType="persistent", InstanceInterruptionBehavior="hibernate")
    instance_id = run_one(small, **hibernating)
    assert shown(small, instance_id)["HibernationOptions"] == {"Configured": True}
    request_id = request_of(small, instance_id)
    launch(small, MinCount=4, MaxCount=4)
    assert standing(small, request_id) == ("active", "marked-for-stop")
    assert json.loads(metadata(small, instance_id, "spot/instance-action") or b"")["action"] == "hibernate"
    look(small)
    going = record(small.store, instance_id)
    assert (going.state, going.hibernate) == ("stopping", True)
    host_reports(small.store, instance_id, "stopped", hibernated=True)
    assert standing(small, request_id) == ("disabled", "instance-stopped-no-capacity")
    assert shown(small, instance_id)["StateReason"]["Code"] == "Server.SpotInstanceShutdown"


def test_its_user_stops_and_starts_it(small: Caller) -> None:
    instance_id = run_one(small, **STOPPING)
    request_id = request_of(small, instance_id)
    stop(small, instance_id)
    assert standing(small, request_id) == ("disabled", "instance-stopped-by-user")
    look(small)
    assert shown(small, instance_id)["State"]["Name"] == "stopped"
    others = launch(small, MinCount=4, MaxCount=4)["Instances"]
    with refused("InsufficientInstanceCapacity"):
        small.start_instances(InstanceIds=[instance_id])
    terminate(small, others[0]["InstanceId"])
    small.start_instances(InstanceIds=[instance_id])
    assert standing(small, request_id) == ("active", "fulfilled")


def test_its_user_terminates_it(small: Caller) -> None:
    once = run_one(small, **SPOT)
    request_id = request_of(small, once)
    terminate(small, once)
    assert standing(small, request_id) == ("closed", "instance-terminated-by-user")
    assert shown(small, once)["InstanceLifecycle"] == "spot"

    again = run_one(small, **STOPPING)
    request_id = request_of(small, again)
    terminate(small, again)
    assert standing(small, request_id) == ("open", "instance-terminated-by-user")
    look(small)
    assert standing(small, request_id) == ("active", "fulfilled")
    other = described(small, request_id)["InstanceId"]
    assert other != again
    assert shown(small, other)["SpotInstanceRequestId"] == request_id


def test_a_guest_that_shuts_down_in_its_notice(small: Caller) -> None:
    instance_id = run_one(small, **SPOT)
    request_id = request_of(small, instance_id)
    launch(small, MinCount=4, MaxCount=4)
    host_reports(small.store, instance_id, "stopped", guest_shutdown=True)
    assert shown(small, instance_id)["State"]["Name"] == "shutting-down"  # a one-time instance is never stopped
    assert standing(small, request_id) == ("closed", "instance-terminated-by-user")
    host_reports(small.store, instance_id, "absent")
    assert look(small) is None
    assert used_mib(small) == 512


def test_a_launch_that_fails_closes_its_request(small: Caller) -> None:
    instance_id = launch_one(small, **SPOT)["InstanceId"]
    host_reports(small.store, instance_id, "failed", message="no disk")
    request = described(small, request_of(small, instance_id))
    assert (request["State"], request["Status"]["Code"]) == ("closed", "system-error")
    assert request["Fault"]["Code"] == "Server.InternalError"


def test_an_account_that_closes_asks_for_nothing_more(small: Caller) -> None:
    instance_id = run_one(small, **STOPPING)
    with small.store.write() as tx:
        account = tx.get(Account, small.account)
        assert account is not None
        close_account(tx, account)
    look(small)
    assert record(small.store, instance_id).state == "shutting-down"
    with small.store.read() as tx:
        assert tx.count(UsageEntry, usage.c.closed_at.is_(None), usage.c.resource_id == instance_id) == 0
