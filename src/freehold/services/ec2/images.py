"""Images: DescribeImages, and listing the cloud's own.

Every image here is the cloud's own (owner alias ``amazon``): public, available, the same in every region.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.records.compute import BootMode, Image, images
from freehold.records.ids import AccountId, ImageId
from freehold.records.store import Transaction
from freehold.records.tags import tags_of
from freehold.services.ec2.filters import Condition, absent, constant, moment, number, text
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
    boot_mode: BootMode = "legacy-bios",
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


# Every filter of the reference; those on what no image here has match nothing.
_NOTHING = (
    "block-device-mapping.snapshot-id",
    "image-watermark.source-image-creation-time",
    "image-watermark.source-image-id",
    "image-watermark.source-image-region",
    "image-watermark.watermark-creation-time",
    "image-watermark.watermark-key",
    "instance-type-specification.supported-instance-type",
    "instance-type-specification.unsupported-instance-type",
    "kernel-id",
    "platform",
    "product-code",
    "product-code.type",
    "public-ssm-parameter-name",
    "ramdisk-id",
    "source-image-id",
    "source-image-region",
    "source-instance-id",
    "sriov-net-support",
    "state-reason-code",
    "state-reason-message",
)
_FILTERS: dict[str, Condition] = {
    "architecture": text(images.c.architecture),
    "block-device-mapping.delete-on-termination": constant("true"),
    "block-device-mapping.device-name": text(images.c.root_device_name),
    "block-device-mapping.encrypted": constant("false"),
    "block-device-mapping.volume-size": number(images.c.size_gib),
    "block-device-mapping.volume-type": constant("gp3"),
    "boot-mode": text(images.c.boot_mode),
    "creation-date": moment(images.c.created_at),
    "description": text(images.c.description),
    "ena-support": constant("false"),
    "free-tier-eligible": constant("false"),
    "hypervisor": constant("xen"),
    "image-allowed": constant("true"),
    "image-id": text(images.c.id),
    "image-type": constant("machine"),
    "is-public": constant("true"),
    "manifest-location": text(sa.literal("amazon/") + images.c.name),
    "name": text(images.c.name),
    "owner-alias": text(images.c.owner_alias),
    "owner-id": text(images.c.owner_id),
    "root-device-name": text(images.c.root_device_name),
    "root-device-type": constant("ebs"),
    "state": constant("available"),
    "virtualization-type": constant("hvm"),
} | dict.fromkeys(_NOTHING, absent)


@operation()
def describe_images(call: Call, request: DescribeImagesRequestTypeDef) -> Response:
    """None is deprecated or disabled, so IncludeDeprecated and IncludeDisabled add nothing."""
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
    where: list[sa.ColumnElement[bool]] = []
    if owners := request.get("Owners"):
        possible = [owner for owner in owners if "\0" not in owner]  # PostgreSQL refuses it in a parameter
        ids = [call.account_id if owner == "self" else owner for owner in possible]
        where.append(sa.or_(images.c.owner_id.in_(ids), images.c.owner_alias.in_(possible)))
    if users := request.get("ExecutableUsers"):
        # Public images are executable by ``all``; none is shared with a single account.
        where.append(sa.true() if "all" in users else sa.false())
    not_with_ids(request, "ImageIds")
    page = described(call, IMAGE, request, "ImageIds", _FILTERS, *where, smallest=1)
    tags = tags_of(call.tx, [image.id for image in page.rows])
    return {"Images": [_described(image) | {"Tags": tag_list(tags[image.id])} for image in page.rows], **page.token}


def _described(image: Image) -> dict[str, Any]:
    return {
        "ImageId": image.id,
        "ImageLocation": f"amazon/{image.name}",
        "ImageOwnerAlias": image.owner_alias,
        "OwnerId": image.owner_id,
        "Name": image.name,
        "Description": image.description,
        "State": "available",
        "Public": True,
        "ImageType": "machine",
        "Architecture": image.architecture,
        "CreationDate": image.created_at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
        "RootDeviceName": image.root_device_name,
        "RootDeviceType": "ebs",
        "BlockDeviceMappings": [
            {
                "DeviceName": image.root_device_name,
                "Ebs": {
                    "DeleteOnTermination": True,
                    "VolumeSize": image.size_gib,
                    "VolumeType": "gp3",
                    "Encrypted": False,
                },
            }
        ],
        "ProductCodes": [],
        "VirtualizationType": "hvm",
        "Hypervisor": "xen",
        "EnaSupport": False,
        "BootMode": image.boot_mode,
        "ImdsSupport": "v2.0",
    }
