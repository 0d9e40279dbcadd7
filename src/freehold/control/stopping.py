"""Stopping every server of a cloud at once: ``freehold down --guests``."""

from __future__ import annotations

from freehold.records import audit
from freehold.records.audit import service_event
from freehold.records.compute import Instance, StateReason, instances
from freehold.records.instances import send_down
from freehold.records.store import Transaction


def stop_all(tx: Transaction) -> int:
    """Stop all instances that are pending or running, as StopInstances does; returns how many."""
    reason = StateReason("Server.ScheduledStop", "Server.ScheduledStop: Stopped due to a scheduled retirement")
    found = tx.select(Instance, instances.c.state.in_(("pending", "running")))
    for instance in found:
        send_down(tx, instance, "stopping", reason, f"Server.ScheduledStop ({tx.now:%Y-%m-%d %H:%M:%S} GMT)")
    audit.record(tx, *(_stopped(tx, instance) for instance in found))
    return len(found)


def _stopped(tx: Transaction, instance: Instance) -> str:
    named = {"instancesSet": {"items": [{"instanceId": instance.id}]}}
    return service_event(tx.now, instance.account_id, instance.region, "ec2", "StopInstances", parameters=named)
