"""DeregisterImage, and protecting images from it.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/deregister-ami.html and
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-deregistration-protection.html
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from freehold.records.compute import ImageProtection
from freehold.records.feed import take_turn
from freehold.records.images import ImageMapping, remove
from freehold.records.snapshots import delete
from freehold.services.ec2.image_creation import snapshots_of
from freehold.services.ec2.image_errors import ImageProtected
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import IMAGE, named_by
from freehold.services.ec2.snapshot_locks import check_not_locked
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        DeregisterImageRequestTypeDef,
        DisableImageDeregistrationProtectionRequestTypeDef,
        EnableImageDeregistrationProtectionRequestTypeDef,
    )

COOLDOWN = dt.timedelta(hours=24)


@operation(resources=named_by("ImageId", IMAGE))
def deregister_image(call: Call, request: DeregisterImageRequestTypeDef) -> Response:
    """Servers that were launched from it run on. DeleteAssociatedSnapshots takes those of its snapshots along that no
    other image has. Raises OperationNotPermitted for a protected one."""
    refuse_others(request, {"DeleteAssociatedSnapshots", "ImageId"})
    take_turn(call.tx)
    image = IMAGE.own(call, request["ImageId"])
    if image.protection != "disabled" or (image.protected_until is not None and image.protected_until > call.now):
        raise ImageProtected(image.id)
    results: list[dict[str, Any]] = []
    doomed = snapshots_of(call, image.id) if request.get("DeleteAssociatedSnapshots") else []
    for snapshot in doomed:
        check_not_locked(call, snapshot)
    remove(call.tx, image)
    for snapshot in doomed:
        kept = call.tx.find(ImageMapping, snapshot_id=snapshot.id) is not None
        if not kept:
            delete(call.tx, snapshot)
        results.append({"SnapshotId": snapshot.id, "ReturnCode": "skipped" if kept else "success"})
    return {"Return": True, "DeleteSnapshotResults": results}


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
