"""Allowed AMIs: {Get,Enable,Disable,ReplaceImageCriteriaIn}AllowedImagesSettings.

    disabled ◄──► audit-mode ◄──► enabled        the criteria stay the same

What they mean is in services/ec2/image_criteria.py.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-allowed-amis.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from freehold.records.feed import take_turn
from freehold.records.images import AllowedImages, ImageCriterion, WatermarkFilter
from freehold.services.ec2.errors import InvalidParameterValue
from freehold.services.ec2.image_criteria import settings
from freehold.services.ec2.parameters import refuse_others
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        DisableAllowedImagesSettingsRequestTypeDef,
        EnableAllowedImagesSettingsRequestTypeDef,
        GetAllowedImagesSettingsRequestTypeDef,
        ImageCriterionRequestTypeDef,
        ImageWatermarkFilterRequestTypeDef,
        ReplaceImageCriteriaInAllowedImagesSettingsRequestTypeDef,
    )

_CRITERIA_MAX, _PROVIDERS_MAX, _NAMES_MAX, _CODES_MAX, _WATERMARKS_MAX = 10, 200, 50, 50, 50
_PROVIDER = re.compile(r"amazon|aws-marketplace|aws-backup-vault|none|[0-9]{12}")
_NAME = re.compile(r"(?=[^?]*$|.{3})[A-Za-z0-9 ()\[\]./'@_*?-]{1,128}")
_WATERMARK = re.compile(r"[A-Za-z0-9 ()\[\]./'@_:*?-]{1,141}")
_REGION = re.compile(r"[a-z0-9*?-]{1,64}")
_CODE = re.compile(r"[A-Za-z0-9]{1,25}")
_HONOURED = {
    "ImageCriteria.CreationDateCondition",
    "ImageCriteria.DeprecationTimeCondition",
    "ImageCriteria.ImageNames",
    "ImageCriteria.ImageProviders",
    "ImageCriteria.ImageWatermarks",
    "ImageCriteria.MarketplaceProductCodes",
}


@operation()
def get_allowed_images_settings(call: Call, request: GetAllowedImagesSettingsRequestTypeDef) -> Response:
    """Disabled and without criteria, until the account chooses otherwise in the region."""
    refuse_others(request, set())
    chosen = settings(call)
    criteria = [_shown(each) for each in chosen.criteria]
    return {"State": chosen.state, "ImageCriteria": criteria, "ManagedBy": "account"}


@operation()
def enable_allowed_images_settings(call: Call, request: EnableAllowedImagesSettingsRequestTypeDef) -> Response:
    """``enabled``: images that meet no criterion are not found and launch nothing; servers that were launched run on.
    ``audit-mode``: DescribeImages says which ones those would be."""
    refuse_others(request, {"AllowedImagesSettingsState"})
    state = request["AllowedImagesSettingsState"]
    if state not in ("enabled", "audit-mode"):
        raise InvalidParameterValue(
            f"Value ({state}) for parameter AllowedImagesSettingsState is invalid. Valid values: enabled, audit-mode."
        )
    return {"AllowedImagesSettingsState": _choose(call, state=state).state}


@operation()
def disable_allowed_images_settings(call: Call, request: DisableAllowedImagesSettingsRequestTypeDef) -> Response:
    """The criteria are kept for when it is enabled again."""
    refuse_others(request, set())
    return {"AllowedImagesSettingsState": _choose(call, state="disabled").state}


@operation()
def replace_image_criteria_in_allowed_images_settings(
    call: Call, request: ReplaceImageCriteriaInAllowedImagesSettingsRequestTypeDef
) -> Response:
    """An image is allowed if all holds that one of the criteria says. Raises InvalidParameterValue."""
    refuse_others(request, _HONOURED)
    given = request.get("ImageCriteria") or ()
    if len(given) > _CRITERIA_MAX:
        raise InvalidParameterValue(f"At most {_CRITERIA_MAX} image criteria may be given.")
    _choose(call, criteria=tuple(_criterion(each) for each in given))
    return {"ReturnValue": True}


def _choose(call: Call, **fields: Any) -> AllowedImages:
    take_turn(call.tx)
    chosen = replace(settings(call), **fields)
    call.tx.put(chosen)
    return chosen


def _criterion(given: ImageCriterionRequestTypeDef) -> ImageCriterion:
    providers = _texts("ImageProviders", given.get("ImageProviders"), _PROVIDER, _PROVIDERS_MAX)
    if "none" in providers and len(providers) > 1:
        raise InvalidParameterValue("The image provider 'none' can not be given with others.")
    criterion = ImageCriterion(
        providers=providers,
        names=_texts("ImageNames", given.get("ImageNames"), _NAME, _NAMES_MAX),
        product_codes=_texts("MarketplaceProductCodes", given.get("MarketplaceProductCodes"), _CODE, _CODES_MAX),
        days_since_created=given.get("CreationDateCondition", {}).get("MaximumDaysSinceCreated"),
        days_since_deprecated=given.get("DeprecationTimeCondition", {}).get("MaximumDaysSinceDeprecated"),
        watermarks=_watermarks(given.get("ImageWatermarks") or ()),
    )
    if criterion == ImageCriterion():
        raise InvalidParameterValue("An image criterion must say something of the images that it allows.")
    return criterion


def _watermarks(given: Sequence[ImageWatermarkFilterRequestTypeDef]) -> tuple[WatermarkFilter, ...]:
    if len(given) > _WATERMARKS_MAX:
        raise InvalidParameterValue(f"At most {_WATERMARKS_MAX} values may be given for ImageWatermarks.")
    found = []
    for each in given:
        for member, form in (("WatermarkKey", _WATERMARK), ("SourceImageRegion", _REGION)):
            if not form.fullmatch(str(each.get(member, "*"))):
                raise InvalidParameterValue(f"Value ({each.get(member)}) for parameter {member} is invalid.")
        wanted = WatermarkFilter(
            key=each.get("WatermarkKey"),
            region=each.get("SourceImageRegion"),
            days_since_source_created=_days(each, "MaximumDaysSinceSourceImageCreated"),
            days_since_created=_days(each, "MaximumDaysSinceWatermarkCreated"),
        )
        if wanted == WatermarkFilter():
            raise InvalidParameterValue("A filter of ImageWatermarks must say something of the watermarks.")
        found.append(wanted)
    return tuple(found)


def _days(given: Mapping[str, Any], member: str) -> int | None:
    days: int | None = given.get(member)
    if days is not None and days < 0:
        raise InvalidParameterValue(f"Value ({days}) for parameter {member} is invalid: 0 or more.")
    return days


def _texts(name: str, given: Sequence[str] | None, form: re.Pattern[str], most: int) -> tuple[str, ...]:
    texts = tuple(dict.fromkeys(given or ()))
    if len(texts) > most:
        raise InvalidParameterValue(f"At most {most} values may be given for {name}.")
    if wrong := [text for text in texts if not form.fullmatch(text)]:
        raise InvalidParameterValue(f"Value ({wrong[0]}) for parameter {name} is invalid.")
    return texts


def _shown(criterion: ImageCriterion) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "ImageProviders": list(criterion.providers),
        "ImageNames": list(criterion.names),
        "MarketplaceProductCodes": list(criterion.product_codes),
    }
    answer = {name: texts for name, texts in answer.items() if texts}
    if criterion.days_since_created is not None:
        answer["CreationDateCondition"] = {"MaximumDaysSinceCreated": criterion.days_since_created}
    if criterion.days_since_deprecated is not None:
        answer["DeprecationTimeCondition"] = {"MaximumDaysSinceDeprecated": criterion.days_since_deprecated}
    if criterion.watermarks:
        answer["ImageWatermarks"] = [_shown_watermark(each) for each in criterion.watermarks]
    return answer


def _shown_watermark(wanted: WatermarkFilter) -> dict[str, Any]:
    answer = {
        "WatermarkKey": wanted.key,
        "SourceImageRegion": wanted.region,
        "MaximumDaysSinceSourceImageCreated": wanted.days_since_source_created,
        "MaximumDaysSinceWatermarkCreated": wanted.days_since_created,
    }
    return {name: value for name, value in answer.items() if value is not None}
