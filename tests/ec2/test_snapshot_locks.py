"""LockSnapshot, UnlockSnapshot, DescribeLockedSnapshots."""

from __future__ import annotations

import datetime as dt

import pytest

from freehold.records.snapshots import SnapshotLock
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import run_one
from tests.ec2.snapshotting import host_took, snapshot_of
from tests.ec2.test_volumes import volume_of


@pytest.fixture
def snapshot(ready: Caller) -> str:
    return snapshot_of(ready, volume_of(ready, run_one(ready)))


def states(caller: Caller, *wanted: str) -> list[str]:
    filters = [{"Name": "lock-state", "Values": list(wanted)}] if wanted else []
    return [each["LockState"] for each in caller.describe_locked_snapshots(Filters=filters)["Snapshots"]]


def pass_time(caller: Caller, snapshot_id: str, **by: int) -> None:
    """Make a lock older than it is."""
    past = dt.timedelta(**by)
    with caller.store.write() as tx:
        lock = tx.get(SnapshotLock, snapshot_id)
        assert lock is not None
        assert lock.expires_at is not None
        tx.update(
            lock, expires_at=lock.expires_at - past, cool_off_until=lock.cool_off_until and lock.cool_off_until - past
        )


def test_a_lock_in_governance_mode_is_taken_off_again(ready: Caller, snapshot: str) -> None:
    locked = ready.lock_snapshot(SnapshotId=snapshot, LockMode="governance", LockDuration=30)
    assert (locked["LockState"], locked["LockDuration"]) == ("governance", 30)
    assert locked["LockExpiresOn"] - locked["LockDurationStartTime"] == dt.timedelta(days=30)
    with refused("SnapshotLocked"):
        ready.delete_snapshot(SnapshotId=snapshot)
    ready.lock_snapshot(SnapshotId=snapshot, LockMode="governance", LockDuration=1)
    assert states(ready) == ["governance"]
    ready.unlock_snapshot(SnapshotId=snapshot)
    assert states(ready) == []
    with refused("IncorrectState"):
        ready.unlock_snapshot(SnapshotId=snapshot)
    ready.delete_snapshot(SnapshotId=snapshot)


def test_a_lock_in_compliance_mode_only_grows_when_it_has_cooled_off(ready: Caller, snapshot: str) -> None:
    asked = {"SnapshotId": snapshot, "LockMode": "compliance"}
    ready.lock_snapshot(**asked, LockDuration=10, CoolOffPeriod=2)
    assert states(ready, "compliance-cooloff") == ["compliance-cooloff"]
    ready.lock_snapshot(**asked, LockDuration=5, CoolOffPeriod=2)  # it may be made shorter still
    pass_time(ready, snapshot, hours=3)
    assert states(ready, "compliance") == ["compliance"]
    for refusal in ({"LockDuration": 2}, {"LockDuration": 50, "CoolOffPeriod": 1}):
        with refused("SnapshotLocked"):
            ready.lock_snapshot(**asked, **refusal)
    with refused("SnapshotLocked"):
        ready.lock_snapshot(SnapshotId=snapshot, LockMode="governance", LockDuration=50)
    with refused("SnapshotLocked"):
        ready.unlock_snapshot(SnapshotId=snapshot)
    ready.lock_snapshot(**asked, LockDuration=50)
    pass_time(ready, snapshot, days=51)
    assert states(ready, "expired") == ["expired"]
    ready.delete_snapshot(SnapshotId=snapshot)


def test_the_time_of_a_pending_snapshot_counts_from_its_completion(ready: Caller) -> None:
    snapshot_id = ready.create_snapshot(VolumeId=volume_of(ready, run_one(ready)))["SnapshotId"]
    locked = ready.lock_snapshot(SnapshotId=snapshot_id, LockMode="governance", LockDuration=30)
    assert "LockExpiresOn" not in locked
    with refused("SnapshotLocked"):
        ready.delete_snapshot(SnapshotId=snapshot_id)
    host_took(ready.store, snapshot_id)
    (shown,) = ready.describe_locked_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
    assert shown["LockExpiresOn"] - shown["LockDurationStartTime"] == dt.timedelta(days=30)


@pytest.mark.parametrize(
    ("code", "asked"),
    [
        ("MissingParameter", {"LockMode": "governance"}),
        ("InvalidParameterCombination", {"LockMode": "governance", "LockDuration": 1, "CoolOffPeriod": 1}),
        ("InvalidParameterValue", {"LockMode": "governance", "ExpirationDate": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}),
        ("InvalidParameterValue", {"LockMode": "forever", "LockDuration": 1}),
    ],
)
def test_locks_that_can_not_be(ready: Caller, snapshot: str, code: str, asked: dict[str, object]) -> None:
    with refused(code):
        ready.lock_snapshot(SnapshotId=snapshot, **asked)
