"""Images: DescribeImages, and listing the cloud's own.

The cloud's own (owner alias ``amazon``) are public, available, the same in every region.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.records.compute import Image, ImageBootMode, images
from freehold.records.ids import AccountId, ImageId
from freehold.records.images import (
    ImageMapping,
    ImageWatermark,
    image_mappings,
    image_permissions,
    image_watermarks,
    mappings_of,
    watermarks_of,
)
from freehold.records.store import Transaction
from freehold.records.tags import tags_of
from freehold.services.ec2.filters import Condition, absent, any_row, constant, flag, moment, number, text
from freehold.services.ec2.image_criteria import allowed, allowed_filter
from freehold.services.ec2.image_mappings import shown
from freehold.services.ec2.paging import described, not_with_ids
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import IMAGE
from freehold.services.ec2.tags import tag_list
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import DescribeImagesRequestTypeDef

OWNER = AccountId("000000000000")
"""Owns the cloud's own images. No customer can have it: their account numbers do not begin with 0."""

_GIB = 1024**3


def register_builtin(
    tx: Transaction,
    *,
    image_id: ImageId,
    name: str,
    description: str,
    architecture: str,
    root_device_name: str,
    size_bytes: int,
    minimum_memory_mib: int,
    default_user: str,
    created_at: dt.datetime,
    boot_mode: ImageBootMode = "legacy-bios",
    has_kernel: bool = True,
) -> None:
    """List an image of the cloud's own, or list it anew. `size_bytes` is its virtual size: the smallest root volume.
    `has_kernel` = its servers are started by its kernel, not by firmware."""
    tx.put(
        Image(
            id=image_id,
            owner_id=OWNER,
            owner_alias="amazon",
            name=name,
            description=description,
            architecture=architecture,
            root_device_name=root_device_name,
            size_gib=-(-size_bytes // _GIB),
            default_user=default_user,
            created_at=created_at,
            minimum_memory_mib=minimum_memory_mib,
            boot_mode=boot_mode,
            kernel_image_id=image_id if has_kernel else None,
        )
    )
    tx.put(
        ImageMapping(
            image_id=image_id,
            device=root_device_name,
            snapshot_id=None,
            size_gib=-(-size_bytes // _GIB),
            volume_type="gp3",
            iops=None,
            throughput_mibps=None,
            encrypted=False,
            delete_on_termination=True,
        )
    )


_M = image_mappings.c
_OF_IMAGE = _M.image_id == images.c.id


def _mapping(that: Condition) -> Condition:
    return any_row(image_mappings, _OF_IMAGE, that=that)


_W = image_watermarks.c
_MARKS_IMAGE = _W.image_id == images.c.id


def _watermark(that: Condition) -> Condition:
    return any_row(image_watermarks, _MARKS_IMAGE, that=that)


# Every filter of the reference; those on what no image here has match nothing.
_NOTHING = (
    "instance-type-specification.supported-instance-type",
    "instance-type-specification.unsupported-instance-type",
    "kernel-id",
    "platform",
    "product-code",
    "product-code.type",
    "public-ssm-parameter-name",
    "ramdisk-id",
    "sriov-net-support",
)
_LOCATION = sa.func.coalesce(images.c.owner_alias, images.c.owner_id) + "/" + images.c.name
_FILTERS: dict[str, Condition] = {
    "architecture": text(images.c.architecture),
    "block-device-mapping.delete-on-termination": _mapping(flag(_M.delete_on_termination)),
    "block-device-mapping.device-name": _mapping(text(_M.device)),
    "block-device-mapping.encrypted": _mapping(flag(_M.encrypted)),
    "block-device-mapping.snapshot-id": _mapping(text(_M.snapshot_id)),
    "block-device-mapping.volume-size": _mapping(number(_M.size_gib)),
    "block-device-mapping.volume-type": _mapping(text(_M.volume_type)),
    "boot-mode": text(images.c.boot_mode),
    "creation-date": moment(images.c.created_at),
    "description": text(images.c.description),
    "ena-support": constant("false"),
    "free-tier-eligible": constant("false"),
    "hypervisor": constant("xen"),
    "image-allowed": allowed_filter,
    "image-id": text(images.c.id),
    "image-type": constant("machine"),
    "image-watermark.source-image-creation-time": _watermark(moment(_W.source_image_created_at)),
    "image-watermark.source-image-id": _watermark(text(_W.source_image_id)),
    "image-watermark.source-image-region": _watermark(text(_W.source_image_region)),
    "image-watermark.watermark-creation-time": _watermark(moment(_W.created_at)),
    "image-watermark.watermark-key": _watermark(text(_W.key)),
    "is-public": flag(images.c.public),
    "manifest-location": text(_LOCATION),
    "name": text(images.c.name),
    "owner-alias": text(images.c.owner_alias),
    "owner-id": text(images.c.owner_id),
    "root-device-name": text(images.c.root_device_name),
    "root-device-type": constant("ebs"),
    "source-image-id": text(images.c.source_image_id),
    "source-image-region": text(images.c.source_image_region),
    "source-instance-id": text(images.c.source_instance_id),
    "state": text(images.c.state),
    "state-reason-code": text(images.c.state_reason),
    "state-reason-message": text(images.c.state_reason),
    "virtualization-type": constant("hvm"),
} | dict.fromkeys(_NOTHING, absent)


@operation()
def describe_images(call: Call, request: DescribeImagesRequestTypeDef) -> Response:
    """Deprecated ones of others, and disabled ones, only where the request includes them or names them."""
    refuse_others(
        request,
        {
            "ExecutableUsers",
            "Filters",
            "ImageIds",
            "IncludeDeprecated",
            "IncludeDisabled",
            "MaxResults",
            "NextToken",
            "Owners",
        },
    )
    where = [*IMAGE.visible(call), *_owned(call, request), *_executable(call, request)]
    if not request.get("ImageIds"):
        if not request.get("IncludeDeprecated"):
            mine, at = images.c.owner_id == call.account_id, images.c.deprecated_at
            where.append(sa.or_(mine, at.is_(None), at > sa.literal(call.now, at.type)))
        if not request.get("IncludeDisabled"):
            where.append(images.c.state != "disabled")
    not_with_ids(request, "ImageIds")
    page = described(call, IMAGE, request, "ImageIds", _FILTERS, *where, smallest=1)
    return {"Images": descriptions(call, page.rows), **page.token}


def _owned(call: Call, request: DescribeImagesRequestTypeDef) -> list[sa.ColumnElement[bool]]:
    owners = [owner for owner in request.get("Owners", ()) if "\0" not in owner]  # PostgreSQL refuses it in a parameter
    if not request.get("Owners"):
        return []
    ids = [call.account_id if owner == "self" else owner for owner in owners]
    return [sa.or_(images.c.owner_id.in_(ids), images.c.owner_alias.in_(owners))]


def _executable(call: Call, request: DescribeImagesRequestTypeDef) -> list[sa.ColumnElement[bool]]:
    """``all``: public ones; ``self``: those that are shared with the caller; an account: those shared with it."""
    if not (users := request.get("ExecutableUsers")):
        return []
    ids = [call.account_id if user == "self" else user for user in users if "\0" not in user]
    of = image_permissions.c
    shared = sa.exists().where(of.image_id == images.c.id, of.account_id.in_(ids))
    return [sa.or_(shared, images.c.public) if "all" in users else shared]


def descriptions(call: Call, rows: Sequence[Image]) -> list[dict[str, Any]]:
    """The images as the API shows them."""
    ids = [image.id for image in rows]
    tags, mappings, usable = tags_of(call.tx, ids), mappings_of(call.tx, ids), allowed_of(call, ids)
    watermarks = watermarks_of(call.tx, ids)
    return [
        _described(image)
        | {
            "BlockDeviceMappings": shown(mappings[image.id]),
            "ImageAllowed": image.id in usable,
            **shown_watermarks(watermarks[image.id]),
            "Tags": tag_list([tag for tag in tags[image.id] if tag.account_id == call.account_id]),
        }
        for image in rows
    ]


def written(at: dt.datetime) -> str:
    """A moment of an image, which EC2 has as text."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def shown_watermarks(watermarks: Sequence[ImageWatermark]) -> dict[str, Any]:
    """The member that an image has for its watermarks, if it has any."""
    shown = [
        {
            "WatermarkKey": each.key,
            "SourceImageId": each.source_image_id,
            "SourceImageRegion": each.source_image_region,
            "SourceImageCreationTime": each.source_image_created_at,
            "WatermarkCreationTime": each.created_at,
        }
        for each in watermarks
    ]
    return {"ImageWatermarks": shown} if shown else {}


def allowed_of(call: Call, ids: Sequence[ImageId]) -> set[ImageId]:
    """Those that are said to be allowed."""
    return {image.id for image in call.tx.select(Image, allowed(call), id=list(ids))}


def _described(image: Image) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "ImageId": image.id,
        "ImageLocation": f"{image.owner_alias or image.owner_id}/{image.name}",
        "OwnerId": image.owner_id,
        "Name": image.name,
        "Description": image.description,
        "State": image.state,
        "Public": image.public,
        "ImageType": "machine",
        "Architecture": image.architecture,
        "CreationDate": written(image.created_at),
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
        "RootDeviceName": image.root_device_name,
        "RootDeviceType": "ebs",
        "ProductCodes": [],
        "VirtualizationType": "hvm",
        "Hypervisor": "xen",
        "EnaSupport": False,
        "BootMode": image.boot_mode,
        "DeregistrationProtection": image.protection,
    }
    if image.owner_alias is not None:
        answer["ImageOwnerAlias"] = image.owner_alias
    if image.imds_v2:
        answer["ImdsSupport"] = "v2.0"
    if image.deprecated_at is not None:
        answer["DeprecationTime"] = written(image.deprecated_at)
    if image.state_reason is not None:
        answer["StateReason"] = {"Code": image.state_reason, "Message": image.state_reason}
    if image.last_launched_at is not None:
        answer["LastLaunchedTime"] = image.last_launched_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    for name, value in (
        ("SourceInstanceId", image.source_instance_id),
        ("SourceImageId", image.source_image_id),
        ("SourceImageRegion", image.source_image_region),
    ):
        if value is not None:
            answer[name] = value
    return answer
