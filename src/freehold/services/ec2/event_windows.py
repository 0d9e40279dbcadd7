"""Event windows: {Create,Describe,Modify,Delete,Associate,Disassociate}InstanceEventWindow(s).

What they mean for scheduled events is in records/event_windows.py. Events that are scheduled already stay where they
are when a window changes.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/event-windows.html
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import sqlalchemy as sa

from freehold.records.event_windows import (
    EventWindow,
    EventWindowTarget,
    TimeRange,
    event_window_targets,
    event_windows,
    hours_of,
)
from freehold.records.feed import take_turn
from freehold.records.ids import new_id
from freehold.records.tags import Tag, delete_tags_of, put_tags, tags_of
from freehold.services.ec2.errors import (
    DependencyViolation,
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
)
from freehold.services.ec2.filters import Condition, absent, any_row, text
from freehold.services.ec2.launch_template_errors import ResourceLimitExceeded
from freehold.services.ec2.paging import described, not_with_ids
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import EVENT_WINDOW, INSTANCE, created, named_by
from freehold.services.ec2.tags import UNPRINTABLE, specified, tag_list
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        AssociateInstanceEventWindowRequestTypeDef,
        CreateInstanceEventWindowRequestTypeDef,
        DeleteInstanceEventWindowRequestTypeDef,
        DescribeInstanceEventWindowsRequestTypeDef,
        DisassociateInstanceEventWindowRequestTypeDef,
        InstanceEventWindowAssociationRequestTypeDef,
        InstanceEventWindowDisassociationRequestTypeDef,
        InstanceEventWindowTimeRangeRequestTypeDef,
        ModifyInstanceEventWindowRequestTypeDef,
    )

_Day = Literal["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]
_DAYS: tuple[_Day, ...] = get_args(_Day)
_WINDOWS_MAX, _INSTANCES_MAX, _TAGS_MAX = 200, 100, 50
_RANGE_HOURS_MIN, _HOURS_MIN = 2, 4
_NAME_MAX = 255
_CRON = re.compile(r"\* (\d{1,2}-\d{1,2}(?:,\d{1,2}-\d{1,2})*) \* \* (\*|[0-6A-Z,]+)")
_CRON_DAYS = {name: number for number, day in enumerate(_DAYS) for name in (str(number), day[:3].upper())}


@operation(resources=created(EVENT_WINDOW))
def create_instance_event_window(call: Call, request: CreateInstanceEventWindowRequestTypeDef) -> Response:
    """Of time ranges or a cron expression, for no instances yet. Raises MissingParameter, InvalidParameterCombination,
    InvalidParameterValue, ResourceLimitExceeded."""
    refuse_others(request, {"CronExpression", "Name", "TagSpecifications", "TimeRanges"})
    name, (ranges, cron) = _named(request.get("Name")), _times(request.get("TimeRanges"), request.get("CronExpression"))
    tags = specified(request.get("TagSpecifications"), EVENT_WINDOW.resource_type)[EVENT_WINDOW.resource_type]
    take_turn(call.tx)
    if call.tx.count(EventWindow, **EVENT_WINDOW.owner(call)) >= _WINDOWS_MAX:
        raise ResourceLimitExceeded(f"The maximum number of event windows ({_WINDOWS_MAX}) has been reached.")
    window = EventWindow(new_id(EVENT_WINDOW.prefix), call.account_id, call.region, name, ranges, cron, call.now)
    call.tx.insert(window)
    put_tags(call.tx, call.account_id, call.region, EVENT_WINDOW.resource_type, window.id, tags)
    return _answer(call, window)


def _target(that: Condition, *where: sa.ColumnElement[bool]) -> Condition:
    return any_row(event_window_targets, event_window_targets.c.window_id == event_windows.c.id, *where, that=that)


_T = event_window_targets.c
_TAG = _T.kind == "tag"
_FILTERS: dict[str, Condition] = {
    "dedicated-host-id": absent,
    "event-window-name": text(event_windows.c.name),
    "instance-id": _target(text(_T.key), _T.kind == "instance"),
    "instance-tag": _target(text(_T.key + "=" + _T.value), _TAG),
    "instance-tag-key": _target(text(_T.key), _TAG),
    "instance-tag-value": _target(text(_T.value), _TAG),
}


@operation()
def describe_instance_event_windows(call: Call, request: DescribeInstanceEventWindowsRequestTypeDef) -> Response:
    """With what they are associated with."""
    refuse_others(request, {"Filters", "InstanceEventWindowIds", "MaxResults", "NextToken"})
    not_with_ids(request, "InstanceEventWindowIds")
    page = described(call, EVENT_WINDOW, request, "InstanceEventWindowIds", _FILTERS, smallest=20)
    return {"InstanceEventWindows": _descriptions(call, page.rows), **page.token}


@operation(resources=named_by("InstanceEventWindowId", EVENT_WINDOW))
def modify_instance_event_window(call: Call, request: ModifyInstanceEventWindowRequestTypeDef) -> Response:
    """Its name, its times, or both."""
    refuse_others(request, {"CronExpression", "InstanceEventWindowId", "Name", "TimeRanges"})
    changes: dict[str, Any] = {}
    if "Name" in request:
        changes["name"] = _named(request["Name"])
    if request.get("TimeRanges") or request.get("CronExpression"):
        changes["ranges"], changes["cron"] = _times(request.get("TimeRanges"), request.get("CronExpression"))
    if not changes:
        raise MissingParameter("TimeRanges")
    take_turn(call.tx)
    return _answer(call, call.tx.update(EVENT_WINDOW.load(call, request["InstanceEventWindowId"]), **changes))


@operation(resources=named_by("InstanceEventWindowId", EVENT_WINDOW))
def delete_instance_event_window(call: Call, request: DeleteInstanceEventWindowRequestTypeDef) -> Response:
    """Raises DependencyViolation for one that has targets, unless ForceDelete."""
    refuse_others(request, {"ForceDelete", "InstanceEventWindowId"})
    take_turn(call.tx)
    window = EVENT_WINDOW.load(call, request["InstanceEventWindowId"])
    if not request.get("ForceDelete") and call.tx.count(EventWindowTarget, window_id=window.id):
        raise DependencyViolation(window.id)
    call.tx.delete_where(EventWindowTarget, window_id=window.id)
    delete_tags_of(call.tx, window.id)
    call.tx.delete(window)
    return {"InstanceEventWindowState": {"InstanceEventWindowId": window.id, "State": "deleted"}}


@operation(resources=named_by("InstanceEventWindowId", EVENT_WINDOW))
def associate_instance_event_window(call: Call, request: AssociateInstanceEventWindowRequestTypeDef) -> Response:
    """With instances or with tags of instances, not both; each may be of one window. Raises InvalidParameterValue,
    InvalidParameterCombination, ResourceLimitExceeded and the codes of wrong instances."""
    refuse_others(request, {"AssociationTarget.InstanceIds", "AssociationTarget.InstanceTags", "InstanceEventWindowId"})
    take_turn(call.tx)
    window = EVENT_WINDOW.load(call, request["InstanceEventWindowId"])
    wanted = _targets(call, window, request["AssociationTarget"])
    INSTANCE.load_all(call, [target.key for target in wanted if target.kind == "instance"])
    present = call.tx.select(EventWindowTarget, window_id=window.id)
    if {target.kind for target in present} - {target.kind for target in wanted}:
        raise InvalidParameterCombination("Only one type of target can be associated with an event window.")
    for target in wanted:
        taken = call.tx.get(EventWindowTarget, target.account_id, target.region, target.kind, target.key, target.value)
        if taken is not None and taken.window_id != window.id:
            raise InvalidParameterValue(
                f"The target '{_written(target)}' is associated with the event window {taken.window_id} already."
            )
        call.tx.put(target)
    most = _INSTANCES_MAX if wanted[0].kind == "instance" else _TAGS_MAX
    if call.tx.count(EventWindowTarget, window_id=window.id) > most:
        raise ResourceLimitExceeded(f"The maximum number of targets of an event window ({most}) has been reached.")
    return _answer(call, window)


@operation(resources=named_by("InstanceEventWindowId", EVENT_WINDOW))
def disassociate_instance_event_window(call: Call, request: DisassociateInstanceEventWindowRequestTypeDef) -> Response:
    """Raises InvalidParameterValue for what it is not associated with."""
    refuse_others(request, {"AssociationTarget.InstanceIds", "AssociationTarget.InstanceTags", "InstanceEventWindowId"})
    take_turn(call.tx)
    window = EVENT_WINDOW.load(call, request["InstanceEventWindowId"])
    present = call.tx.select(EventWindowTarget, window_id=window.id)
    for target in _targets(call, window, request["AssociationTarget"]):
        if target not in present:
            raise InvalidParameterValue(f"The target '{_written(target)}' is not associated with {window.id}.")
        call.tx.delete(target)
    return _answer(call, window)


def _targets(
    call: Call,
    window: EventWindow,
    given: InstanceEventWindowAssociationRequestTypeDef | InstanceEventWindowDisassociationRequestTypeDef,
) -> list[EventWindowTarget]:
    """What a request names, once each. Raises InvalidParameterCombination, MissingParameter, InvalidParameterValue."""
    instance_ids, tags = given.get("InstanceIds") or (), given.get("InstanceTags") or ()
    if instance_ids and tags:
        raise InvalidParameterCombination("Only one type of target can be associated with an event window.")
    if not instance_ids and not tags:
        raise MissingParameter("AssociationTarget")
    pairs = [(tag.get("Key", ""), tag.get("Value", "")) for tag in tags]
    if wrong := [key for key, value in pairs if not key or UNPRINTABLE.search(key + value)]:
        raise InvalidParameterValue(f"Value ({wrong[0]}) for parameter AssociationTarget.InstanceTags is invalid.")
    kind: Literal["instance", "tag"] = "instance" if instance_ids else "tag"
    named = [(instance_id, "") for instance_id in instance_ids] or pairs
    return [
        EventWindowTarget(call.account_id, call.region, kind, key, value, window.id)
        for key, value in dict.fromkeys(named)
    ]


def _written(target: EventWindowTarget) -> str:
    return target.key if target.kind == "instance" else f"{target.key}={target.value}"


def _named(name: str | None) -> str | None:
    if name is not None and not (0 < len(name) <= _NAME_MAX and name.isprintable()):
        raise InvalidParameterValue(f"The name of an event window has 1 to {_NAME_MAX} printable characters.")
    return name


def _times(
    given: Sequence[InstanceEventWindowTimeRangeRequestTypeDef] | None, cron: str | None
) -> tuple[tuple[TimeRange, ...], str | None]:
    """The ranges that a request gives, and the cron expression if it gives them by one."""
    if given and cron:
        raise InvalidParameterCombination("An event window has either TimeRanges or a CronExpression.")
    if not given and not cron:
        raise MissingParameter("TimeRanges")
    ranges = _of_cron(cron) if cron else tuple(map(_range, given or ()))
    if any(len(each.hours()) < _RANGE_HOURS_MIN for each in ranges):
        raise InvalidParameterValue(f"Each time range of an event window must be at least {_RANGE_HOURS_MIN} hours.")
    if len(hours_of(ranges)) < _HOURS_MIN:
        raise InvalidParameterValue(f"The time ranges of an event window must be at least {_HOURS_MIN} hours together.")
    return ranges, cron


def _range(given: InstanceEventWindowTimeRangeRequestTypeDef) -> TimeRange:
    """Raises MissingParameter, InvalidParameterValue."""
    for member in ("StartWeekDay", "StartHour", "EndWeekDay", "EndHour"):
        if member not in given:
            raise MissingParameter(f"TimeRanges.{member}")
    for day in (given["StartWeekDay"], given["EndWeekDay"]):
        if day not in _DAYS:
            raise InvalidParameterValue(f"Value ({day}) for a day of the week is invalid. Valid values: {_DAYS}")
    for hour in (given["StartHour"], given["EndHour"]):
        if not 0 <= hour <= 23:
            raise InvalidParameterValue(f"Value ({hour}) for an hour is invalid: 0 to 23.")
    start, end = _DAYS.index(given["StartWeekDay"]), _DAYS.index(given["EndWeekDay"])
    return TimeRange(start, given["StartHour"], end, given["EndHour"])


def _of_cron(expression: str) -> tuple[TimeRange, ...]:
    """The ranges of ``* 0-4,20-23 * * 1,5``. Raises InvalidParameterValue."""
    found = _CRON.fullmatch(expression)
    names = found[2].split(",") if found and found[2] != "*" else [str(day) for day in range(7)]
    hours = [tuple(map(int, part.split("-"))) for part in found[1].split(",")] if found else []
    if not hours or any(not start < end <= 23 for start, end in hours) or not _CRON_DAYS.keys() >= set(names):
        raise InvalidParameterValue(
            f"Value ({expression}) for parameter CronExpression is invalid: it is like '* 0-4,20-23 * * 1,5'."
        )
    days = sorted({_CRON_DAYS[name] for name in names})
    return tuple(TimeRange(day, start, day, end) for day in days for start, end in hours)


def _answer(call: Call, window: EventWindow) -> Response:
    return {"InstanceEventWindow": _descriptions(call, [window])[0]}


def _descriptions(call: Call, windows: Sequence[EventWindow]) -> list[dict[str, Any]]:
    ids = [window.id for window in windows]
    targets: dict[str, list[EventWindowTarget]] = defaultdict(list)
    for target in call.tx.select(EventWindowTarget, window_id=ids):
        targets[target.window_id].append(target)
    tags = tags_of(call.tx, ids)
    return [_described(window, tags[window.id], targets[window.id]) for window in windows]


def _described(window: EventWindow, tags: Sequence[Tag], targets: Sequence[EventWindowTarget]) -> dict[str, Any]:
    answer: dict[str, Any] = {"InstanceEventWindowId": window.id, "State": "active", "Tags": tag_list(tags)}
    if window.name is not None:
        answer["Name"] = window.name
    if window.cron is not None:
        answer["CronExpression"] = window.cron
    else:
        answer["TimeRanges"] = [
            {
                "StartWeekDay": _DAYS[each.start_day],
                "StartHour": each.start_hour,
                "EndWeekDay": _DAYS[each.end_day],
                "EndHour": each.end_hour,
            }
            for each in window.ranges
        ]
    if targets:
        answer["AssociationTarget"] = {
            "InstanceIds": [target.key for target in targets if target.kind == "instance"],
            "Tags": [{"Key": target.key, "Value": target.value} for target in targets if target.kind == "tag"],
        }
    return answer
