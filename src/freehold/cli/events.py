"""``freehold event``: what the operator plans for servers, and what their owners report of them."""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path
from typing import Literal, cast

from freehold.cli import fail
from freehold.cli.state import open_state
from freehold.cli.tables import print_table, table
from freehold.records.compute import Instance
from freehold.records.events import EventCode, InstanceEvent, StatusReport, end_event, schedule_event
from freehold.records.ids import is_ec2_id

_DESCRIPTIONS: dict[str, str] = {
    "instance-stop": "The instance is scheduled to be stopped",
    "instance-reboot": "The instance is scheduled for a reboot",
    "instance-retirement": "The instance is running on degraded hardware",
    "system-reboot": "The instance's host is scheduled for a reboot",
    "system-maintenance": "The instance's host is scheduled for maintenance",
}


def schedule(
    data_dir: Path,
    instance_id: str,
    code: str,
    not_before: str | None,
    not_after: str | None,
    deadline: str | None,
    description: str | None,
    *,
    expedited: bool,
) -> None:
    begins = _moment(not_before) or dt.datetime.now(dt.UTC)
    ends, latest = _moment(not_after), _moment(deadline)
    if ends is not None and ends < begins:
        raise fail("An event can not be over before it begins.")
    if latest is not None and latest < begins:
        raise fail("An event's deadline can not be before its beginning.")
    _config, store = open_state(data_dir)
    with store.write() as tx:
        instance = tx.get(Instance, instance_id) if is_ec2_id("i", instance_id) else None
        if instance is None or instance.state in ("shutting-down", "terminated"):
            raise fail(f"There is no server {instance_id}: `freehold status` lists them.")
        words = description or _DESCRIPTIONS[code]
        event = schedule_event(tx, instance, cast("EventCode", code), words, begins, ends, latest, expedited=expedited)
    store.close()
    if event.not_before != begins:
        waits = f"It begins at {_shown(event.not_before)}, in an event window of the server's owner"
        print(f"{waits} (--expedited: without regard to those).", file=sys.stderr)
    print(event.id)


def end(data_dir: Path, event_id: str, state: Literal["completed", "canceled"]) -> None:
    _config, store = open_state(data_dir)
    with store.write() as tx:
        event = tx.get(InstanceEvent, event_id)
        if event is None:
            raise fail(f"There is no event {event_id}: `freehold event list` lists them.")
        if event.state != "active":
            raise fail(f"{event_id} is {event.state} already.")
        end_event(tx, event, state)
    store.close()


def show(data_dir: Path, *, as_json: bool) -> None:
    _config, store = open_state(data_dir)
    with store.read() as tx:
        events = sorted(tx.select(InstanceEvent), key=lambda event: event.not_before)
    store.close()
    if as_json:
        print(json.dumps([_document(event) for event in events], indent=2))
        return
    made = table("event", "server", "account", "code", "begins", "over", "deadline", "state", "description")
    for event in events:
        moments = (event.not_before, event.not_after, event.not_before_deadline)
        cells = (event.id, event.instance_id, event.account_id, event.code, *map(_shown, moments), event.state)
        made.add_row(*cells, event.description)
    print_table(made)


def reports(data_dir: Path, *, as_json: bool) -> None:
    _config, store = open_state(data_dir)
    with store.read() as tx:
        found = sorted(tx.select(StatusReport), key=lambda report: report.reported_at)
    store.close()
    if as_json:
        print(json.dumps([_report(each) for each in found], indent=2))
        return
    made = table("server", "account", "reported", "status", "reasons", "from", "to", "description")
    for each in found:
        moments = (each.start_time, each.end_time)
        cells = (each.instance_id, each.account_id, _shown(each.reported_at), each.status, " ".join(each.reason_codes))
        made.add_row(*cells, *map(_shown, moments), each.description)
    print_table(made)


def _document(event: InstanceEvent) -> dict[str, str | None]:
    return {
        "event_id": event.id,
        "instance_id": event.instance_id,
        "account_id": event.account_id,
        "code": event.code,
        "description": event.description,
        "not_before": _shown(event.not_before),
        "not_after": _shown(event.not_after) or None,
        "not_before_deadline": _shown(event.not_before_deadline) or None,
        "state": event.state,
    }


def _report(report: StatusReport) -> dict[str, str | list[str] | None]:
    return {
        "instance_id": report.instance_id,
        "account_id": report.account_id,
        "reported_at": _shown(report.reported_at),
        "status": report.status,
        "reason_codes": list(report.reason_codes),
        "start_time": _shown(report.start_time) or None,
        "end_time": _shown(report.end_time) or None,
        "description": report.description,
    }


def _moment(text: str | None) -> dt.datetime | None:
    if text is None:
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise fail(f"{text!r} is no time: write it as 2026-12-01T04:00Z.") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)


def _shown(moment: dt.datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
