"""Stopping every server of a cloud at once: ``freehold down --guests``."""

from __future__ import annotations

from freehold.records.compute import Instance, StateReason, instances
from freehold.records.instances import send_down
from freehold.records.store import Transaction


def stop_all(tx: Transaction) -> int:
    """Stop all instances that are pending or running, as StopInstances does; returns how many."""
    reason = StateReason("Server.ScheduledStop", "Server.ScheduledStop: Stopped due to a scheduled retirement")
    found = tx.select(Instance, instances.c.state.in_(("pending", "running")))
    for instance in found:
        send_down(tx, instance, "stopping", reason, f"Server.ScheduledStop ({tx.now:%Y-%m-%d %H:%M:%S} GMT)")
    return len(found)
