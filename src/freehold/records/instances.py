"""What every way down of an instance has in common: by a call, by its own guest, by a host that could not start it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Literal

from freehold.records.addressing import take_addresses
from freehold.records.compute import Instance, StateReason
from freehold.records.feed import publish
from freehold.records.spot import leave
from freehold.records.store import Transaction
from freehold.records.usage import UsageEntry, close_usage

BY_USER = StateReason("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown")

UNKNOWN_STATUS: Mapping[str, Any] = {
    "reachability": "initializing",
    "unreachable_since": None,
    "system_impaired_since": None,
    "disks_impaired_since": None,
}
"""What is known of how an instance fares when it begins to run."""


def send_down(
    tx: Transaction,
    instance: Instance,
    state: Literal["stopping", "shutting-down"],
    reason: StateReason,
    transition_reason: str,
    *,
    at: dt.datetime | None = None,
    **changes: Any,
) -> Instance:
    """Have the host stop the instance, or remove it; returns it with this and the other `changes` applied.

    Nobody pays for it from `at` on (default: now), nor for the address that it was given; an Elastic IP stays with it
    until it is to be removed.
    """
    close_usage(tx, instance.id, at=at)
    if instance.spot_request_id is not None:
        leave(tx, instance, state, reason)
    take_addresses(tx, instance.id, keep_elastic=state == "stopping")
    going = tx.update(
        instance,
        state=state,
        state_reason=reason,
        state_transition_reason=transition_reason,
        generation=instance.generation + 1,
        **changes,
    )
    publish(tx, "guest", instance.id)
    return going


def reboot(tx: Transaction, instance: Instance) -> None:
    """Have the host reboot the instance, which pends or runs."""
    tx.update(instance, reboots=instance.reboots + 1, generation=instance.generation + 1, reachability="initializing")
    publish(tx, "guest", instance.id)


def give_up_start(tx: Transaction, instance: Instance, reason: StateReason, *, failure: str | None = None) -> Instance:
    """A first launch that fails ends terminated, a start that fails ends stopped (EC2: "Instance terminates
    immediately", https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshooting-launch.html)."""
    ran_before = tx.find(UsageEntry, resource_id=instance.id) is not None
    state: Literal["stopping", "shutting-down"] = "stopping" if ran_before else "shutting-down"
    return send_down(tx, instance, state, reason, "Server.InternalError", failure=failure)
