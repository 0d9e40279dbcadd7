"""Tags of IAM resources.

Restrictions: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags.html#id_tags_rules. The model checks lengths and
characters. Keys of users and roles differ by more than their case; of all else, by anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from freehold.records.tags import Tag, put_tags, tags_of
from freehold.services.iam.errors import InvalidInput, LimitExceeded
from freehold.services.iam.paging import page_of
from freehold.services.operation import Call, Response

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import TagTypeDef

MAX_TAGS = 50

_FOLDED = ("user", "role")
_QUOTAS = {
    "user": "TagsPerUser",
    "role": "TagsPerRole",
    "policy": "TagsPerPolicy",
    "instance-profile": "TagsPerInstanceProfile",
    "mfa": "TagsPerMfaDevice",
    "oidc-provider": "TagsPerOpenIDConnectProvider",
}


def tag_list(found: Iterable[Tag]) -> list[TagTypeDef]:
    """Tags as every description of a resource shows them."""
    return [{"Key": tag.key, "Value": tag.value} for tag in found]


def checked(given: Sequence[TagTypeDef] | None, kind: str) -> dict[str, str]:
    """Tags of a request by key. `kind` is as in `put`. Raises InvalidInput or LimitExceeded."""
    result: dict[str, str] = {}
    for tag in given or ():
        if tag["Key"].lower().startswith("aws:"):
            raise InvalidInput("System tags with the prefix aws: cannot be added, updated or removed.")
        result[tag["Key"]] = tag["Value"]
    if len({_same(kind, key) for key in result}) < len(given or ()):
        raise InvalidInput("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    if len(result) > MAX_TAGS:
        raise LimitExceeded(_QUOTAS[kind], MAX_TAGS)
    return result


def put(call: Call, kind: str, resource_id: str, pairs: Mapping[str, str]) -> None:
    """Add checked tags to a resource: `kind` as in ARNs (``user``), `resource_id` its unique id, or its ARN if it has
    none. Those with the same key are overwritten. Raises LimitExceeded."""
    held = {_same(kind, tag.key): tag.key for tag in tags_of(call.tx, [resource_id])[resource_id]}
    if len(held.keys() | {_same(kind, key) for key in pairs}) > MAX_TAGS:
        raise LimitExceeded(_QUOTAS[kind], MAX_TAGS)
    old = [held[_same(kind, key)] for key in pairs if _same(kind, key) in held]
    call.tx.delete_where(Tag, resource_id=resource_id, key=old)
    put_tags(call.tx, call.account_id, "", kind, resource_id, pairs)


def remove(call: Call, kind: str, resource_id: str, keys: Sequence[str]) -> None:
    """Remove the tags with these keys; keys that there are none with are none to remove."""
    named = {_same(kind, key) for key in keys}
    held = [tag.key for tag in tags_of(call.tx, [resource_id])[resource_id] if _same(kind, tag.key) in named]
    call.tx.delete_where(Tag, resource_id=resource_id, key=held)


def listed(call: Call, request: Mapping[str, Any], resource_id: str) -> Response:
    """The answer of a List…Tags operation: by key. A marker holds a place, as a key may be too long for it."""
    ordered = sorted(tags_of(call.tx, [resource_id])[resource_id], key=lambda tag: tag.key)
    found = page_of(call, request, enumerate(ordered), lambda item: f"{item[0]:02}")
    return {"Tags": tag_list(tag for _, tag in found.rows), **found.end}


def _same(kind: str, key: str) -> str:
    """What keys that are the same have in common."""
    return key.lower() if kind in _FOLDED else key
