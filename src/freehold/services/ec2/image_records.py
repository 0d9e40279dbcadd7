"""The record of an account's new image, however it is made: private, for a root disk of its own."""

from __future__ import annotations

from freehold.records.compute import Image, ImageBootMode
from freehold.records.ids import ImageId
from freehold.services.operation import Call


def new_image(
    call: Call,
    image_id: ImageId,
    name: str,
    description: str,
    root_device_name: str,
    size_gib: int,
    boot_mode: ImageBootMode,
    kernel_image_id: ImageId | None,
) -> Image:
    """An image that is available at once and says nothing of where it comes from. `kernel_image_id` is the image whose
    kernel starts its servers; None: firmware does."""
    return Image(
        id=image_id,
        owner_id=call.account_id,
        owner_alias=None,
        name=name,
        description=description,
        architecture="x86_64",
        root_device_name=root_device_name,
        size_gib=size_gib,
        default_user="root",
        created_at=call.now,
        boot_mode=boot_mode,
        kernel_image_id=kernel_image_id,
        region=call.region,
        public=False,
    )
