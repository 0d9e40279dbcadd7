"""Where images and servers come from: GetImageAncestry, DescribeInstanceImageMetadata.

Both know images that were deregistered too.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-ancestry.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.records.compute import Image, Instance, images, instances
from freehold.records.images import PastImage, past_and_present, past_images, watermarks_of
from freehold.records.tags import tags_of
from freehold.services.ec2.filters import Condition, any_row, flag, moment, text
from freehold.services.ec2.image_criteria import allowed
from freehold.services.ec2.images import allowed_of, shown_watermarks, written
from freehold.services.ec2.instance_states import shown
from freehold.services.ec2.paging import described
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.regions import zone_id_filter
from freehold.services.ec2.resources import IMAGE, INSTANCE, named_by
from freehold.services.ec2.tags import tag_list
from freehold.services.ec2.zones import zone_id
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import DescribeInstanceImageMetadataRequestTypeDef, GetImageAncestryRequestTypeDef

_ANCESTRY_MAX = 50  # "The maximum number of AMIs in an ancestry list is 50."


@operation(resources=named_by("ImageId", IMAGE))
def get_image_ancestry(call: Call, request: GetImageAncestryRequestTypeDef) -> Response:
    """The image, the one that it was made of, and so on: up to one of the cloud's own or one that was made of none,
    whoever owns them."""
    refuse_others(request, {"ImageId"})
    image: Image | PastImage | None = IMAGE.load(call, request["ImageId"])
    entries: list[dict[str, Any]] = []
    while image is not None and len(entries) < _ANCESTRY_MAX:
        entries.append(_ancestor(image))
        source_id = image.source_image_id
        image = past_and_present(call.tx, [source_id]).get(source_id) if source_id else None
    return {"ImageAncestryEntries": entries}


def _ancestor(image: Image | PastImage) -> dict[str, Any]:
    entry = {
        "ImageId": image.id,
        "CreationDate": image.created_at,
        "ImageOwnerAlias": image.owner_alias,
        "SourceImageId": image.source_image_id,
        "SourceImageRegion": image.source_image_region,
    }
    return {name: value for name, value in entry.items() if value is not None}


_OF_PRESENT, _OF_PAST = images.c.id == instances.c.image_id, past_images.c.id == instances.c.image_id


def _owner(present: Condition, past: Condition) -> Condition:
    """A filter on the owner of the image, be it deregistered or not."""
    of_present, of_past = any_row(images, _OF_PRESENT, that=present), any_row(past_images, _OF_PAST, that=past)
    return lambda call, values: sa.or_(of_present(call, values), of_past(call, values))


def _image_allowed(call: Call, values: Sequence[str]) -> sa.ColumnElement[bool]:
    registered = sa.exists().where(_OF_PRESENT, images.c.recycled_at.is_(None), allowed(call))
    return flag(registered)(call, values)


_FILTERS: dict[str, Condition] = {
    "availability-zone": text(instances.c.zone),
    "image-allowed": _image_allowed,
    "instance-id": text(instances.c.id),
    "instance-state-name": text(instances.c.state),
    "instance-type": text(instances.c.instance_type),
    "launch-time": moment(instances.c.launched_at),
    "owner-alias": _owner(text(images.c.owner_alias), text(past_images.c.owner_alias)),
    "owner-id": _owner(text(images.c.owner_id), text(past_images.c.account_id)),
    "zone-id": zone_id_filter(instances.c.zone),
}


@operation()
def describe_instance_image_metadata(call: Call, request: DescribeInstanceImageMetadataRequestTypeDef) -> Response:
    """Of instances, also those whose image the account may not find any more."""
    refuse_others(request, {"Filters", "InstanceIds", "MaxResults", "NextToken"})
    page = described(call, INSTANCE, request, "InstanceIds", _FILTERS, smallest=1)
    image_ids = list({instance.image_id for instance in page.rows})
    origins, usable = past_and_present(call.tx, image_ids), allowed_of(call, image_ids)
    watermarks = watermarks_of(call.tx, image_ids)
    tags = tags_of(call.tx, [instance.id for instance in page.rows])
    said = {
        image_id: _metadata(image, usable=image_id in usable) | shown_watermarks(watermarks[image_id])
        for image_id, image in origins.items()
    }
    found = [
        {
            **_instance(instance),
            "Tags": tag_list(tags[instance.id]),
            "ImageMetadata": {"ImageId": instance.image_id, **said.get(instance.image_id, {})},
        }
        for instance in page.rows
    ]
    return {"InstanceImageMetadata": found, **page.token}


def _instance(instance: Instance) -> dict[str, Any]:
    return {
        "InstanceId": instance.id,
        "InstanceType": instance.instance_type,
        "LaunchTime": instance.launched_at,
        "AvailabilityZone": instance.zone,
        "ZoneId": zone_id(instance.region, instance.zone),
        "State": shown(instance.state),
        "OwnerId": instance.account_id,
        "Operator": {"Managed": False},
    }


def _metadata(image: Image | PastImage, *, usable: bool) -> dict[str, Any]:
    """What is said of an image but for its id; `usable`: it would be allowed if it were still registered."""
    state = "deregistered" if isinstance(image, PastImage) or image.recycled_at is not None else image.state
    said = {
        "Name": image.name,
        "OwnerId": image.account_id if isinstance(image, PastImage) else image.owner_id,
        "State": state,
        "ImageAllowed": usable and state != "deregistered",
        "ImageOwnerAlias": image.owner_alias,
        "CreationDate": written(image.created_at),
        "DeprecationTime": written(image.deprecated_at) if image.deprecated_at is not None else None,
        "IsPublic": image.public,
    }
    return {name: value for name, value in said.items() if value is not None}
