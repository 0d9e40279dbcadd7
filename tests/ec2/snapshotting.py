"""The host's side of snapshots, for tests that call operations on a store."""

from __future__ import annotations

from freehold.control.reports import apply_report
from freehold.host.wire import Report, SnapshotReport
from freehold.records.snapshots import Snapshot
from freehold.records.store import Store
from tests.ec2.calls import Caller

MIB = 1 << 20


def host_took(store: Store, *snapshot_ids: str, added: int = 10 * MIB, message: str | None = None) -> None:
    """The host says of snapshots that they are taken; with a `message`, that they can not be."""
    said = tuple(SnapshotReport(each, added, 2 * added, message) for each in snapshot_ids)
    with store.write() as tx:
        snapshot = tx.get(Snapshot, snapshot_ids[0])
        assert snapshot is not None
        apply_report(tx, snapshot.host_id, Report((), snapshots=said))


def snapshot_of(caller: Caller, volume_id: str, **request: object) -> str:
    """The id of a snapshot that is completed."""
    snapshot_id: str = caller.create_snapshot(VolumeId=volume_id, **request)["SnapshotId"]
    host_took(caller.store, snapshot_id)
    return snapshot_id
