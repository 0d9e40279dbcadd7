"""What is known and planned of how instances fare: scheduled events, and what their owners report."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from freehold.records.compute import Instance
from freehold.records.event_windows import first_for
from freehold.records.feed import publish
from freehold.records.ids import AccountId, InstanceId, new_id
from freehold.records.schema import Record, table
from freehold.records.store import Transaction

EventCode = Literal["instance-stop", "instance-reboot", "instance-retirement", "system-reboot", "system-maintenance"]

_CARRIED_OUT = frozenset[EventCode]({"instance-stop", "instance-reboot", "instance-retirement"})

SHOWN = dt.timedelta(days=7)
"""For how long an event that has ended is still shown ("can still be described for up to a week")."""


class InstanceEvent(Record, frozen=True):
    """Something that the operator does, or has the cloud do, to an instance at `not_before`.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instances-status-check_sched.html. The cloud stops
    and reboots instances itself; a ``system-…`` event announces what the operator does to the host until `not_after`.
    With a `not_before_deadline` its owner may move it. `reboots` are those of the instance when it was scheduled: who
    reboots, or stops and starts, before it is due has done what was wanted. `ended_at`: when it was completed or
    canceled.
    """

    id: str
    account_id: AccountId
    region: str
    instance_id: InstanceId
    code: EventCode
    description: str
    not_before: dt.datetime
    not_after: dt.datetime | None
    not_before_deadline: dt.datetime | None
    scheduled_at: dt.datetime
    reboots: int
    state: Literal["active", "completed", "canceled"] = "active"
    ended_at: dt.datetime | None = None


class StatusReport(Record, frozen=True):
    """What the owner of an instance last reported of its status, for the operator. Times as they gave them."""

    instance_id: InstanceId
    account_id: AccountId
    region: str
    reported_at: dt.datetime
    status: Literal["ok", "impaired"]
    reason_codes: tuple[str, ...]
    description: str
    start_time: dt.datetime | None
    end_time: dt.datetime | None


instance_events = table(
    "instance_events",
    InstanceEvent,
    key=("id",),
    indexes=(("instance_id",), ("account_id", "region", "id"), ("state", "not_before"), ("ended_at",)),
)
status_reports = table("status_reports", StatusReport, key=("instance_id",), indexes=(("account_id",),))


def schedule_event(
    tx: Transaction,
    instance: Instance,
    code: EventCode,
    description: str,
    not_before: dt.datetime,
    not_after: dt.datetime | None = None,
    not_before_deadline: dt.datetime | None = None,
    *,
    expedited: bool = False,
) -> InstanceEvent:
    """What the cloud carries out waits for the event windows of the owner, if the deadline lets it and it is not
    `expedited`."""
    waits = code in _CARRIED_OUT and not expedited
    begins = first_for(tx, instance, not_before) if waits else not_before
    if not_before_deadline is None or begins <= not_before_deadline:
        not_after = not_after + (begins - not_before) if not_after is not None else None
        not_before = begins
    event = InstanceEvent(
        id=new_id("instance-event"),
        account_id=instance.account_id,
        region=instance.region,
        instance_id=instance.id,
        code=code,
        description=description,
        not_before=not_before,
        not_after=not_after,
        not_before_deadline=not_before_deadline,
        scheduled_at=tx.now,
        reboots=instance.reboots,
    )
    tx.insert(event)
    publish(tx, "guest", instance.id)
    return event


def end_event(tx: Transaction, event: InstanceEvent, state: Literal["completed", "canceled"]) -> None:
    tx.update(event, state=state, ended_at=tx.now)
    publish(tx, "guest", event.instance_id)
