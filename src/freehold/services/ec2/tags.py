"""Tags: CreateTags, DeleteTags, DescribeTags, and the tags that every create operation takes.

Restrictions: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import sqlalchemy as sa

from freehold.records.compute import Image, Instance
from freehold.records.feed import publish, take_turn
from freehold.records.schema import Record
from freehold.records.tags import Tag, tags, tags_of
from freehold.services.ec2.errors import InvalidID, InvalidParameterValue, MissingParameter, TagLimitExceeded
from freehold.services.ec2.filters import Condition, conditions, matching, text
from freehold.services.ec2.paging import LARGEST_PAGE, page
from freehold.services.ec2.resources import INSTANCE, KINDS, Kind
from freehold.services.errors import UnsupportedOperation
from freehold.services.operation import Call, Needed, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.literals import ResourceTypeType
    from mypy_boto3_ec2.type_defs import (
        ClientCreateTagsRequestTypeDef,
        ClientDeleteTagsRequestTypeDef,
        DescribeTagsRequestTypeDef,
        TagDescriptionTypeDef,
        TagSpecificationUnionTypeDef,
        TagTypeDef,
    )

MAX_TAGS = 50
MAX_RESOURCES = 1000

# What XML 1.0 can not carry (https://www.w3.org/TR/xml/#charsets), so that no answer could return it.
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_METADATA_KEY = re.compile(r"[0-9a-zA-Z\-_+=,.@:]{1,255}")


def tag_list(found: Iterable[Tag]) -> list[TagTypeDef]:
    """Tags as every description of a resource shows them."""
    return [{"Key": tag.key, "Value": tag.value} for tag in found]


def checked(given: Sequence[TagTypeDef]) -> dict[str, str]:
    """Tags of a request by key. Raises InvalidParameterValue, MissingParameter or TagLimitExceeded."""
    if len(given) > MAX_TAGS:
        raise TagLimitExceeded(MAX_TAGS)
    result: dict[str, str] = {}
    for tag in given:
        key, value = tag.get("Key", ""), tag.get("Value", "")
        _check_key(key)
        if len(value) > 256:
            raise InvalidParameterValue("Tag value exceeds the maximum length of 256 characters")
        if UNPRINTABLE.search(value):
            raise InvalidParameterValue("Tag value has a control character")
        if key in result:
            raise InvalidParameterValue(f"Duplicate tag key '{key}' specified.")
        result[key] = value
    return result


def _check_key(key: str) -> None:
    if not key:
        raise MissingParameter("Tag.Key")
    if len(key) > 128:
        raise InvalidParameterValue("Tag key exceeds the maximum length of 128 characters")
    if key.lower().startswith("aws:"):
        raise InvalidParameterValue("Tag keys starting with 'aws:' are reserved for internal use")
    if UNPRINTABLE.search(key):
        raise InvalidParameterValue("Tag key has a control character")


def specified(
    specifications: Sequence[TagSpecificationUnionTypeDef] | None, *resource_types: str
) -> Mapping[str, dict[str, str]]:
    """The tags of a create request, by resource type; `resource_types` are those that the operation makes.

    Every one of them is in the answer, with no tags where none were given. Raises InvalidParameterValue for another
    type, one given twice, or a tag that may not be.
    """
    result: dict[str, dict[str, str]] = {}
    for specification in specifications or ():
        resource_type = specification.get("ResourceType", "")
        if resource_type not in resource_types:
            raise InvalidParameterValue(f"'{resource_type}' is not a valid taggable resource type for this operation.")
        if resource_type in result:
            raise InvalidParameterValue(f"Resource type '{resource_type}' is specified more than once.")
        result[resource_type] = checked(specification.get("Tags", ()))
    return {resource_type: result.get(resource_type, {}) for resource_type in resource_types}


def check_metadata_keys(keys: Iterable[str]) -> None:
    """Refuse keys that can not be paths of the metadata service, for instances that show their tags there.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/work-with-tags-in-IMDS.html
    """
    for key in keys:
        if not _METADATA_KEY.fullmatch(key) or key in (".", "..", "_index"):
            raise InvalidParameterValue(
                f"'{key}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{{1,255}}), and "
                "must not be a reserved name ('.', '..', '_index')"
            )


def _kind_of(resource_id: str) -> Kind[Record]:
    kind = KINDS.get(resource_id.rpartition("-")[0])
    if kind is None:
        raise InvalidID(resource_id)
    return kind


def _tagged_resources(
    call: Call, request: ClientCreateTagsRequestTypeDef | ClientDeleteTagsRequestTypeDef
) -> list[Needed]:
    return [_kind_of(resource_id).or_in_bin().needed(call, resource_id) for resource_id in request["Resources"]]


def _load(call: Call, ids: Sequence[str]) -> dict[str, Record]:
    """The resources to be tagged, by id; those in the recycle bin have tags too. Raises InvalidID or the code of the
    missing one's kind.

    https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin-working-with-snaps.html#snap-perms
    """
    if len(ids) > MAX_RESOURCES:
        raise InvalidParameterValue(f"At most {MAX_RESOURCES} resources may be given in a request.")
    by_kind: dict[str, list[str]] = {}
    for resource_id in dict.fromkeys(ids):
        by_kind.setdefault(_kind_of(resource_id).prefix, []).append(resource_id)
    found: dict[str, Record] = {}
    for prefix, kind_ids in by_kind.items():
        kind = KINDS[prefix].or_in_bin()
        for resource_id, record in zip(kind_ids, kind.load_all(call, kind_ids), strict=True):
            if isinstance(record, Image) and record.owner_id != call.account_id:
                raise UnsupportedOperation("Tagging an image of another account")
            found[resource_id] = record
    return found


@operation(resources=_tagged_resources)
def create_tags(call: Call, request: ClientCreateTagsRequestTypeDef) -> Response:
    """On every resource or, if one can not have them, on none. Raises TagLimitExceeded."""
    given = checked(request["Tags"])
    take_turn(call.tx)  # or a resource could be deleted between here and the commit, and its tags stay
    resources = _load(call, request["Resources"])
    for resource_id, held in tags_of(call.tx, list(resources)).items():
        record = resources[resource_id]
        own = {tag.key for tag in held if not tag.key.startswith("aws:")}  # the cloud's do not count
        if len(own | given.keys()) > MAX_TAGS:
            raise TagLimitExceeded(MAX_TAGS)
        if isinstance(record, Instance) and record.metadata_options.instance_metadata_tags == "enabled":
            check_metadata_keys(given)
    call.tx.delete_where(Tag, resource_id=list(resources), key=list(given))
    call.tx.insert(
        *(
            Tag(resource_id, key, value, call.account_id, call.region, _kind_of(resource_id).resource_type)
            for resource_id in resources
            for key, value in given.items()
        )
    )
    _publish(call, resources)
    return {}


@operation(resources=_tagged_resources)
def delete_tags(call: Call, request: ClientDeleteTagsRequestTypeDef) -> Response:
    """Without tags, deletes all; a tag without a value goes whatever its value, with one only if it is the same."""
    given = request.get("Tags", ())
    for tag in given:
        _check_key(tag.get("Key", ""))
    take_turn(call.tx)
    resources = _load(call, request["Resources"])
    named = [
        sa.and_(tags.c.key == tag.get("Key", ""), *([tags.c.value == tag["Value"]] if "Value" in tag else []))
        for tag in given
        if not UNPRINTABLE.search(tag.get("Value", ""))
    ]
    call.tx.delete_where(
        Tag,
        tags.c.resource_id.in_(list(resources)),
        sa.or_(sa.false(), *named) if given else sa.not_(tags.c.key.startswith("aws:")),
    )
    _publish(call, resources)
    return {}


def _publish(call: Call, resources: Mapping[str, Record]) -> None:
    """Tell the hosts of tagged instances: the metadata service may show the tags."""
    for resource_id, record in resources.items():
        if isinstance(record, INSTANCE.record) and record.host_id is not None:
            publish(call.tx, "guest", resource_id)


_FILTERS: dict[str, Condition] = {
    "key": text(tags.c.key),
    "resource-id": text(tags.c.resource_id),
    "resource-type": text(tags.c.resource_type),
    "value": text(tags.c.value),
}


def _tag_named(key: str) -> Condition:
    return lambda _call, values: sa.and_(tags.c.key == key, matching(tags.c.value, values))


@operation()
def describe_tags(call: Call, request: DescribeTagsRequestTypeDef) -> Response:
    """Tags of all resources of the account in the region, by resource and key."""
    limit = request.get("MaxResults", LARGEST_PAGE)
    if limit > LARGEST_PAGE:
        raise InvalidParameterValue(f"Value ( {limit} ) for parameter maxResults is invalid. Expecting 5 to 1000.")
    given = request.get("Filters", ())
    by_key = {
        name: _tag_named(name.removeprefix("tag:"))
        for name in (f.get("Name", "") for f in given)
        if name.startswith("tag:")
    }
    found = page(
        call,
        Tag,
        request,
        *conditions(call, given, _FILTERS | by_key),
        key=("resource_id", "key"),
        account_id=call.account_id,
        region=call.region,
    )
    described: list[TagDescriptionTypeDef] = [
        {
            "Key": tag.key,
            "ResourceId": tag.resource_id,
            "ResourceType": cast("ResourceTypeType", tag.resource_type),
            "Value": tag.value,
        }
        for tag in found.rows
    ]
    return {"Tags": described, **found.token}
