"""Tags of keys: TagResource, UntagResource, ListResourceTags.

https://docs.aws.amazon.com/kms/latest/developerguide/tagging-keys.html
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from freehold.records.feed import take_turn
from freehold.records.tags import Tag, put_tags, tags_of
from freehold.services.kms.errors import LimitExceeded, TagError
from freehold.services.kms.key_ids import check_not_pending, find
from freehold.services.kms.paging import page_of
from freehold.services.kms.permissions import named_by
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_kms.type_defs import (
        ListResourceTagsRequestTypeDef,
        TagResourceRequestTypeDef,
        TagTypeDef,
        UntagResourceRequestTypeDef,
    )

KEY = "key"
"""The kind in records/tags. Their region is "", so that they are not among EC2's."""

_TAGS_MAX = 50


@operation(resources=named_by(aliases=False))
def tag_resource(call: Call, request: TagResourceRequestTypeDef) -> Response:
    """Tags with a key that is there get the new value.

    Raises NotFoundException, KMSInvalidStateException, TagException, LimitExceededException.
    """
    refuse_others(request, {"KeyId", "Tags"})
    given = checked_tags(request["Tags"])
    take_turn(call.tx)
    key = find(call, request["KeyId"], aliases=False)
    check_not_pending(key)
    present = {tag.key for tag in tags_of(call.tx, [key.id])[key.id]}
    if len(present | given.keys()) > _TAGS_MAX:
        raise LimitExceeded(f"A KMS key can have at most {_TAGS_MAX} tags.")
    put_tags(call.tx, call.account_id, "", KEY, key.id, given)
    return {}


@operation(resources=named_by(aliases=False))
def untag_resource(call: Call, request: UntagResourceRequestTypeDef) -> Response:
    """Keys that are not there are passed over. Raises NotFoundException, KMSInvalidStateException, TagException."""
    refuse_others(request, {"KeyId", "TagKeys"})
    for tag_key in request["TagKeys"]:
        _check_key(tag_key)
    take_turn(call.tx)
    key = find(call, request["KeyId"], aliases=False)
    check_not_pending(key)
    call.tx.delete_where(Tag, resource_id=key.id, key=list(request["TagKeys"]))
    return {}


@operation(resources=named_by(aliases=False))
def list_resource_tags(call: Call, request: ListResourceTagsRequestTypeDef) -> Response:
    """Raises NotFoundException, InvalidMarkerException."""
    refuse_others(request, {"KeyId", "Limit", "Marker"})
    key = find(call, request["KeyId"], aliases=False)
    found = page_of(tags_of(call.tx, [key.id])[key.id], request, "key", default=50, most=50)
    return {"Tags": tag_list(found.rows), **found.more}


def tag_list(tags: Iterable[Tag]) -> list[dict[str, Any]]:
    return [{"TagKey": tag.key, "TagValue": tag.value} for tag in tags]


def checked_tags(given: Sequence[TagTypeDef]) -> dict[str, str]:
    """The tags of a request by key. Raises TagException."""
    found: dict[str, str] = {}
    for tag in given:
        key, value = tag["TagKey"], tag["TagValue"]
        _check_key(key)
        if "\0" in value:
            raise TagError("A tag value has a control character.")
        if key in found:
            raise TagError("Duplicate tag keys")
        found[key] = value
    if len(found) > _TAGS_MAX:
        raise TagError(f"A KMS key can have at most {_TAGS_MAX} tags.")
    return found


def _check_key(key: str) -> None:
    if key.lower().startswith("aws:"):
        raise TagError("aws: prefixed tag key names are not allowed for external use.")
    if "\0" in key:
        raise TagError("A tag key has a control character.")
