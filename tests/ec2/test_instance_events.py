"""Scheduled events: shown, moved, carried out when they are due or their owner was first."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from freehold.config import Config
from freehold.control.events import carry_out_events
from freehold.control.specs import guest_specs
from freehold.host.wire import EventSpec
from freehold.records.events import InstanceEvent, end_event, schedule_event
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import host_reports, launch_one, record, run_one, stop, terminate

HOUR = dt.timedelta(hours=1)


def scheduled(caller: Caller, instance_id: str, code: Any, begins: dt.timedelta, **moments: dt.timedelta) -> str:
    """The id of an event that begins so long from now; `moments` likewise."""
    with caller.store.write() as tx:
        at = {name: tx.now + after for name, after in moments.items()}
        instance = record(caller.store, instance_id)
        return schedule_event(tx, instance, code, f"{code} is planned", tx.now + begins, **at).id


def shown(caller: Caller, instance_id: str) -> list[Any]:
    answer = caller.describe_instance_status(InstanceIds=[instance_id], IncludeAllInstances=True)
    events: list[Any] = answer["InstanceStatuses"][0]["Events"]
    return events


def told(caller: Caller, instance_id: str) -> tuple[EventSpec, ...]:
    """What the host, and by it the guest, is told."""
    with caller.store.read() as tx:
        (spec,) = guest_specs(tx, Config(), [record(caller.store, instance_id)])
    return spec.metadata.events


def test_events_are_shown_and_told_for_a_week_after_they_ended(ready: Caller) -> None:
    instance_id = run_one(ready)
    later = scheduled(ready, instance_id, "system-maintenance", 2 * HOUR, not_after=3 * HOUR)
    sooner = scheduled(ready, instance_id, "instance-reboot", HOUR, not_before_deadline=9 * HOUR)
    first, second = shown(ready, instance_id)
    assert (first["InstanceEventId"], second["InstanceEventId"]) == (sooner, later)
    assert first.keys() == {"InstanceEventId", "Code", "Description", "NotBefore", "NotBeforeDeadline"}
    assert (second["Description"], second["NotAfter"] - second["NotBefore"]) == ("system-maintenance is planned", HOUR)

    with ready.store.write() as tx:
        event = tx.get(InstanceEvent, sooner)
        assert event is not None
        end_event(tx, event, "canceled")
    assert [each["Description"] for each in shown(ready, instance_id)] == [
        "[Canceled] instance-reboot is planned",
        "system-maintenance is planned",
    ]
    assert [(each.event_id, each.state) for each in told(ready, instance_id)] == [
        (sooner, "canceled"),
        (later, "active"),
    ]
    with ready.store.write() as tx:
        event = tx.get(InstanceEvent, sooner)
        assert event is not None
        tx.update(event, ended_at=tx.now - 8 * 24 * HOUR)
    assert [each["InstanceEventId"] for each in shown(ready, instance_id)] == [later]
    assert [each.event_id for each in told(ready, instance_id)] == [later]
    carry_out_events(ready.store)
    with ready.store.read() as tx:
        assert [event.id for event in tx.select(InstanceEvent)] == [later]


def test_the_filters_on_events(ready: Caller) -> None:
    one, other = run_one(ready), run_one(ready)
    event_id = scheduled(ready, one, "instance-stop", HOUR, not_after=2 * HOUR, not_before_deadline=3 * HOUR)
    scheduled(ready, other, "instance-reboot", HOUR)
    (event,) = shown(ready, one)

    def found(name: str, value: str) -> list[str]:
        answer = ready.describe_instance_status(Filters=[{"Name": f"event.{name}", "Values": [value]}])
        return [each["InstanceId"] for each in answer["InstanceStatuses"]]

    assert found("code", "instance-stop") == [one]
    assert found("instance-event-id", event_id) == [one]
    assert found("description", "instance-stop is*") == [one]
    for name, member in (("not-after", "NotAfter"), ("not-before-deadline", "NotBeforeDeadline")):
        assert found(name, f"{event[member]:%Y-%m-%dT%H:%M:%S.000Z}") == [one]
    assert set(found("not-before", f"{event['NotBefore']:%Y-%m-%dT*}")) == {one, other}
    assert found("code", "system-reboot") == []


def test_only_what_has_a_deadline_is_moved_and_not_beyond_it(ready: Caller, stranger: Caller) -> None:
    instance_id = run_one(ready)
    event_id = scheduled(
        ready, instance_id, "system-reboot", 2 * HOUR, not_after=3 * HOUR, not_before_deadline=48 * HOUR
    )
    fixed = scheduled(ready, instance_id, "instance-stop", 2 * HOUR)
    close = scheduled(ready, instance_id, "instance-stop", HOUR / 20, not_before_deadline=48 * HOUR)
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)

    def move(event_id: str, to: dt.timedelta, caller: Caller = ready) -> Any:
        request = {"InstanceId": instance_id, "InstanceEventId": event_id, "NotBefore": now + to}
        return caller.modify_instance_event_start_time(**request)["Event"]

    moved = move(event_id, 5 * HOUR)
    assert (moved["NotBefore"], moved["NotAfter"] - moved["NotBefore"]) == (now + 5 * HOUR, HOUR)
    assert moved in shown(ready, instance_id)
    for to in (HOUR / 2, 49 * HOUR):
        with refused("InvalidInstanceEventStartTime"):
            move(event_id, to)
    for each in (fixed, close):
        with refused("InstanceEventStartTimeCannotChange"):
            move(each, 5 * HOUR)
    with refused("InvalidInstanceEventIDNotFound"):
        move("instance-event-0123456789abcdef0", 5 * HOUR)
    with refused("InvalidInstanceID.NotFound"):
        move(event_id, 5 * HOUR, stranger)


@pytest.mark.parametrize("code", ["instance-stop", "instance-retirement"])
def test_an_instance_is_stopped_when_that_is_due(ready: Caller, code: str) -> None:
    instance_id = run_one(ready)
    scheduled(ready, instance_id, code, HOUR)
    carry_out_events(ready.store)
    assert record(ready.store, instance_id).state == "running"
    scheduled(ready, instance_id, code, -HOUR)
    carry_out_events(ready.store)
    stopping = record(ready.store, instance_id)
    assert (stopping.state, stopping.state_reason and stopping.state_reason.code) == (
        "stopping",
        "Server.ScheduledStop",
    )
    due, to_come = shown(ready, instance_id)
    assert due["Description"].startswith("[Completed] ")
    assert not to_come["Description"].startswith("[Completed] ")
    # It is moved by that, so what was still to come is done too.
    host_reports(ready.store, instance_id, "stopped")
    ready.start_instances(InstanceIds=[instance_id])
    carry_out_events(ready.store)
    assert all(each["Description"].startswith("[Completed] ") for each in shown(ready, instance_id))
    assert record(ready.store, instance_id).state == "pending"


def test_an_instance_is_rebooted_when_that_is_due_unless_its_owner_was_first(ready: Caller) -> None:
    instance_id = run_one(ready)
    scheduled(ready, instance_id, "instance-reboot", HOUR)
    ready.reboot_instances(InstanceIds=[instance_id])
    carry_out_events(ready.store)
    assert record(ready.store, instance_id).reboots == 1
    assert shown(ready, instance_id)[0]["Description"].startswith("[Completed] ")
    scheduled(ready, instance_id, "instance-reboot", -HOUR)
    for _ in range(2):
        carry_out_events(ready.store)
        assert record(ready.store, instance_id).reboots == 2


def test_what_the_operator_does_to_the_host_is_over_when_it_was_to_be(ready: Caller) -> None:
    instance_id = run_one(ready)
    scheduled(ready, instance_id, "system-maintenance", -2 * HOUR, not_after=-HOUR)
    scheduled(ready, instance_id, "system-reboot", -2 * HOUR)
    carry_out_events(ready.store)
    assert record(ready.store, instance_id).state == "running"
    assert sorted(each["Description"] for each in shown(ready, instance_id)) == [
        "[Completed] system-maintenance is planned",
        "system-reboot is planned",
    ]


def test_a_stopped_instance_stays_stopped_and_a_terminated_one_has_no_more_events(ready: Caller) -> None:
    instance_id = run_one(ready)
    stop(ready, instance_id)
    scheduled(ready, instance_id, "instance-stop", -HOUR)
    carry_out_events(ready.store)
    assert record(ready.store, instance_id).state == "stopped"
    other = launch_one(ready)["InstanceId"]
    scheduled(ready, other, "instance-reboot", -HOUR)
    terminate(ready, other)
    carry_out_events(ready.store)
    assert record(ready.store, other).state == "terminated"
