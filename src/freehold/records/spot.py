"""Spot instances: requests for them, and taking their room back when on-demand instances need it.

::

    open ──► active ──► closed (one-time), open again (persistent): its instance is terminated
     │         │ ▲
     │         ▼ │ start
     │      disabled: its instance is stopped
     └──► cancelled, closed, failed

A spot instance has room of hosts like any other, as long as there is some to spare. Who interrupts it has its room at
once (`reclaim`): it no longer holds any, but runs until `interrupt_at`, so that its guest can read its notice and clean
up; then the controllers stop or terminate it (control/spot.py). Until then both run on the host, and if memory gets
scarce meanwhile the kernel ends the spot instance first (docs/decisions/0041).

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-request-status.html has the states and status codes.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal

import sqlalchemy as sa

from freehold.records.audit import service_event
from freehold.records.capacity import ANY, Hosts, free, heard_of, reserve
from freehold.records.compute import Host, Instance, Interruption, StateReason, hosts, instances
from freehold.records.feed import publish
from freehold.records.ids import AccountId, HostId, InstanceId
from freehold.records.schema import Record, table
from freehold.records.store import Transaction

RequestState = Literal["open", "active", "closed", "cancelled", "failed", "disabled"]

CANCELED_WHILE_RUNNING = "request-canceled-and-instance-running"
_WITH_INSTANCE = {
    CANCELED_WHILE_RUNNING,
    "instance-stopped-by-user",
    "instance-stopped-no-capacity",
    "marked-for-stop",
    "marked-for-termination",
}
"""What a request may be while its instance is there, though it was cancelled."""

TERMINATED = StateReason("Server.SpotInstanceTermination", "Server.SpotInstanceTermination: Spot instance termination")
STOPPED = StateReason("Server.SpotInstanceShutdown", "Server.SpotInstanceShutdown: Spot instance shutdown")


class SpotRequest(Record, frozen=True):
    """`launch` is what RunInstances is to be asked for, times in ISO 8601. `interrupt_at`: its instance has its
    notice. `ended_at`: it will never be open again. `token_id` is what the requests of one call have in common."""

    id: str
    account_id: AccountId
    region: str
    kind: Literal["one-time", "persistent"]
    interruption: Literal["hibernate", "stop", "terminate"]
    max_price: str
    instance_type: str
    launch: dict[str, Any]
    state: RequestState
    status: str
    status_at: dt.datetime
    created_at: dt.datetime
    valid_from: dt.datetime | None
    valid_until: dt.datetime | None
    instance_id: InstanceId | None = None
    zone: str | None = None
    fault: StateReason | None = None
    interrupt_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    token_id: str | None = None

    @property
    def highest_price(self) -> Decimal:
        return Decimal(self.max_price)


spot_requests = table(
    "spot_requests",
    SpotRequest,
    key=("id",),
    indexes=(
        ("account_id", "region", "id"),
        ("account_id", "region", "token_id"),
        ("state",),
        ("interrupt_at",),
        ("ended_at",),
    ),
)


def turn(tx: Transaction, request: SpotRequest, state: RequestState, status: str, /, **changes: Any) -> SpotRequest:
    """The request in another state, or with another status, unless it has it already."""
    if (request.state, request.status) == (state, status) and not changes:
        return request
    ended = tx.now if state in ("closed", "cancelled", "failed") and status not in _WITH_INSTANCE else None
    return tx.update(request, state=state, status=status, status_at=tx.now, ended_at=ended, **changes)


def reclaim(
    tx: Transaction,
    zone: str,
    vcpus: int,
    memory_mib: int,
    notice: dt.timedelta,
    on_host: HostId | None = None,
    among: Hosts = ANY,
) -> HostId | None:
    """Room for an instance that is not a spot instance, where `reserve` found none: of spot instances, on the host
    where the fewest are interrupted; the youngest lose least. They have `notice` to go. None = it fits nowhere."""
    fits = [heard_of(tx), sa.or_(hosts.c.zone.is_(None), hosts.c.zone == zone), *among.conditions(on_host)]
    order = (among.liking(), hosts.c.connected.desc(), hosts.c.id)
    candidates = tx.select(Host, *fits, order_by=order)
    running = _running(tx, [host.id for host in candidates])
    best: list[Instance] | None = None
    for host in candidates:
        victims = _enough(host, running[host.id], vcpus, memory_mib)
        if victims is not None and (best is None or len(victims) < len(best)):
            best = victims
    if not best or best[0].host_id is None:
        return None
    for instance in best:
        _interrupt(tx, instance, notice)
    return reserve(tx, zone, vcpus, memory_mib, best[0].host_id)


def _running(tx: Transaction, host_ids: Sequence[HostId]) -> dict[HostId, list[Instance]]:
    """The spot instances that hold room of these hosts, by host, the youngest first."""
    found: dict[HostId, list[Instance]] = defaultdict(list)
    for instance in tx.select(
        Instance,
        instances.c.host_id.in_(host_ids),
        instances.c.state.in_(("pending", "running")),
        instances.c.spot_request_id.is_not(None),
        instances.c.holds_capacity,
        order_by=(instances.c.launched_at.desc(), instances.c.id),
    ):
        if instance.host_id is not None:
            found[instance.host_id].append(instance)
    return found


def _enough(host: Host, running: Sequence[Instance], vcpus: int, memory_mib: int) -> list[Instance] | None:
    """Which of the host's spot instances make room enough; None: not even all of them."""
    missing_vcpus = vcpus - (host.vcpus - host.vcpus_used)
    missing_mib = memory_mib - (host.memory_mib - host.memory_used_mib)
    victims: list[Instance] = []
    for instance in running:
        if missing_vcpus <= 0 and missing_mib <= 0:
            break
        victims.append(instance)
        missing_vcpus -= instance.vcpus
        missing_mib -= instance.memory_mib
    return victims if missing_vcpus <= 0 and missing_mib <= 0 else None


