"""Event windows: when they are, what they are for, and that scheduled events wait for them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.control.housekeeping import keep_house
from freehold.records.event_windows import TimeRange, first_within, hours_of
from freehold.records.events import schedule_event
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import record, run_one, terminate
from tests.ec2.test_images_types import filters

SUNDAY = dt.datetime(2026, 11, 29, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
NIGHT = {"StartWeekDay": "saturday", "StartHour": 22, "EndWeekDay": "sunday", "EndHour": 4}
IDS = "InstanceEventWindowIds"

ranges = st.lists(st.builds(TimeRange, *(st.integers(0, most) for most in (6, 23, 6, 23))), min_size=1, max_size=3)
moments = st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC))


def window(caller: Caller, **request: Any) -> str:
    times = {} if "CronExpression" in request else {"TimeRanges": [NIGHT]}
    return str(caller.create_instance_event_window(**times, **request)["InstanceEventWindow"]["InstanceEventWindowId"])


def shown(caller: Caller, window_id: str) -> Any:
    (found,) = caller.describe_instance_event_windows(**{IDS: [window_id]})["InstanceEventWindows"]
    return found


def ids(caller: Caller, **request: Any) -> list[str]:
    found = caller.describe_instance_event_windows(**request)["InstanceEventWindows"]
    return [each["InstanceEventWindowId"] for each in found]


def begins(caller: Caller, instance_id: str, code: Any, at: dt.datetime, **more: Any) -> dt.datetime:
    """When an event begins that is scheduled for a moment."""
    with caller.store.write() as tx:
        return schedule_event(tx, record(caller.store, instance_id), code, "planned", at, **more).not_before


@given(ranges, moments)
def test_the_first_moment_within_is_within_and_none_is_before_it(ranges: list[TimeRange], at: dt.datetime) -> None:
    def within(moment: dt.datetime) -> bool:
        return (moment.weekday() + 1) % 7 * 24 + moment.hour in hours_of(ranges)

    first = first_within(ranges, at)
    assert at <= first < at + dt.timedelta(days=7)
    assert within(first)
    assert first == at or not within(at)
    assert not any(within(at + HOUR * ahead) for ahead in range(int((first - at) / HOUR)))


def test_a_window_is_given_by_ranges_or_by_a_cron_expression(ready: Caller, stranger: Caller) -> None:
    tags = [{"ResourceType": "instance-event-window", "Tags": [{"Key": "for", "Value": "web"}]}]
    nights = window(ready, Name="nights", TagSpecifications=tags)
    assert shown(ready, nights) == {
        "InstanceEventWindowId": nights,
        "Name": "nights",
        "State": "active",
        "TimeRanges": [NIGHT],
        "Tags": [{"Key": "for", "Value": "web"}],
    }
    other = window(ready, CronExpression="* 0-4,20-23 * * 1,FRI")
    assert shown(ready, other)["CronExpression"] == "* 0-4,20-23 * * 1,FRI"
    assert "TimeRanges" not in shown(ready, other)
    ready.modify_instance_event_window(InstanceEventWindowId=other, TimeRanges=[NIGHT], Name="other")
    assert (shown(ready, other)["TimeRanges"], shown(ready, other)["Name"]) == ([NIGHT], "other")
    assert sorted(ids(ready)) == sorted([nights, other])
    assert ids(ready, Filters=filters(event_window_name="night*")) == [nights]
    assert ids(stranger) == []
    with refused("InvalidInstanceEventWindowId.NotFound"):
        shown(stranger, nights)
    with refused("InvalidInstanceEventWindowId.Malformed"):
        shown(ready, "iew-x")


@pytest.mark.parametrize(
    "request_",
    [
        {"CronExpression": "0 0-4 * * 1"},  # a minute
        {"CronExpression": "* 0-4 1 * 1"},  # a day of the month
        {"CronExpression": "* 4-0 * * 1"},
        {"CronExpression": "* 0-24 * * 1"},
        {"CronExpression": "* 0-1,4-9 * * 1"},  # a range of one hour
        {"CronExpression": "* 0-3 * * 1"},  # three hours together
        {"CronExpression": "* 0-4 * * 7"},
        {"CronExpression": "* 0-4 * * MOON"},
        {"CronExpression": "* 0-4 * * 1,"},
        {"TimeRanges": [{**NIGHT, "EndWeekDay": "saturday", "EndHour": 23}]},
        {"TimeRanges": [{**NIGHT, "EndHour": 1}]},
        {"TimeRanges": [{**NIGHT, "StartWeekDay": "someday"}]},
        {"TimeRanges": [{**NIGHT, "StartHour": 24}]},
        {"TimeRanges": [NIGHT], "Name": ""},
    ],
)
def test_what_is_no_window(ready: Caller, request_: dict[str, Any]) -> None:
    with refused("InvalidParameterValue"):
        ready.create_instance_event_window(**request_)


def test_a_window_has_times_and_one_kind_of_them(ready: Caller) -> None:
    with refused("MissingParameter"):
        ready.create_instance_event_window()
    with refused("InvalidParameterCombination"):
        ready.create_instance_event_window(TimeRanges=[NIGHT], CronExpression="* 0-4 * * 1")
    with refused("MissingParameter"):
        ready.modify_instance_event_window(InstanceEventWindowId=window(ready))


def test_events_wait_for_the_window_of_their_instance(ready: Caller) -> None:
    own, tagged, free = (run_one(ready) for _ in range(3))
    ready.create_tags(Resources=[tagged], Tags=[{"Key": "tier", "Value": "web"}])
    nights, mondays = window(ready), window(ready, CronExpression="* 8-12 * * MON")
    answer = ready.associate_instance_event_window(
        InstanceEventWindowId=nights, AssociationTarget={"InstanceIds": [own]}
    )
    assert answer["InstanceEventWindow"]["AssociationTarget"] == {"InstanceIds": [own], "Tags": []}
    tag = {"Key": "tier", "Value": "web"}
    ready.associate_instance_event_window(InstanceEventWindowId=mondays, AssociationTarget={"InstanceTags": [tag]})
    assert shown(ready, mondays)["AssociationTarget"] == {"InstanceIds": [], "Tags": [tag]}

    noon = SUNDAY + 12 * HOUR
    assert begins(ready, own, "instance-reboot", noon) == SUNDAY + dt.timedelta(days=6, hours=22)
    assert begins(ready, own, "instance-reboot", SUNDAY + 3.5 * HOUR) == SUNDAY + 3.5 * HOUR
    assert begins(ready, tagged, "instance-stop", noon) == SUNDAY + dt.timedelta(days=1, hours=8)
    assert begins(ready, free, "instance-stop", noon) == noon
    assert begins(ready, own, "system-reboot", noon) == noon  # announced: the operator does it
    assert begins(ready, own, "instance-reboot", noon, expedited=True) == noon
    # The deadline of the operator counts for more.
    assert begins(ready, tagged, "instance-stop", noon, not_before_deadline=noon + HOUR) == noon


def test_a_target_has_one_window_and_a_window_one_kind_of_targets(ready: Caller, stranger: Caller) -> None:
    instance_id, first, second = run_one(ready), window(ready), window(ready)
    of_instance, of_tag = {"InstanceIds": [instance_id]}, {"InstanceTags": [{"Key": "a", "Value": ""}]}
    ready.associate_instance_event_window(InstanceEventWindowId=first, AssociationTarget=of_instance)
    for window_id, target, code in (
        (first, of_tag, "InvalidParameterCombination"),
        (second, of_instance | of_tag, "InvalidParameterCombination"),
        (second, {}, "MissingParameter"),
        (second, of_instance, "InvalidParameterValue"),
        (second, {"InstanceTags": [{"Key": "", "Value": "x"}]}, "InvalidParameterValue"),
        (second, {"DedicatedHostIds": ["h-1"]}, "UnsupportedOperation"),
        (second, {"InstanceIds": ["i-0123456789abcdef0"]}, "InvalidInstanceID.NotFound"),
    ):
        with refused(code):
            ready.associate_instance_event_window(InstanceEventWindowId=window_id, AssociationTarget=target)
    with refused("InvalidInstanceID.NotFound"):
        stranger.associate_instance_event_window(InstanceEventWindowId=window(stranger), AssociationTarget=of_instance)
    many = {"InstanceTags": [{"Key": str(number), "Value": "x"} for number in range(51)]}
    with refused("ResourceLimitExceeded"):
        ready.associate_instance_event_window(InstanceEventWindowId=second, AssociationTarget=many)
    assert ids(ready, Filters=filters(instance_id=instance_id)) == [first]
    with refused("DependencyViolation"):
        ready.delete_instance_event_window(InstanceEventWindowId=first)
    with refused("InvalidParameterValue"):
        ready.disassociate_instance_event_window(InstanceEventWindowId=second, AssociationTarget=of_instance)
    ready.disassociate_instance_event_window(InstanceEventWindowId=first, AssociationTarget=of_instance)
    ready.delete_instance_event_window(InstanceEventWindowId=first)
    ready.associate_instance_event_window(InstanceEventWindowId=second, AssociationTarget=of_tag)
    assert ids(ready, Filters=filters(instance_tag="a=")) == [second]
    assert ids(ready, Filters=filters(instance_tag_key="a")) == [second]
    ready.delete_instance_event_window(InstanceEventWindowId=second, ForceDelete=True)
    assert ids(ready) == []


def test_a_window_forgets_an_instance_that_is_gone(ready: Caller) -> None:
    instance_id, window_id = run_one(ready), window(ready)
    of_instance = {"InstanceIds": [instance_id]}
    ready.associate_instance_event_window(InstanceEventWindowId=window_id, AssociationTarget=of_instance)
    terminate(ready, instance_id)
    with ready.store.write() as tx:
        tx.update(record(ready.store, instance_id), terminated_at=tx.now - dt.timedelta(days=1))
    keep_house(ready.store, ready.config)
    assert "AssociationTarget" not in shown(ready, window_id)


def test_an_account_has_so_many_windows(ready: Caller) -> None:
    for _ in range(200):
        window(ready)
    with refused("ResourceLimitExceeded"):
        window(ready)
    first = ready.describe_instance_event_windows(MaxResults=150)
    assert len(first["InstanceEventWindows"]) == 150
    assert len(ids(ready, MaxResults=150, NextToken=first["NextToken"])) == 50
