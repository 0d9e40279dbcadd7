"""Snapshots and images that were deleted where a retention rule keeps them (services/rbin):
List{Snapshots,Images}InRecycleBin, Restore{Snapshot,Image}FromRecycleBin.

https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin-working-with-snaps.html and
https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin-working-with-amis.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from freehold.records.feed import take_turn
from freehold.records.images import ImageMapping
from freehold.records.schema import TABLES, Record
from freehold.services.ec2.errors import InvalidParameterValue
from freehold.services.ec2.image_creation import check_free
from freehold.services.ec2.paging import Page, page
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import IMAGE, SNAPSHOT, Kind, named_by
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        ListImagesInRecycleBinRequestTypeDef,
        ListSnapshotsInRecycleBinRequestTypeDef,
        RestoreImageFromRecycleBinRequestTypeDef,
        RestoreSnapshotFromRecycleBinRequestTypeDef,
    )

R = TypeVar("R", bound=Record)

_IMAGE_IDS_MAX = 20


@operation()
def list_snapshots_in_recycle_bin(call: Call, request: ListSnapshotsInRecycleBinRequestTypeDef) -> Response:
    """Those of the account. Ids that are not in the bin are left out."""
    refuse_others(request, {"MaxResults", "NextToken", "SnapshotIds"})
    found = _listed(call, SNAPSHOT, request, request.get("SnapshotIds") or (), account_id=call.account_id)
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
    snapshot = _load(call, SNAPSHOT, request["SnapshotId"], account_id=call.account_id)
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


@operation()
def list_images_in_recycle_bin(call: Call, request: ListImagesInRecycleBinRequestTypeDef) -> Response:
    """Those of the account. Ids that are not in the bin are left out."""
    refuse_others(request, {"ImageIds", "MaxResults", "NextToken"})
    ids = request.get("ImageIds") or ()
    if len(ids) > _IMAGE_IDS_MAX:
        raise InvalidParameterValue(f"At most {_IMAGE_IDS_MAX} ids may be given in a request.")
    found = _listed(call, IMAGE, request, ids, owner_id=call.account_id)
    shown = [
        {
            "ImageId": each.id,
            "Name": each.name,
            "Description": each.description,
            "RecycleBinEnterTime": each.recycled_at,
            "RecycleBinExitTime": each.recycled_until,
        }
        for each in found.rows
    ]
    return {"Images": shown, **found.token}


@operation(resources=named_by("ImageId", IMAGE))
def restore_image_from_recycle_bin(call: Call, request: RestoreImageFromRecycleBinRequestTypeDef) -> Response:
    """As it was, shared with whom it was; its snapshots must be there. Raises InvalidAMIID.NotFound for one that is not
    in the bin, InvalidSnapshot.NotFound, InvalidAMIName.Duplicate if another has its name by now."""
    refuse_others(request, {"ImageId"})
    image = _load(call, IMAGE, request["ImageId"], owner_id=call.account_id)
    needed = [each.snapshot_id for each in call.tx.select(ImageMapping, image_id=image.id) if each.snapshot_id]
    SNAPSHOT.load_all(call, needed)
    check_free(call, image.name)
    call.tx.update(image, recycled_at=None, recycled_until=None)
    return {"Return": True}


def _listed(call: Call, kind: Kind[R], request: Mapping[str, Any], ids: Sequence[str], **owner: str) -> Page[R]:
    """What the owner has in the bin; of these `ids` if there are any."""
    for each in ids:
        kind.check_form(each)
    in_bin = TABLES[kind.record].c.recycled_at.is_not(None)
    equal: dict[str, Any] = {**owner, "region": call.region, **({"id": list(ids)} if ids else {})}
    return page(call, kind.record, request, in_bin, **equal)


def _load(call: Call, kind: Kind[R], resource_id: str, **owner: str) -> R:
    """One that the owner has in the bin, and may be taken out. Raises the kind's Malformed or NotFound."""
    kind.check_form(resource_id)
    take_turn(call.tx)
    columns = TABLES[kind.record].c
    there = (columns.id == resource_id, columns.recycled_at.is_not(None))
    found = call.tx.find(kind.record, *there, **owner, region=call.region)
    if found is None:
        raise kind.not_found(resource_id)
    return found
