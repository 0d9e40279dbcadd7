"""Deprecating and disabling images, and whether an account may make its images public.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-deprecate.html,
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/disable-an-ami.html and
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/block-public-access-to-amis.html
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from freehold.records.feed import take_turn
from freehold.records.images import ImagePermission, ImagePublicAccess, PublicAccess
from freehold.services.ec2.errors import IncorrectState, InvalidParameterValue
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import IMAGE, named_by
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        DisableImageBlockPublicAccessRequestTypeDef,
        DisableImageDeprecationRequestTypeDef,
        DisableImageRequestTypeDef,
        EnableImageBlockPublicAccessRequestTypeDef,
        EnableImageDeprecationRequestTypeDef,
        EnableImageRequestTypeDef,
        GetImageBlockPublicAccessStateRequestTypeDef,
    )

_YEARS_MAX, _PUBLIC_YEARS_MAX = 10, 2


@operation(resources=named_by("ImageId", IMAGE))
def enable_image_deprecation(call: Call, request: EnableImageDeprecationRequestTypeDef) -> Response:
    """From the time on, to the minute, others no longer find it in lists; who has its id still launches it."""
    refuse_others(request, {"DeprecateAt", "ImageId"})
    take_turn(call.tx)
    image = IMAGE.own(call, request["ImageId"])
    at = request["DeprecateAt"]
    assert isinstance(at, dt.datetime)
    at = at.astimezone(dt.UTC)
    rounded = (at + dt.timedelta(seconds=30)).replace(second=0, microsecond=0)  # "rounds the seconds to the nearest"
    years = _PUBLIC_YEARS_MAX if image.public else _YEARS_MAX
    if at <= call.now:
        raise InvalidParameterValue(f"The date {at:%Y-%m-%dT%H:%M:%SZ} to deprecate the image is in the past.")
    if rounded > call.now + dt.timedelta(days=366 * years):
        raise InvalidParameterValue(f"The date to deprecate the image is more than {years} years from now.")
    call.tx.update(image, deprecated_at=rounded)
    return {"Return": True}


@operation(resources=named_by("ImageId", IMAGE))
def disable_image_deprecation(call: Call, request: DisableImageDeprecationRequestTypeDef) -> Response:
    """Also of one that was deprecated: it is found again."""
    refuse_others(request, {"ImageId"})
    take_turn(call.tx)
    call.tx.update(IMAGE.own(call, request["ImageId"]), deprecated_at=None)
    return {"Return": True}


@operation(resources=named_by("ImageId", IMAGE))
def disable_image(call: Call, request: DisableImageRequestTypeDef) -> Response:
    """Nobody can launch it, and nobody else has permission to from here on, also when it is enabled again."""
    refuse_others(request, {"ImageId"})
    take_turn(call.tx)
    image = IMAGE.own(call, request["ImageId"])
    if image.state not in ("available", "disabled"):
        raise IncorrectState(f"The image '{image.id}' is in the '{image.state}' state.")
    call.tx.delete_where(ImagePermission, image_id=image.id)
    call.tx.update(image, state="disabled", public=False)
    return {"Return": True}


@operation(resources=named_by("ImageId", IMAGE))
def enable_image(call: Call, request: EnableImageRequestTypeDef) -> Response:
    """Of a disabled image. Raises IncorrectState for one that is not made yet, or has failed."""
    refuse_others(request, {"ImageId"})
    take_turn(call.tx)
    image = IMAGE.own(call, request["ImageId"])
    if image.state not in ("available", "disabled"):
        raise IncorrectState(f"The image '{image.id}' is in the '{image.state}' state.")
    call.tx.update(image, state="available")
    return {"Return": True}


@operation()
def enable_image_block_public_access(call: Call, request: EnableImageBlockPublicAccessRequestTypeDef) -> Response:
    """Images that are public stay so."""
    refuse_others(request, {"ImageBlockPublicAccessState"})
    return _choose(call, "block-new-sharing")


@operation()
def disable_image_block_public_access(call: Call, request: DisableImageBlockPublicAccessRequestTypeDef) -> Response:
    """Images may be made public."""
    refuse_others(request, set())
    return _choose(call, "unblocked")


@operation()
def get_image_block_public_access_state(call: Call, request: GetImageBlockPublicAccessStateRequestTypeDef) -> Response:
    """Blocked, until the account chooses otherwise in the region."""
    refuse_others(request, set())
    return {"ImageBlockPublicAccessState": public_access(call), "ManagedBy": "account"}


def public_access(call: Call) -> PublicAccess:
    """What the account has chosen in the region."""
    chosen = call.tx.get(ImagePublicAccess, call.account_id, call.region)
    return chosen.state if chosen is not None else "block-new-sharing"


def _choose(call: Call, state: PublicAccess) -> Response:
    take_turn(call.tx)
    call.tx.put(ImagePublicAccess(call.account_id, call.region, state))
    return {"ImageBlockPublicAccessState": state}
