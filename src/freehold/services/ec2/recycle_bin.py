"""Snapshots and images that were deleted where a retention rule keeps them (services/rbin):
List{Snapshots,Images}InRecycleBin, Restore{Snapshot,Image}FromRecycleBin.

https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin-working-with-snaps.html and
https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin-working-with-amis.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from freehold.records.compute import Image, images
from freehold.records.feed import take_turn
from freehold.records.images import ImageMapping
from freehold.records.snapshots import Snapshot, snapshots
from freehold.services.ec2.errors import InvalidParameterValue
from freehold.services.ec2.image_creation import check_free
from freehold.services.ec2.paging import page
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import IMAGE, SNAPSHOT, named_by
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        ListImagesInRecycleBinRequestTypeDef,
        ListSnapshotsInRecycleBinRequestTypeDef,
        RestoreImageFromRecycleBinRequestTypeDef,
        RestoreSnapshotFromRecycleBinRequestTypeDef,
    )

_IMAGE_IDS_MAX = 20


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


@operation()
def list_images_in_recycle_bin(call: Call, request: ListImagesInRecycleBinRequestTypeDef) -> Response:
    """Those of the account. Ids that are not in the bin are left out."""
    refuse_others(request, {"ImageIds", "MaxResults", "NextToken"})
    equal: dict[str, Any] = {"owner_id": call.account_id, "region": call.region}
    if ids := request.get("ImageIds"):
        if len(ids) > _IMAGE_IDS_MAX:
            raise InvalidParameterValue(f"At most {_IMAGE_IDS_MAX} ids may be given in a request.")
        for each in ids:
            IMAGE.check_form(each)
        equal["id"] = list(ids)
    found = page(call, Image, request, images.c.recycled_at.is_not(None), **equal)
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
    IMAGE.check_form(request["ImageId"])
    take_turn(call.tx)
    of_account = {"owner_id": call.account_id, "region": call.region}
    there = (images.c.id == request["ImageId"], images.c.recycled_at.is_not(None))
    image = call.tx.find(Image, *there, **of_account)
    if image is None:
        raise IMAGE.not_found(request["ImageId"])
    needed = [each.snapshot_id for each in call.tx.select(ImageMapping, image_id=image.id) if each.snapshot_id]
    SNAPSHOT.load_all(call, needed)
    check_free(call, image.name)
    call.tx.update(image, recycled_at=None, recycled_until=None)
    return {"Return": True}
