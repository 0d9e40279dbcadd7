"""Start, stop, reboot, terminate: what the caller sees, what is paid for, what the host is told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from freehold.config import Config
from freehold.control.specs import guest_specs, instances_of_host
from freehold.host.wire import GuestSpec
from freehold.records.audit import AuditEvent
from freehold.records.compute import Host
from freehold.records.feed import position, since
from freehold.records.network import Address
from freehold.records.store import Store
from freehold.records.usage import UsageEntry, usage
from tests.cloudapi import api_server
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import (
    add_host,
    add_images,
    census,
    host_reports,
    launch,
    launch_one,
    record,
    run_one,
    shown,
    stop,
    terminate,
)

NOWHERE = "i-00000000000000000"
ALL = ("start_instances", "stop_instances", "reboot_instances", "terminate_instances")


def state(caller: Caller, instance_id: str) -> str:
    name: str = shown(caller, instance_id)["State"]["Name"]
    return name


def changes(answer: Any) -> list[tuple[str, str, str]]:
    """(instance, previous state, current state) of each instance of an answer."""
    ((_, listed),) = answer.items()
    return [(c["InstanceId"], c["PreviousState"]["Name"], c["CurrentState"]["Name"]) for c in listed]


def held(store: Store) -> set[str]:
    """The items that are being paid for."""
    with store.read() as tx:
        return {entry.item for entry in tx.select(UsageEntry, usage.c.closed_at.is_(None))}


def room_taken(store: Store) -> tuple[int, int]:
    with store.read() as tx:
        (host,) = tx.select(Host)
    return host.vcpus_used, host.memory_used_mib


def told(store: Store, work: Callable[[], Any]) -> set[str]:
    """The topics of the feed entries that some work makes."""
    with store.read() as tx:
        before = position(tx)
    work()
    with store.read() as tx:
        return {topic for topic, _ in since(tx, before, ("guest", "vpc"))[1]}


def spec(store: Store, instance_id: str) -> GuestSpec:
    """What the host is told of the instance."""
    with store.read() as tx:
        (found,) = [
            s for s in guest_specs(tx, Config(), instances_of_host(tx, "host-1")) if s.instance_id == instance_id
        ]
    return found


def test_a_stop_is_seen_and_paid_no_more_at_once(ready: Caller) -> None:
    instance_id = run_one(ready)
    assert held(ready.store) == {"instance:fh1.nano", "volume:gp3", "address"}
    address = shown(ready, instance_id)["PublicIpAddress"]
    answer = ready.stop_instances(InstanceIds=[instance_id])
    assert changes(answer) == [(instance_id, "running", "stopping")]
    assert answer["StoppingInstances"][0]["CurrentState"]["Code"] == 64
    stopping = shown(ready, instance_id)
    assert stopping["State"]["Name"] == "stopping"
    assert stopping["StateReason"] == {
        "Code": "Client.UserInitiatedShutdown",
        "Message": "Client.UserInitiatedShutdown: User initiated shutdown",
    }
    assert re.fullmatch(r"User initiated \(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d GMT\)", stopping["StateTransitionReason"])
    assert "PublicIpAddress" not in stopping
    assert stopping["PublicDnsName"] == ""
    assert held(ready.store) == {"volume:gp3"}
    with ready.store.read() as tx:
        assert tx.get(Address, address) is None
    assert room_taken(ready.store) == (1, 128)
    assert spec(ready.store, instance_id).desired == "stopped"
    host_reports(ready.store, instance_id, "stopped")
    stopped = shown(ready, instance_id)
    assert stopped["State"]["Name"] == "stopped"
    assert stopped["StateTransitionReason"] == stopping["StateTransitionReason"]
    assert room_taken(ready.store) == (0, 0)


def test_a_stop_and_a_start_tell_the_host_and_the_network(ready: Caller) -> None:
    instance_id = run_one(ready)
    assert told(ready.store, lambda: stop(ready, instance_id)) == {"guest", "vpc"}
    assert told(ready.store, lambda: ready.start_instances(InstanceIds=[instance_id])) == {"guest", "vpc"}


def test_a_start_begins_anew_where_the_disks_are(ready: Caller) -> None:
    instance_id = run_one(ready)
    first = shown(ready, instance_id)
    ready.stop_instances(InstanceIds=[instance_id], Force=True)
    assert spec(ready.store, instance_id).shutdown_grace_seconds == 0
    host_reports(ready.store, instance_id, "stopped")
    add_host(ready.store, "host-2", memory_mib=64 * 1024)
    answer = ready.start_instances(InstanceIds=[instance_id])
    assert changes(answer) == [(instance_id, "stopped", "pending")]
    pending = shown(ready, instance_id)
    assert pending["StateReason"] == {"Code": "pending", "Message": "pending"}
    assert pending["StateTransitionReason"] == ""
    assert pending["LaunchTime"] > first["LaunchTime"]
    assert pending["PrivateIpAddress"] == first["PrivateIpAddress"]
    assert pending["PublicIpAddress"].startswith("203.0.113.")
    assert pending["BlockDeviceMappings"] == first["BlockDeviceMappings"]
    assert pending["NetworkInterfaces"][0]["Attachment"] == first["NetworkInterfaces"][0]["Attachment"]
    assert pending["UsageOperationUpdateTime"] == first["UsageOperationUpdateTime"]
    assert record(ready.store, instance_id).host_id == "host-1"
    told_now = spec(ready.store, instance_id)
    assert (told_now.desired, told_now.shutdown_grace_seconds > 0) == ("running", True)
    assert held(ready.store) == {"volume:gp3", "address"}
    host_reports(ready.store, instance_id, "running")
    running = shown(ready, instance_id)
    assert "StateReason" not in running
    assert held(ready.store) == {"instance:fh1.nano", "volume:gp3", "address"}


def test_an_instance_launched_without_a_public_address_never_gets_one(ready: Caller) -> None:
    instance_id = run_one(ready, NetworkInterfaces=[{"DeviceIndex": 0, "AssociatePublicIpAddress": False}])
    stop(ready, instance_id)
    ready.start_instances(InstanceIds=[instance_id])
    assert "PublicIpAddress" not in shown(ready, instance_id)


def test_an_elastic_ip_stays_through_stop_and_start(ready: Caller) -> None:
    instance_id = run_one(ready)
    elastic = ready.allocate_address()
    ready.associate_address(AllocationId=elastic["AllocationId"], InstanceId=instance_id)
    stop(ready, instance_id)
    assert shown(ready, instance_id)["PublicIpAddress"] == elastic["PublicIp"]
    ready.start_instances(InstanceIds=[instance_id])
    assert shown(ready, instance_id)["PublicIpAddress"] == elastic["PublicIp"]
    with ready.store.read() as tx:
        assert tx.count(Address) == 1
    terminate(ready, instance_id)
    (address,) = ready.describe_addresses()["Addresses"]
    assert "InstanceId" not in address


def test_what_is_so_already_is_answered_and_changes_nothing(ready: Caller) -> None:
    running, pending = run_one(ready), launch_one(ready)["InstanceId"]
    stopped, stopping, gone, going = (run_one(ready) for _ in range(4))
    stop(ready, stopped)
    ready.stop_instances(InstanceIds=[stopping])
    terminate(ready, gone)
    ready.terminate_instances(InstanceIds=[going])
    before = census(ready.store)
    assert changes(ready.start_instances(InstanceIds=[running, pending, running])) == [
        (running, "running", "running"),
        (pending, "pending", "pending"),
    ]
    assert changes(ready.stop_instances(InstanceIds=[stopped, stopping])) == [
        (stopped, "stopped", "stopped"),
        (stopping, "stopping", "stopping"),
    ]
    assert changes(ready.terminate_instances(InstanceIds=[gone, going])) == [
        (gone, "terminated", "terminated"),
        (going, "shutting-down", "shutting-down"),
    ]
    assert ready.reboot_instances(InstanceIds=[gone, going]) == {}
    assert census(ready.store) == before


def test_what_can_not_be_fails_the_whole_call(ready: Caller) -> None:
    running, pending = run_one(ready), launch_one(ready)["InstanceId"]
    stopped, stopping, gone = (run_one(ready) for _ in range(3))
    stop(ready, stopped)
    ready.stop_instances(InstanceIds=[stopping])
    terminate(ready, gone)
    before = census(ready.store)
    for call, good, bad in (
        (ready.start_instances, stopped, stopping),
        (ready.start_instances, stopped, gone),
        (ready.stop_instances, running, pending),
        (ready.stop_instances, running, gone),
        (ready.reboot_instances, running, stopped),
        (ready.reboot_instances, running, stopping),
    ):
        with refused("IncorrectInstanceState") as error:
            call(InstanceIds=[good, bad])
        assert bad in str(error.value)
    for operation in ALL:
        for wrong, code in ((NOWHERE, "InvalidInstanceID.NotFound"), ("i-x'; --", "InvalidInstanceID.Malformed")):
            with refused(code):
                getattr(ready, operation)(InstanceIds=[running, wrong])
        with refused("MissingParameter"):
            getattr(ready, operation)(InstanceIds=[])
    for operation, request, code in (
        ("stop_instances", {"Hibernate": True}, "UnsupportedHibernationConfiguration"),
        ("start_instances", {"AdditionalInfo": "x"}, "UnsupportedOperation"),
    ):
        with refused(code):
            getattr(ready, operation)(InstanceIds=[running], **request)
    assert census(ready.store) == before


def test_another_accounts_instances_do_not_exist(ready: Caller, stranger: Caller) -> None:
    instance_id = run_one(ready)
    for operation in ALL:
        with refused("InvalidInstanceID.NotFound"):
            getattr(stranger, operation)(InstanceIds=[instance_id])


def test_no_room_on_its_host_leaves_it_stopped(caller: Caller) -> None:
    add_images(caller.store)
    add_host(caller.store, memory_mib=200)
    first = run_one(caller)
    stop(caller, first)
    second = run_one(caller)
    before = census(caller.store)
    with refused("InsufficientInstanceCapacity"):
        caller.start_instances(InstanceIds=[first])
    assert census(caller.store) == before
    stop(caller, second)
    with refused("InsufficientInstanceCapacity"):
        caller.start_instances(InstanceIds=[second, first])
    assert room_taken(caller.store) == (0, 0)
    caller.start_instances(InstanceIds=[first])
    assert state(caller, first) == "pending"


def test_a_start_that_fails_is_stopped_again_and_holds_nothing(ready: Caller) -> None:
    instance_id = run_one(ready)
    stop(ready, instance_id)
    ready.start_instances(InstanceIds=[instance_id])
    host_reports(ready.store, instance_id, "failed", message="no memory left")
    host_reports(ready.store, instance_id, "stopped")
    failed = shown(ready, instance_id)
    assert (failed["State"]["Name"], failed["StateReason"]["Code"]) == ("stopped", "Server.InternalError")
    assert held(ready.store) == {"volume:gp3"}
    assert room_taken(ready.store) == (0, 0)


def test_a_launch_that_fails_gives_its_address_back(ready: Caller) -> None:
    instance_id = launch_one(ready)["InstanceId"]
    host_reports(ready.store, instance_id, "failed", message="no disk left")
    host_reports(ready.store, instance_id, "absent")
    assert state(ready, instance_id) == "terminated"
    assert held(ready.store) == set()
    with ready.store.read() as tx:
        assert tx.count(Address) == 0


def test_a_guest_that_powers_off_before_it_was_seen_to_run_stops(ready: Caller) -> None:
    instance_id = launch_one(ready)["InstanceId"]
    host_reports(ready.store, instance_id, "stopped", guest_shutdown=True)
    assert state(ready, instance_id) == "stopping"
    host_reports(ready.store, instance_id, "stopped")
    assert state(ready, instance_id) == "stopped"
    assert held(ready.store) == {"volume:gp3"}
    ready.start_instances(InstanceIds=[instance_id])
    host_reports(ready.store, instance_id, "failed")
    # It has run, so its disk is kept.
    assert state(ready, instance_id) == "stopping"


def test_a_stop_that_takes_long_can_be_hurried(ready: Caller) -> None:
    instance_id = run_one(ready)
    ready.stop_instances(InstanceIds=[instance_id])
    slow = spec(ready.store, instance_id)
    assert slow.shutdown_grace_seconds > 0
    answer = ready.stop_instances(InstanceIds=[instance_id], SkipOsShutdown=True)
    assert changes(answer) == [(instance_id, "stopping", "stopping")]
    fast = spec(ready.store, instance_id)
    assert (fast.shutdown_grace_seconds, fast.generation) == (0, slow.generation + 1)
    host_reports(ready.store, instance_id, "stopped")
    assert state(ready, instance_id) == "stopped"


def test_a_reboot_is_asked_of_the_host_and_is_seen_in_nothing(ready: Caller) -> None:
    instance_id = run_one(ready)
    before = shown(ready, instance_id)
    first = spec(ready.store, instance_id)
    assert told(ready.store, lambda: ready.reboot_instances(InstanceIds=[instance_id])) == {"guest"}
    second = spec(ready.store, instance_id)
    assert (second.reboots, second.generation) == (first.reboots + 1, first.generation + 1)
    host_reports(ready.store, instance_id, "running")
    assert shown(ready, instance_id) == before
    with ready.store.read() as tx:
        assert tx.count(UsageEntry, usage.c.item == "instance:fh1.nano") == 1


@pytest.mark.parametrize("start", ["pending", "running", "stopping", "stopped"])
def test_every_instance_can_be_terminated_and_leaves_nothing(ready: Caller, start: str) -> None:
    instance_id = launch_one(ready)["InstanceId"] if start == "pending" else run_one(ready)
    if start.startswith("stop"):
        ready.stop_instances(InstanceIds=[instance_id])
    if start == "stopped":
        host_reports(ready.store, instance_id, "stopped")
    assert changes(ready.terminate_instances(InstanceIds=[instance_id])) == [(instance_id, start, "shutting-down")]
    assert held(ready.store) == {"volume:gp3"}
    assert spec(ready.store, instance_id).desired == "absent"
    host_reports(ready.store, instance_id, "absent")
    terminated = shown(ready, instance_id)
    assert terminated["State"] == {"Code": 48, "Name": "terminated"}
    assert terminated["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert terminated["StateTransitionReason"].startswith("User initiated (")
    assert held(ready.store) == set()
    assert room_taken(ready.store) == (0, 0)
    with ready.store.read() as tx:
        assert tx.count(Address) == 0


def test_a_protected_instance_keeps_those_in_its_zone_from_being_terminated(ready: Caller) -> None:
    here, there = ({"Placement": {"AvailabilityZone": zone}} for zone in ("us-east-1a", "us-east-1b"))
    protected = run_one(ready, **here, DisableApiTermination=True)
    beside, elsewhere = run_one(ready, **here), run_one(ready, **there)
    with refused("OperationNotPermitted") as error:
        ready.terminate_instances(InstanceIds=[elsewhere, beside, protected])
    assert protected in str(error.value)
    assert state(ready, elsewhere) == "shutting-down"
    assert state(ready, beside) == state(ready, protected) == "running"


def test_what_was_terminated_though_the_call_failed_is_in_the_trail(tmp_path: Path) -> None:
    with api_server(tmp_path) as api:
        add_host(api.store)
        add_images(api.store)
        ec2 = api.client("ec2")
        ids = []
        for zone in ("us-east-1a", "us-east-1b"):
            (instance,) = ec2.run_instances(
                ImageId="ami-0123456789abcdef0", InstanceType="fh1.nano", MinCount=1, MaxCount=1,
                Placement={"AvailabilityZone": zone}, DisableApiTermination=zone == "us-east-1a",
            )["Instances"]  # fmt: skip
            ids.append(instance["InstanceId"])
        for dry, expected in ((True, "pending"), (False, "shutting-down")):
            with pytest.raises(ec2.exceptions.ClientError, match="OperationNotPermitted"):
                ec2.terminate_instances(InstanceIds=ids, DryRun=dry)
            assert [record(api.store, each).state for each in ids] == ["pending", expected]
        with api.store.read() as tx:
            events = [json.loads(event.body) for event in tx.select(AuditEvent)]
        codes = [event["errorCode"] for event in events if event["eventName"] == "TerminateInstances"]
        assert set(codes) == {"Client.OperationNotPermitted"}


def test_an_elastic_ip_is_free_as_soon_as_its_instance_is_to_go(ready: Caller) -> None:
    instance_id = run_one(ready)
    allocation_id = ready.allocate_address()["AllocationId"]
    ready.associate_address(AllocationId=allocation_id, InstanceId=instance_id)
    stop(ready, instance_id)
    (kept,) = ready.describe_addresses()["Addresses"]
    assert kept["InstanceId"] == instance_id
    with ready.store.read() as tx:
        before = position(tx)
    ready.terminate_instances(InstanceIds=[instance_id])
    (free,) = ready.describe_addresses()["Addresses"]
    assert "AssociationId" not in free
    with ready.store.read() as tx:
        _, changed = since(tx, before, ("vpc",))
    assert len(changed) == 1
    ready.release_address(AllocationId=allocation_id)


def test_a_protected_instance_keeps_the_whole_call(ready: Caller) -> None:
    free = run_one(ready)
    protected = run_one(ready, DisableApiTermination=True)
    pinned = run_one(ready, DisableApiStop=True)
    before = census(ready.store)
    for call, instance_id, attribute in (
        (ready.terminate_instances, protected, "disableApiTermination"),
        (ready.terminate_instances, pinned, "disableApiStop"),
        (ready.stop_instances, pinned, "disableApiStop"),
    ):
        with refused("OperationNotPermitted") as error:
            call(InstanceIds=[free, instance_id])
        assert attribute in str(error.value)
    assert census(ready.store) == before
    stop(ready, protected)
    assert state(ready, protected) == "stopped"


def test_calls_at_once_reserve_once(ready: Caller) -> None:
    """On PostgreSQL there are several writers: two starts, and a start and a report, must not both act on one state."""
    instance_ids = [run_one(ready) for _ in range(3)]
    for instance_id in instance_ids:
        stop(ready, instance_id)
    with ThreadPoolExecutor(6) as threads:
        for answer in threads.map(lambda _: ready.start_instances(InstanceIds=instance_ids), range(6)):
            assert {current for _, _, current in changes(answer)} == {"pending"}
    assert room_taken(ready.store) == (3, 3 * 128)
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda i: host_reports(ready.store, i, "running"), instance_ids))
        ends = threads.map(lambda i: ready.terminate_instances(InstanceIds=[i]), instance_ids * 2)
        reports = threads.map(lambda i: host_reports(ready.store, i, "running"), instance_ids * 2)
        launches = threads.map(lambda _: launch(ready), range(3))
        assert [len(list(results)) for results in (ends, reports, launches)] == [6, 6, 3]
    assert {state(ready, instance_id) for instance_id in instance_ids} == {"shutting-down"}
    for instance_id in instance_ids:
        host_reports(ready.store, instance_id, "absent")
    assert room_taken(ready.store) == (3, 3 * 128)
    assert "instance:fh1.nano" not in held(ready.store)


def test_boto3_and_its_waiters(tmp_path: Path) -> None:
    with api_server(tmp_path) as api:
        add_host(api.store)
        add_images(api.store)
        ec2 = api.client("ec2")
        answer = ec2.run_instances(ImageId="ami-0123456789abcdef0", InstanceType="fh1.nano", MinCount=1, MaxCount=1)
        instance_id = answer["Instances"][0]["InstanceId"]
        host_reports(api.store, instance_id, "running")
        ec2.get_waiter("instance_running").wait(InstanceIds=[instance_id])
        ec2.reboot_instances(InstanceIds=[instance_id])
        for call in (ec2.stop_instances, ec2.reboot_instances, ec2.terminate_instances, ec2.start_instances):
            with pytest.raises(ec2.exceptions.ClientError, match="DryRunOperation"):
                call(InstanceIds=[instance_id], DryRun=True)
        assert ec2.stop_instances(InstanceIds=[instance_id])["StoppingInstances"][0]["CurrentState"]["Code"] == 64
        host_reports(api.store, instance_id, "stopped")
        ec2.get_waiter("instance_stopped").wait(InstanceIds=[instance_id])
        with pytest.raises(ec2.exceptions.ClientError, match="NotFound"):
            ec2.start_instances(InstanceIds=[instance_id, NOWHERE])
        ec2.terminate_instances(InstanceIds=[instance_id])
        host_reports(api.store, instance_id, "absent")
        ec2.get_waiter("instance_terminated").wait(InstanceIds=[instance_id])
