"""Stopping every server of a cloud at once: ``freehold down --guests``."""

from __future__ import annotations

from freehold.records import feed
from freehold.records.addressing import release_auto_addresses
from freehold.records.compute import Instance, StateReason, instances
from freehold.records.store import Transaction
from freehold.records.usage import close_usage


def stop_all(tx: Transaction) -> int:
    """Stop all instances that are pending or running, as StopInstances does; returns how many."""
    reason = StateReason("Server.ScheduledStop", "Server.ScheduledStop: Stopped due to a scheduled retirement")
    found = tx.select(Instance, instances.c.state.in_(("pending", "running")))
    for instance in found:
        close_usage(tx, instance.id)
        release_auto_addresses(tx, instance.id)
        tx.update(
            instance,
            state="stopping",
            state_reason=reason,
            state_transition_reason=f"Server.ScheduledStop ({tx.now:%Y-%m-%d %H:%M:%S} GMT)",
            generation=instance.generation + 1,
        )
        feed.publish(tx, "guest", instance.id)
    return len(found)