def _interrupt(tx: Transaction, instance: Instance, notice: dt.timedelta) -> None:
    """Give the instance its notice. What it held is free."""
    request = tx.get(SpotRequest, instance.spot_request_id or "")
    assert request is not None  # it goes after its instance
    assert instance.host_id is not None  # it holds room there
    free(tx, instance.host_id, instance.vcpus, instance.memory_mib)
    action = request.interruption
    # "…but the warning does not come two minutes in advance, because the hibernation process begins immediately."
    at = tx.now if action == "hibernate" else tx.now + notice
    tx.update(instance, holds_capacity=False, interruption=Interruption(action, at, tx.now))
    marked = "marked-for-termination" if action == "terminate" else "marked-for-stop"
    state: RequestState = request.state if request.state == "cancelled" else "active"
    turn(tx, request, state, marked, interrupt_at=at)
    publish(tx, "guest", instance.id)
    publish(tx, "spot", request.id)
    details = {"instance-id": instance.id, "instance-action": action}
    tx.acts.append(warning(tx.now, request, "SpotInstanceInterruptionWarning", details))


def warning(at: dt.datetime, request: SpotRequest, name: str, details: dict[str, Any]) -> str:
    """An event of the trail. EventBridge, which would send it to whoever wants to know, does not exist here yet."""
    return service_event(at, request.account_id, request.region, "ec2", name, details=details)


def leave(
    tx: Transaction, instance: Instance, state: Literal["stopping", "shutting-down"], reason: StateReason
) -> None:
    """The spot instance is on its way down: what becomes of its request."""
    request = tx.get(SpotRequest, instance.spot_request_id or "")
    if request is None or request.instance_id != instance.id:
        return
    by_service = reason in (TERMINATED, STOPPED)
    if by_service:
        tx.acts.append(warning(tx.now, request, "BidEvictedEvent", {"instanceIdSet": [instance.id]}))
    by = "no-capacity" if by_service else "by-user"
    if state == "stopping":
        now: RequestState = "cancelled" if request.state == "cancelled" else "disabled"
        turn(tx, request, now, f"instance-stopped-{by}", interrupt_at=None)
        return
    if not by_service and not reason.code.startswith("Client."):
        turn(tx, request, "closed", "system-error", interrupt_at=None, fault=reason)
        return
    if by_service and instance.state == "stopped":
        by = "by-service"
    expired = request.valid_until is not None and request.valid_until <= tx.now
    if request.state == "cancelled":
        turn(tx, request, "cancelled", f"instance-terminated-{by}", interrupt_at=None)
    elif request.kind == "persistent" and not expired:
        turn(tx, request, "open", f"instance-terminated-{by}", interrupt_at=None, instance_id=None)
        publish(tx, "spot", request.id)
    else:
        turn(tx, request, "closed", f"instance-terminated-{by}", interrupt_at=None)


def cancel(tx: Transaction, request: SpotRequest) -> SpotRequest:
    """It is fulfilled no more; an instance of it runs on."""
    status = {"open": "canceled-before-fulfillment", "active": CANCELED_WHILE_RUNNING}.get(request.state)
    marked = request.interrupt_at is not None
    return turn(tx, request, "cancelled", request.status if marked or status is None else status)


def cancel_all(tx: Transaction, account_id: AccountId) -> None:
    """None of the account's requests is fulfilled any more."""
    for request in tx.select(SpotRequest, account_id=account_id, state=["open", "active", "disabled"]):
        cancel(tx, request)
