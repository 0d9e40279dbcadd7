"""Watermarks of images, which say what an image was made from: {Attach,Detach}ImageWatermark.

Copies of an image have its watermarks, and so have images that are made of its servers while it is there; those can not
tell by themselves whether they are what they say. https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-watermark.html
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from freehold.records.feed import take_turn
from freehold.records.images import ImageWatermark
from freehold.services.ec2.errors import InvalidParameterValue
from freehold.services.ec2.image_errors import ImageIsPublic
from freehold.services.ec2.launch_template_errors import ResourceLimitExceeded
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import IMAGE, named_by
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import AttachImageWatermarkRequestTypeDef, DetachImageWatermarkRequestTypeDef

WATERMARKS_MAX = 5
_NAME = re.compile(r"[A-Za-z0-9()\[\] ./'@_-]{3,128}")


@operation(resources=named_by("ImageId", IMAGE))
def attach_image_watermark(call: Call, request: AttachImageWatermarkRequestTypeDef) -> Response:
    """To an image of the account that is not public; one that has it already keeps it as it is. Raises AuthFailure for
    another's, OperationNotPermitted for a public one, ResourceLimitExceeded."""
    refuse_others(request, {"ImageId", "WatermarkName"})
    name = request["WatermarkName"]
    if not _NAME.fullmatch(name):
        raise InvalidParameterValue(
            "Value for parameter WatermarkName is invalid: 3 to 128 letters, digits, spaces and any of ()[]./-'@_."
        )
    take_turn(call.tx)
    image = IMAGE.own(call, request["ImageId"])
    if image.public:
        raise ImageIsPublic(image.id)
    key = f"{call.account_id}:{name}"
    held = call.tx.select(ImageWatermark, image_id=image.id)
    if key not in {each.key for each in held}:
        if len(held) >= WATERMARKS_MAX:
            raise ResourceLimitExceeded(f"An image may have at most {WATERMARKS_MAX} watermarks.")
        attached_to = (image.id, call.region, image.created_at)
        call.tx.insert(ImageWatermark(image.id, key, image.owner_id, *attached_to, call.now))
    return {"WatermarkKey": key}


@operation(resources=named_by("ImageId", IMAGE))
def detach_image_watermark(call: Call, request: DetachImageWatermarkRequestTypeDef) -> Response:
    """What was made of the image keeps it. One that it does not have is no error. Raises AuthFailure for another's."""
    refuse_others(request, {"ImageId", "WatermarkKey"})
    take_turn(call.tx)
    image = IMAGE.own(call, request["ImageId"])
    call.tx.delete_where(ImageWatermark, image_id=image.id, key=request["WatermarkKey"])
    return {"Return": True}
