"""TagResource, UntagResource, ListTagsForResource."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from freehold.records.feed import take_turn
from freehold.records.tags import Tag, put_tags, tags_of
from freehold.services.operation import Call, Needed, Response, operation
from freehold.services.rbin.errors import ValidationError
from freehold.services.rbin.rules import arn, load, needed

_TAGS_MAX = 50


def _rule(call: Call, request: Mapping[str, Any]) -> str:
    """The rule's identifier. Raises ValidationError for another account's or region's."""
    identifier = str(request["ResourceArn"]).rpartition("/")[2]
    if request["ResourceArn"] != arn(call, identifier):
        raise ValidationError("The resource ARN is not that of a retention rule of this account and region.")
    return identifier


def _named(call: Call, request: Mapping[str, Any]) -> Iterator[Needed]:
    given = {str(tag["Key"]): str(tag.get("Value", "")) for tag in request.get("Tags") or ()}
    found = needed(call, str(request["ResourceArn"]).rpartition("/")[2])
    yield Needed(found.arn, keys=found.keys, tags=found.tags, request_tags=given)


@operation(resources=_named)
def tag_resource(call: Call, request: Mapping[str, Any]) -> Response:
    """Those with the same key are replaced."""
    take_turn(call.tx)
    rule = load(call, _rule(call, request))
    given = {str(tag["Key"]): str(tag.get("Value", "")) for tag in request["Tags"]}
    if len({tag.key for tag in tags_of(call.tx, [rule.id])[rule.id]} | given.keys()) > _TAGS_MAX:
        raise ValidationError(f"A retention rule may have at most {_TAGS_MAX} tags.")
    put_tags(call.tx, call.account_id, call.region, "rule", rule.id, given)
    return {}


@operation(resources=_named)
def untag_resource(call: Call, request: Mapping[str, Any]) -> Response:
    """Keys that it does not have make no difference."""
    take_turn(call.tx)
    rule = load(call, _rule(call, request))
    call.tx.delete_where(Tag, resource_id=rule.id, key=list(request["TagKeys"]))
    return {}


@operation(resources=_named)
def list_tags_for_resource(call: Call, request: Mapping[str, Any]) -> Response:
    """In the order of their keys."""
    rule = load(call, _rule(call, request))
    return {"Tags": [{"Key": tag.key, "Value": tag.value} for tag in tags_of(call.tx, [rule.id])[rule.id]]}
