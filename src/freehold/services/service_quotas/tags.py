"""Tags of quotas: TagResource, UntagResource, ListTagsForResource."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from freehold.quotas import QUOTAS
from freehold.records.feed import take_turn
from freehold.records.tags import Tag, put_tags, tags_of
from freehold.services.operation import Call, Needed, Request, Response, operation
from freehold.services.parameters import refuse_others
from freehold.services.service_quotas.errors import IllegalArgument, NoSuchResource, TooManyTags
from freehold.services.service_quotas.names import arn_of

QUOTA = "quota"
"""The kind in records/tags, by ARN. Their region is "", so that they are not among EC2's."""

_TAGS_MAX = 50


def _tagged(_call: Call, request: Mapping[str, Any]) -> Iterable[Needed]:
    return [Needed("*", request_tags={tag["Key"]: tag["Value"] for tag in request["Tags"]})]


def _untagged(_call: Call, request: Mapping[str, Any]) -> Iterable[Needed]:
    return [Needed("*", request_tags=dict.fromkeys(request["TagKeys"], ""))]


@operation(resources=_tagged)
def tag_resource(call: Call, request: Request) -> Response:
    """Raises NoSuchResourceException, IllegalArgumentException for reserved keys, TooManyTagsException."""
    refuse_others(request, {"ResourceARN", "Tags"})
    given = {tag["Key"]: tag["Value"] for tag in request["Tags"]}
    for key in given:
        if key.lower().startswith("aws:"):
            raise IllegalArgument(f"The tag key {key} is reserved.")
    take_turn(call.tx)
    arn = _checked(call, request["ResourceARN"])
    present = {tag.key for tag in tags_of(call.tx, [arn])[arn]}
    if len(present | given.keys()) > _TAGS_MAX:
        raise TooManyTags(_TAGS_MAX)
    put_tags(call.tx, call.account_id, "", QUOTA, arn, given)
    return {}


@operation(resources=_untagged)
def untag_resource(call: Call, request: Request) -> Response:
    """What is not there is passed over. Raises NoSuchResourceException."""
    refuse_others(request, {"ResourceARN", "TagKeys"})
    take_turn(call.tx)
    arn = _checked(call, request["ResourceARN"])
    for key in request["TagKeys"]:
        call.tx.delete_where(Tag, resource_id=arn, key=key)
    return {}


@operation()
def list_tags_for_resource(call: Call, request: Request) -> Response:
    """Raises NoSuchResourceException."""
    refuse_others(request, {"ResourceARN"})
    arn = _checked(call, request["ResourceARN"])
    return {"Tags": [{"Key": tag.key, "Value": tag.value} for tag in tags_of(call.tx, [arn])[arn]]}


def _checked(call: Call, arn: str) -> str:
    """The ARN, if it is one of the caller's quotas in the region. Raises NoSuchResourceException."""
    quota = QUOTAS.get(arn.rpartition("/")[2])
    if quota is None or arn != arn_of(call, quota):
        raise NoSuchResource(f"The request failed because the specified resource does not exist: {arn}")
    return arn
