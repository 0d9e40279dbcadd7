"""DeregisterImage, and protecting images from it.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/deregister-ami.html and
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-deregistration-protection.html
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from freehold.iam.policy import decide_on
from freehold.records.compute import ImageProtection
from freehold.records.feed import take_turn
from freehold.records.images import image_with, remove
from freehold.records.recycle_bin import retention
from freehold.records.snapshots import Snapshot
from freehold.services.ec2.image_creation import snapshots_of
from freehold.services.ec2.image_errors import ImageProtected
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import IMAGE, SNAPSHOT, named_by
from freehold.services.ec2.snapshot_locks import is_locked
from freehold.services.ec2.snapshots import throw_away
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.literals import SnapshotReturnCodesType
    from mypy_boto3_ec2.type_defs import (
        DeregisterImageRequestTypeDef,
        DisableImageDeregistrationProtectionRequestTypeDef,
        EnableImageDeregistrationProtectionRequestTypeDef,
    )

COOLDOWN = dt.timedelta(hours=24)


@operation(resources=named_by("ImageId", IMAGE))
def deregister_image(call: Call, request: DeregisterImageRequestTypeDef) -> Response:
    """Servers that were launched from it run on. Where a retention rule says so, it goes to the recycle bin.
    DeleteAssociatedSnapshots takes those of its snapshots along that no other image has, that are not locked and that
    the caller may delete. Raises OperationNotPermitted for a protected one."""
    refuse_others(request, {"DeleteAssociatedSnapshots", "ImageId"})
    take_turn(call.tx)
    image = IMAGE.own(call, request["ImageId"])
    if image.protection != "disabled" or (image.protected_until is not None and image.protected_until > call.now):
        raise ImageProtected(image.id)
    doomed = snapshots_of(call, image.id) if request.get("DeleteAssociatedSnapshots") else []
    kept = retention(call.tx, call.account_id, call.region, "EC2_IMAGE", image.id)
    if kept is not None and image.state in ("available", "disabled"):
        call.tx.update(image, recycled_at=call.now, recycled_until=call.now + kept)
    else:
        remove(call.tx, image)
    results = [{"SnapshotId": snapshot.id, "ReturnCode": _thrown_away(call, snapshot)} for snapshot in doomed]
    return {"Return": True, "DeleteSnapshotResults": results}


def _thrown_away(call: Call, snapshot: Snapshot) -> SnapshotReturnCodesType:
    """Delete a snapshot along with its image, if it may be."""
    root = call.principal.kind == "root"
    if not root and not decide_on(call, "ec2:DeleteSnapshot", [SNAPSHOT.needed(call, snapshot.id)], {}).allowed:
        return "missing-permissions"
    if image_with(call.tx, snapshot.id) is not None:
        return "skipped"
    if is_locked(call, snapshot):
        return "client-error"
    throw_away(call, snapshot)
    return "success"


@operation(resources=named_by("ImageId", IMAGE))
def enable_image_deregistration_protection(
    call: Call, request: EnableImageDeregistrationProtectionRequestTypeDef
) -> Response:
    """WithCooldown: it stays for 24 hours when it is disabled."""
    refuse_others(request, {"ImageId", "WithCooldown"})
    state: ImageProtection = "enabled-with-cooldown" if request.get("WithCooldown") else "enabled-without-cooldown"
    take_turn(call.tx)
    call.tx.update(IMAGE.own(call, request["ImageId"]), protection=state, protected_until=None)
    return {"Return": state}


@operation(resources=named_by("ImageId", IMAGE))
def disable_image_deregistration_protection(
    call: Call, request: DisableImageDeregistrationProtectionRequestTypeDef
) -> Response:
    """At once, or when the cooldown is over that it was enabled with."""
    refuse_others(request, {"ImageId"})
    take_turn(call.tx)
    image = IMAGE.own(call, request["ImageId"])
    until = call.now + COOLDOWN if image.protection == "enabled-with-cooldown" else image.protected_until
    call.tx.update(image, protection="disabled", protected_until=until)
    return {"Return": "disabled"}
