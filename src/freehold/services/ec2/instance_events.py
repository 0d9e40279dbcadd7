"""Scheduled events of instances: what DescribeInstanceStatus shows of them, and ModifyInstanceEventStartTime.

The operator schedules them (`freehold event`); the controllers carry them out (control/events.py).
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instances-status-check_sched.html
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.records.events import SHOWN, InstanceEvent, instance_events
from freehold.records.feed import publish
from freehold.services.ec2.compute_errors import (
    InstanceEventStartTimeCannotChange,
    InvalidInstanceEventIDNotFound,
    InvalidInstanceEventStartTime,
)
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import INSTANCE, named_by
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import ModifyInstanceEventStartTimeRequestTypeDef

# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/reschedule-event.html
_NOT_WITHIN = dt.timedelta(minutes=5)
_EARLIEST = dt.timedelta(minutes=60)

_WORDS = {"completed": "[Completed] ", "canceled": "[Canceled] "}

shown_description = (
    sa.case(*((instance_events.c.state == state, word) for state, word in _WORDS.items()), else_="")
    + instance_events.c.description
)
"""The description as it is shown, for a filter."""


def still_shown(call: Call) -> list[sa.ColumnElement[bool]]:
    """Of the events of an instance: those that are to come, and those of the last week."""
    since = sa.literal(call.now - SHOWN, instance_events.c.ended_at.type)
    return [sa.or_(instance_events.c.ended_at.is_(None), instance_events.c.ended_at > since)]


def events_of(call: Call, instance_ids: Sequence[str]) -> dict[str, list[Response]]:
    """The events of each of these instances that are shown, as InstanceStatusEvent."""
    found: dict[str, list[Response]] = defaultdict(list)
    named = instance_events.c.instance_id.in_(instance_ids)
    for event in call.tx.select(InstanceEvent, named, *still_shown(call), order_by=[instance_events.c.not_before]):
        found[event.instance_id].append(_shown(event))
    return found


def _shown(event: InstanceEvent) -> dict[str, Any]:
    members = {
        "InstanceEventId": event.id,
        "Code": event.code,
        "Description": _WORDS.get(event.state, "") + event.description,
        "NotBefore": event.not_before,
        "NotAfter": event.not_after,
        "NotBeforeDeadline": event.not_before_deadline,
    }
    return {name: value for name, value in members.items() if value is not None}


@operation(resources=named_by("InstanceId", INSTANCE))
def modify_instance_event_start_time(call: Call, request: ModifyInstanceEventStartTimeRequestTypeDef) -> Response:
    """Move an event that has a deadline, up to that, if it is not about to begin; to an hour from now at least.

    Raises InvalidInstanceEventIDNotFound, InstanceEventStartTimeCannotChange, InvalidInstanceEventStartTime.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/reschedule-event.html
    """
    refuse_others(request, {"InstanceId", "InstanceEventId", "NotBefore"})
    to: dt.datetime = request["NotBefore"]  # type: ignore[assignment]  # parsed
    instance = INSTANCE.load(call, request["InstanceId"])
    event = call.tx.find(InstanceEvent, id=request["InstanceEventId"], instance_id=instance.id)
    if event is None:
        raise InvalidInstanceEventIDNotFound(request["InstanceEventId"])
    if event.not_before_deadline is None or event.state != "active" or event.not_before <= call.now + _NOT_WITHIN:
        raise InstanceEventStartTimeCannotChange(event.id)
    if not call.now + _EARLIEST <= to <= event.not_before_deadline:
        raise InvalidInstanceEventStartTime(event.not_before_deadline)
    lasts = event.not_after - event.not_before if event.not_after is not None else None
    moved = call.tx.update(event, not_before=to, not_after=to + lasts if lasts is not None else None)
    publish(call.tx, "guest", instance.id)
    return {"Event": _shown(moved)}
