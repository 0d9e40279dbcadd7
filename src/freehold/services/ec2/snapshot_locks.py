"""LockSnapshot, UnlockSnapshot, DescribeLockedSnapshots.

    governance             until it expires, or whoever may unlocks it
    compliance-cooloff     as governance, for the hours of its cooling-off period
    compliance             until it expires: nobody may make it shorter
    expired                the snapshot may be deleted; the lock is shown until it is unlocked, or locked anew

https://docs.aws.amazon.com/ebs/latest/userguide/snapshot-lock-concepts.html
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from freehold.records.feed import take_turn
from freehold.records.snapshots import Snapshot, SnapshotLock, snapshot_locks
from freehold.services.ec2.errors import (
    IncorrectState,
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
)
from freehold.services.ec2.filters import Condition, conditions, text
from freehold.services.ec2.paging import page
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import SNAPSHOT, named_by
from freehold.services.ec2.snapshot_errors import SnapshotLocked
from freehold.services.operation import Call, Needed, Response, Value, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        DescribeLockedSnapshotsRequestTypeDef,
        LockSnapshotRequestTypeDef,
        UnlockSnapshotRequestTypeDef,
    )

State = Literal["compliance", "governance", "compliance-cooloff", "expired"]

_DAYS_MAX = 36500
_COOL_OFF_HOURS_MAX = 72


def state(lock: SnapshotLock, now: dt.datetime) -> State:
    if lock.expires_at is not None and lock.expires_at <= now:
        return "expired"
    if lock.cool_off_until is not None and now < lock.cool_off_until:
        return "compliance-cooloff"
    return lock.mode


def check_not_locked(call: Call, snapshot: Snapshot) -> None:
    """Raises SnapshotLocked."""
    if is_locked(call, snapshot):
        raise SnapshotLocked(snapshot.id)


def is_locked(call: Call, snapshot: Snapshot) -> bool:
    lock = call.tx.get(SnapshotLock, snapshot.id)
    return lock is not None and state(lock, call.now) != "expired"


def _needed(call: Call, request: LockSnapshotRequestTypeDef) -> list[Needed]:
    asked: dict[str, Value] = {
        "ec2:SnapshotLockDuration": str(request["LockDuration"]) if "LockDuration" in request else None,
        "ec2:SnapshotCoolOffPeriod": str(request["CoolOffPeriod"]) if "CoolOffPeriod" in request else None,
    }
    return [SNAPSHOT.needed(call, request["SnapshotId"], keys=asked)]


@operation(resources=_needed)
def lock_snapshot(call: Call, request: LockSnapshotRequestTypeDef) -> Response:
    """Lock it, or change how it is locked. Raises SnapshotLocked for what a lock in compliance mode does not allow."""
    refuse_others(request, {"CoolOffPeriod", "ExpirationDate", "LockDuration", "LockMode", "SnapshotId"})
    _check(request, call.now)
    take_turn(call.tx)
    snapshot = SNAPSHOT.load(call, request["SnapshotId"])
    if snapshot.state == "error":
        raise IncorrectState(f"The snapshot '{snapshot.id}' is in the 'error' state.")
    before = call.tx.get(SnapshotLock, snapshot.id)
    lock = _lock(call, request, snapshot, before)
    if before is not None and state(before, call.now) == "compliance":
        later = before.expires_at is None or lock.expires_at is None or lock.expires_at >= before.expires_at
        if lock.mode != "compliance" or "CoolOffPeriod" in request or not later:
            raise SnapshotLocked(snapshot.id)
    call.tx.put(lock)
    return _shown(lock, call.now)


@operation(resources=named_by("SnapshotId", SNAPSHOT))
def unlock_snapshot(call: Call, request: UnlockSnapshotRequestTypeDef) -> Response:
    """Raises SnapshotLocked for one that is locked in compliance mode and whose cooling-off period is over."""
    refuse_others(request, {"SnapshotId"})
    take_turn(call.tx)
    snapshot = SNAPSHOT.load(call, request["SnapshotId"])
    lock = call.tx.get(SnapshotLock, snapshot.id)
    if lock is None:
        raise IncorrectState(f"The snapshot '{snapshot.id}' is not locked.")
    if state(lock, call.now) == "compliance":
        raise SnapshotLocked(snapshot.id)
    call.tx.delete(lock)
    return {"SnapshotId": snapshot.id}


@operation()
def describe_locked_snapshots(call: Call, request: DescribeLockedSnapshotsRequestTypeDef) -> Response:
    """Those that are locked, and those whose lock has expired."""
    refuse_others(request, {"Filters", "MaxResults", "NextToken", "SnapshotIds"})
    where = conditions(call, request.get("Filters", ()), _FILTERS)
    equal: dict[str, Any] = {"account_id": call.account_id, "region": call.region}
    if ids := request.get("SnapshotIds"):
        SNAPSHOT.load_all(call, ids)
        equal["snapshot_id"] = list(ids)
    found = page(call, SnapshotLock, request, *where, key=("snapshot_id",), **equal)
    shown = [{"OwnerId": lock.account_id, **_shown(lock, call.now)} for lock in found.rows]
    return {"Snapshots": shown, **found.token}


def _state_is(call: Call, values: Sequence[str]) -> sa.ColumnElement[bool]:
    columns, now = snapshot_locks.c, sa.literal(call.now, type_=snapshot_locks.c.created_at.type)
    is_now = sa.case(
        (columns.expires_at <= now, "expired"),
        (columns.cool_off_until > now, "compliance-cooloff"),
        else_=columns.mode,
    )
    return text(is_now)(call, values)


_FILTERS: dict[str, Condition] = {"lock-state": _state_is}


def _check(request: Mapping[str, Any], now: dt.datetime) -> None:
    if request["LockMode"] not in ("compliance", "governance"):
        raise InvalidParameterValue(f"Invalid value '{request['LockMode']}' for LockMode.")
    if "CoolOffPeriod" in request:
        if request["LockMode"] != "compliance":
            raise InvalidParameterCombination("CoolOffPeriod can be specified only with the lock mode compliance.")
        if not 1 <= request["CoolOffPeriod"] <= _COOL_OFF_HOURS_MAX:
            raise InvalidParameterValue(f"CoolOffPeriod must be between 1 and {_COOL_OFF_HOURS_MAX} hours.")
    if "LockDuration" in request and "ExpirationDate" in request:
        raise InvalidParameterCombination("Specify either LockDuration or ExpirationDate, but not both.")
    if "LockDuration" in request:
        if not 1 <= request["LockDuration"] <= _DAYS_MAX:
            raise InvalidParameterValue(f"LockDuration must be between 1 and {_DAYS_MAX} days.")
    elif "ExpirationDate" not in request:
        raise MissingParameter("LockDuration")
    elif not now < request["ExpirationDate"] <= now + dt.timedelta(days=_DAYS_MAX):
        raise InvalidParameterValue(f"ExpirationDate must lie in the future, at most {_DAYS_MAX} days ahead.")


def _lock(call: Call, request: Mapping[str, Any], snapshot: Snapshot, before: SnapshotLock | None) -> SnapshotLock:
    until: dt.datetime | None = request.get("ExpirationDate")
    starts = call.now if snapshot.state == "completed" else None
    if until is not None:
        days = -(-(until - call.now) // dt.timedelta(days=1))
    else:
        days = request["LockDuration"]
        until = starts + dt.timedelta(days=days) if starts else None
    hours: int | None = request.get("CoolOffPeriod")
    return SnapshotLock(
        snapshot_id=snapshot.id,
        account_id=snapshot.account_id,
        region=snapshot.region,
        mode=request["LockMode"],
        created_at=before.created_at if before else call.now,
        duration_days=days,
        cool_off_hours=hours,
        cool_off_until=call.now + dt.timedelta(hours=hours) if hours else None,
        starts_at=starts,
        expires_at=until,
    )


def _shown(lock: SnapshotLock, now: dt.datetime) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "SnapshotId": lock.snapshot_id,
        "LockState": state(lock, now),
        "LockDuration": lock.duration_days,
        "CoolOffPeriod": lock.cool_off_hours,
        "CoolOffPeriodExpiresOn": lock.cool_off_until,
        "LockCreatedOn": lock.created_at,
        "LockDurationStartTime": lock.starts_at,
        "LockExpiresOn": lock.expires_at,
    }
    return {name: value for name, value in shown.items() if value is not None}
