"""Snapshots that were deleted where a retention rule keeps them (services/rbin): ListSnapshotsInRecycleBin,
RestoreSnapshotFromRecycleBin.

https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin-working-with-snaps.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from freehold.records.feed import take_turn
from freehold.records.snapshots import Snapshot, snapshots
from freehold.services.ec2.paging import page
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import SNAPSHOT, named_by
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        ListSnapshotsInRecycleBinRequestTypeDef,
        RestoreSnapshotFromRecycleBinRequestTypeDef,
    )


@operation()
def list_snapshots_in_recycle_bin(call: Call, request: ListSnapshotsInRecycleBinRequestTypeDef) -> Response:
    """Those of the account. Ids that are not in the bin are left out."""
    refuse_others(request, {"MaxResults", "NextToken", "SnapshotIds"})
    equal: dict[str, Any] = {"account_id": call.account_id, "region": call.region}
    if ids := request.get("SnapshotIds"):
        for each in ids:
            SNAPSHOT.check_form(each)
        equal["id"] = list(ids)
    found = page(call, Snapshot, request, snapshots.c.recycled_at.is_not(None), **equal)
    shown = [
        {
            "SnapshotId": each.id,
            "RecycleBinEnterTime": each.recycled_at,
            "RecycleBinExitTime": each.recycled_until,
            "Description": each.description,
            "VolumeId": each.volume_id,
        }
        for each in found.rows
    ]
    return {"Snapshots": shown, **found.token}


@operation(resources=named_by("SnapshotId", SNAPSHOT))
def restore_snapshot_from_recycle_bin(call: Call, request: RestoreSnapshotFromRecycleBinRequestTypeDef) -> Response:
    """As it was. Raises InvalidSnapshot.NotFound for one that is not in the bin."""
    refuse_others(request, {"SnapshotId"})
    SNAPSHOT.check_form(request["SnapshotId"])
    take_turn(call.tx)
    of_account = {"account_id": call.account_id, "region": call.region}
    there = (snapshots.c.id == request["SnapshotId"], snapshots.c.recycled_at.is_not(None))
    snapshot = call.tx.find(Snapshot, *there, **of_account)
    if snapshot is None:
        raise SNAPSHOT.not_found(request["SnapshotId"])
    call.tx.update(snapshot, recycled_at=None, recycled_until=None)
    return {
        "SnapshotId": snapshot.id,
        "Description": snapshot.description,
        "Encrypted": snapshot.encrypted,
        "OwnerId": snapshot.account_id,
        "Progress": f"{snapshot.progress}%",
        "StartTime": snapshot.started_at,
        "State": snapshot.state,
        "VolumeId": snapshot.volume_id,
        "VolumeSize": snapshot.size_gib,
    }
