"""Scheduled events of instances when their time has come: the instance is stopped or rebooted, the event ends."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa

from freehold.records.compute import Instance, StateReason, instances
from freehold.records.events import SHOWN, InstanceEvent, end_event, instance_events
from freehold.records.feed import take_turn
from freehold.records.instances import reboot, send_down
from freehold.records.store import Store, Transaction

_BATCH = 100

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html
_SCHEDULED_STOP = StateReason("Server.ScheduledStop", "Server.ScheduledStop: Stopped due to a scheduled retirement")


def carry_out_events(store: Store) -> None:
    """One round over the events that are due, or whose instance's owner has done before what was wanted. May be
    repeated, and takes the write lock only if there are some."""
    with store.read() as tx:
        more = bool(_ripest(tx))
        old = tx.find(InstanceEvent, instance_events.c.ended_at < tx.now - SHOWN) is not None
    while more:
        with store.write() as tx:
            take_turn(tx)
            ripest = _ripest(tx)
            for event in ripest:
                _carry_out(tx, event)
        more = len(ripest) == _BATCH
    if old:
        with store.write() as tx:
            tx.delete_where(InstanceEvent, instance_events.c.ended_at < tx.now - SHOWN)


def _ripest(tx: Transaction) -> list[InstanceEvent]:
    return tx.select(InstanceEvent, instance_events.c.state == "active", _ripe(tx.now), limit=_BATCH)


def _ripe(now: dt.datetime) -> sa.ColumnElement[bool]:
    event = instance_events.c

    def due(moment: sa.Column[dt.datetime]) -> sa.ColumnElement[bool]:
        return moment <= sa.literal(now, moment.type)

    of_instance = instances.c.id == event.instance_id
    begun_again = sa.exists().where(of_instance, instances.c.launched_at > event.scheduled_at)
    rebooted = sa.exists().where(of_instance, instances.c.reboots > event.reboots)
    return sa.or_(
        sa.and_(event.code.in_(("instance-stop", "instance-retirement")), sa.or_(due(event.not_before), begun_again)),
        sa.and_(event.code == "instance-reboot", sa.or_(due(event.not_before), begun_again, rebooted)),
        due(event.not_after),  # what a `system-…` event announced is over then
    )


def _carry_out(tx: Transaction, event: InstanceEvent) -> None:
    instance = tx.get(Instance, event.instance_id)
    if instance is not None and instance.state == "running" and instance.launched_at <= event.scheduled_at:
        if event.code in ("instance-stop", "instance-retirement"):
            send_down(tx, instance, "stopping", _SCHEDULED_STOP, _SCHEDULED_STOP.code)
        elif event.code == "instance-reboot" and instance.reboots == event.reboots:
            reboot(tx, instance)
    end_event(tx, event, "completed")
