"""CreateSnapshot, DescribeSnapshots, DeleteSnapshot."""

from __future__ import annotations

from freehold.control.reports import apply_report
from freehold.control.specs import snapshots_to_delete, snapshots_to_take
from freehold.control.volume_keys import snapshot_keys
from freehold.host.wire import Report
from freehold.records.snapshots import DoomedSnapshot
from freehold.records.usage import UsageEntry
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import run_one
from tests.ec2.snapshotting import MIB, host_took, snapshot_of
from tests.ec2.test_volumes import volume_of


def shown(caller: Caller, snapshot_id: str) -> dict[str, object]:
    (snapshot,) = caller.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
    return dict(snapshot)


def test_a_snapshot_is_pending_until_its_host_has_it(ready: Caller) -> None:
    volume_id = volume_of(ready, run_one(ready))
    tags = [{"ResourceType": "snapshot", "Tags": [{"Key": "Name", "Value": "nightly"}]}]
    made = ready.create_snapshot(VolumeId=volume_id, Description="before the upgrade", TagSpecifications=tags)
    assert made["State"] == "pending"
    assert (made["VolumeId"], made["VolumeSize"], made["OwnerId"]) == (volume_id, 1, ready.account)
    assert made["Tags"] == [{"Key": "Name", "Value": "nightly"}]
    snapshot_id = made["SnapshotId"]
    assert shown(ready, snapshot_id)["Progress"] == "0%"

    with ready.store.read() as tx:
        (pending,) = snapshots_to_take(tx, "host-1")
        (key,) = snapshot_keys(tx, ready.sealer, [pending])
    assert (pending.id, key.volume_id) == (snapshot_id, volume_id)
    host_took(ready.store, snapshot_id)
    now = shown(ready, snapshot_id)
    assert (now["State"], now["Progress"], now["FullSnapshotSizeInBytes"]) == ("completed", "100%", 20 * MIB)
    assert now["Encrypted"]
    with ready.store.read() as tx:
        assert snapshots_to_take(tx, "host-1") == []
        entry = tx.find(UsageEntry, resource_id=snapshot_id)
        assert entry is not None
        assert (entry.item, entry.quantity, entry.closed_at) == ("snapshot", 10 * MIB, None)


def test_a_snapshot_is_deleted_at_once_and_its_host_told_so(ready: Caller) -> None:
    snapshot_id = snapshot_of(ready, volume_of(ready, run_one(ready)))
    ready.create_tags(Resources=[snapshot_id], Tags=[{"Key": "Name", "Value": "old"}])
    assert ready.delete_snapshot(SnapshotId=snapshot_id) == {}
    with refused("InvalidSnapshot.NotFound"):
        ready.describe_snapshots(SnapshotIds=[snapshot_id])
    assert ready.describe_tags()["Tags"] == []
    with ready.store.write() as tx:
        assert snapshots_to_delete(tx, "host-1") == (snapshot_id,)
        entry = tx.find(UsageEntry, resource_id=snapshot_id)
        assert entry is not None
        assert entry.closed_at is not None
        apply_report(tx, "host-2", Report((), deleted_snapshots=(snapshot_id,)))
        assert tx.count(DoomedSnapshot) == 1
        apply_report(tx, "host-1", Report((), deleted_snapshots=(snapshot_id,)))
        assert tx.count(DoomedSnapshot) == 0


def test_what_a_host_can_not_take_is_an_error(ready: Caller) -> None:
    snapshot_id = ready.create_snapshot(VolumeId=volume_of(ready, run_one(ready)))["SnapshotId"]
    host_took(ready.store, snapshot_id, message="/a/path of the host")
    now = shown(ready, snapshot_id)
    assert (now["State"], now["StateMessage"]) == ("error", "Client.InternalError")
    host_took(ready.store, snapshot_id)  # too late
    assert shown(ready, snapshot_id)["State"] == "error"


def test_a_volume_has_few_snapshots_pending(ready: Caller) -> None:
    volume_id = volume_of(ready, run_one(ready))
    ids = [ready.create_snapshot(VolumeId=volume_id)["SnapshotId"] for _ in range(5)]
    with refused("ConcurrentSnapshotLimitExceeded"):
        ready.create_snapshot(VolumeId=volume_id)
    host_took(ready.store, ids[0])
    ready.create_snapshot(VolumeId=volume_id)


def test_snapshots_of_others_are_not_there(ready: Caller, stranger: Caller) -> None:
    volume_id = volume_of(ready, run_one(ready))
    snapshot_id = snapshot_of(ready, volume_id)
    with refused("InvalidVolume.NotFound"):
        stranger.create_snapshot(VolumeId=volume_id)
    with refused("InvalidSnapshot.NotFound"):
        stranger.delete_snapshot(SnapshotId=snapshot_id)
    with refused("InvalidSnapshotID.Malformed"):
        ready.delete_snapshot(SnapshotId="backup")
    assert stranger.describe_snapshots()["Snapshots"] == []


def test_snapshots_are_found_by_filters_and_in_pages(ready: Caller) -> None:
    volume_id = volume_of(ready, run_one(ready))
    ids = [snapshot_of(ready, volume_id, Description=f"day {day}") for day in range(7)]

    def found(name: str, *values: str) -> list[str]:
        answer = ready.describe_snapshots(Filters=[{"Name": name, "Values": list(values)}])
        return sorted(each["SnapshotId"] for each in answer["Snapshots"])

    assert found("description", "day 3") == [ids[3]]
    assert found("volume-id", volume_id) == sorted(ids)
    assert found("status", "completed") == sorted(ids)
    assert found("progress", "100%") == sorted(ids)
    assert found("volume-size", "1") == sorted(ids)
    assert found("owner-alias", "amazon") == []
    assert ready.describe_snapshots(OwnerIds=["amazon"])["Snapshots"] == []
    first = ready.describe_snapshots(MaxResults=5, OwnerIds=["self"])
    rest = ready.describe_snapshots(MaxResults=5, OwnerIds=["self"], NextToken=first["NextToken"])
    assert [each["SnapshotId"] for each in (*first["Snapshots"], *rest["Snapshots"])] == sorted(ids)
