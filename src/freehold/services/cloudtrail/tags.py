"""Tags of trails: AddTags, RemoveTags, ListTags.

https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_AddTags.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from freehold.records.feed import take_turn
from freehold.records.tags import Tag, put_tags, tags_of
from freehold.records.trails import Trail
from freehold.services.cloudtrail.errors import (
    ArnInvalid,
    InvalidTagParameter,
    InvalidToken,
    ResourceNotFound,
    TagsLimitExceeded,
    TrailNotFound,
)
from freehold.services.cloudtrail.trail_names import find, needed
from freehold.services.operation import Call, Needed, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_cloudtrail.type_defs import (
        AddTagsRequestTypeDef,
        ListTagsRequestTypeDef,
        RemoveTagsRequestTypeDef,
    )

TRAIL = "trail"
"""The kind in records/tags, by ARN. Their region is "", so that they are not among EC2's."""

_TAGS_MAX = 50
_LISTED_MAX = 20  # "Array Members: … maximum number of 20 items": ListTags' ResourceIdList


def _tagged(call: Call, request: Mapping[str, Any]) -> Iterable[Needed]:
    given = {tag["Key"]: tag.get("Value", "") for tag in request["TagsList"]}
    return [replace(needed(call, request["ResourceId"]), request_tags=given)]


@operation(resources=_tagged)
def add_tags(call: Call, request: AddTagsRequestTypeDef) -> Response:
    """Tags with a key that is there get the new value. Raises ResourceNotFoundException, TagsLimitExceededException."""
    refuse_others(request, {"ResourceId", "TagsList"})
    given = checked_tags(request["TagsList"])
    take_turn(call.tx)
    trail = _trail(call, request["ResourceId"])
    present = {tag.key for tag in tags_of(call.tx, [trail.arn])[trail.arn]}
    if len(present | given.keys()) > _TAGS_MAX:
        raise TagsLimitExceeded(_TAGS_MAX)
    put_tags(call.tx, call.account_id, "", TRAIL, trail.arn, given)
    return {}


@operation(resources=_tagged)
def remove_tags(call: Call, request: RemoveTagsRequestTypeDef) -> Response:
    """By key, and by value where one is given; what is not there is passed over. Raises ResourceNotFoundException."""
    refuse_others(request, {"ResourceId", "TagsList"})
    take_turn(call.tx)
    trail = _trail(call, request["ResourceId"])
    for tag in request["TagsList"]:
        value = {"value": tag["Value"]} if "Value" in tag else {}
        call.tx.delete_where(Tag, resource_id=trail.arn, key=tag["Key"], **value)
    return {}


@operation(resources=lambda call, request: [needed(call, arn) for arn in request["ResourceIdList"]])
def list_tags(call: Call, request: ListTagsRequestTypeDef) -> Response:
    """All of each trail, in one page. Raises ResourceNotFoundException, InvalidTokenException: none was given."""
    refuse_others(request, {"ResourceIdList", "NextToken"})
    if request.get("NextToken"):
        raise InvalidToken()
    arns = [_trail(call, arn).arn for arn in request["ResourceIdList"][:_LISTED_MAX]]
    tags = tags_of(call.tx, arns)
    return {"ResourceTagList": [{"ResourceId": arn, "TagsList": _tag_list(tags[arn])} for arn in arns]}


def _trail(call: Call, arn: str) -> Trail:
    if not arn.startswith("arn:"):
        raise ArnInvalid(arn)
    try:
        return find(call, arn)
    except TrailNotFound:
        raise ResourceNotFound(arn) from None


def _tag_list(tags: Iterable[Tag]) -> list[dict[str, Any]]:
    return [{"Key": tag.key, **({"Value": tag.value} if tag.value else {})} for tag in tags]


def checked_tags(given: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The tags of a request by key. Raises InvalidTagParameterException, TagsLimitExceededException."""
    found: dict[str, str] = {}
    for tag in given:
        if tag["Key"].lower().startswith("aws:"):
            raise InvalidTagParameter("Tag keys that begin with aws: are reserved.")
        if tag["Key"] in found:
            raise InvalidTagParameter(f"The tag key {tag['Key']} is given twice.")
        found[tag["Key"]] = tag.get("Value", "")
    if len(found) > _TAGS_MAX:
        raise TagsLimitExceeded(_TAGS_MAX)
    return found
