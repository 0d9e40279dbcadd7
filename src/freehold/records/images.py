"""What belongs to images beside themselves: the disks of their servers, who may use them, what an account allows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Literal

import msgspec
import sqlalchemy as sa

from freehold.records.compute import Image, images
from freehold.records.ids import AccountId, ImageId, SnapshotId
from freehold.records.import_tasks import ImportTask, end
from freehold.records.schema import Record, table
from freehold.records.snapshots import Snapshot, delete
from freehold.records.store import Transaction
from freehold.records.tags import delete_tags_of

PublicAccess = Literal["block-new-sharing", "unblocked"]


class ImageMapping(Record, frozen=True):
    """A disk that servers of an image begin with. Without a snapshot it is empty; the root disk of an image of the
    cloud's own is that image's. `iops` and `throughput_mibps` None: what the type has by itself."""

    image_id: ImageId
    device: str
    snapshot_id: SnapshotId | None
    size_gib: int
    volume_type: str
    iops: int | None
    throughput_mibps: int | None
    encrypted: bool
    delete_on_termination: bool


class ImagePermission(Record, frozen=True):
    """An account that may launch servers of another's image."""

    image_id: ImageId
    account_id: AccountId


class PastImage(Record, frozen=True):
    """What is still said of an image that was deregistered: servers were launched of it, and images made of it. Its
    fields are those of `Image`, `account_id` its owner."""

    id: ImageId
    account_id: AccountId
    owner_alias: str | None
    name: str
    public: bool
    created_at: dt.datetime
    deprecated_at: dt.datetime | None
    source_image_id: ImageId | None
    source_image_region: str | None


class ImagePublicAccess(Record, frozen=True):
    """Whether an account may make its images public in a region. One that has chosen nothing may not."""

    account_id: AccountId
    region: str
    state: PublicAccess


class ImageWatermark(Record, frozen=True):
    """A mark of an image, which its copies and the images of its servers have too: the name that the account which made
    it gave it (`key` has both), and the image that it was attached to. `account_id` is the owner of the image that has
    it."""

    image_id: ImageId
    key: str
    account_id: AccountId
    source_image_id: ImageId
    source_image_region: str
    source_image_created_at: dt.datetime
    created_at: dt.datetime


class WatermarkFilter(msgspec.Struct, frozen=True):
    """What a watermark must be; None: anything. `key` and `region` may have ``*`` and ``?``."""

    key: str | None = None
    region: str | None = None
    days_since_source_created: int | None = None
    days_since_created: int | None = None


class ImageCriterion(msgspec.Struct, frozen=True):
    """What an image must be to be allowed; empty or None: anything. `names` may have ``*`` and ``?``; of `watermarks`
    it must meet one."""

    providers: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    product_codes: tuple[str, ...] = ()
    days_since_created: int | None = None
    days_since_deprecated: int | None = None
    watermarks: tuple[WatermarkFilter, ...] = ()


class AllowedImages(Record, frozen=True):
    """Which images of others an account can find and use in a region: when `enabled`, those that meet one of the
    criteria; else all."""

    account_id: AccountId
    region: str
    state: Literal["disabled", "audit-mode", "enabled"]
    criteria: tuple[ImageCriterion, ...]


image_mappings = table(
    "image_mappings", ImageMapping, key=("image_id", "device"), indexes=(("snapshot_id",), ("image_id",))
)
image_permissions = table(
    "image_permissions", ImagePermission, key=("image_id", "account_id"), indexes=(("account_id",),)
)
image_public_access = table("image_public_access", ImagePublicAccess, key=("account_id", "region"))
image_watermarks = table("image_watermarks", ImageWatermark, key=("image_id", "key"), indexes=(("account_id",),))
past_images = table("past_images", PastImage, key=("id",), indexes=(("account_id",),))
allowed_images = table("allowed_images", AllowedImages, key=("account_id", "region"))


def mappings_of(tx: Transaction, image_ids: list[ImageId]) -> dict[ImageId, list[ImageMapping]]:
    """Of each of these images, the root disk first."""
    found: dict[ImageId, list[ImageMapping]] = {image_id: [] for image_id in image_ids}
    roots = {image.id: image.root_device_name for image in tx.select(Image, images.c.id.in_(image_ids))}
    rows = tx.select(ImageMapping, image_mappings.c.image_id.in_(image_ids), order_by=(image_mappings.c.device,))
    for mapping in sorted(rows, key=lambda each: each.device != roots.get(each.image_id)):
        found[mapping.image_id].append(mapping)
    return found


def past_and_present(tx: Transaction, image_ids: Sequence[ImageId]) -> dict[ImageId, Image | PastImage]:
    """These images, whoever owns them; those of a closed account are not known any more."""
    past = {image.id: image for image in tx.select(PastImage, id=list(image_ids))}
    return {**past, **{image.id: image for image in tx.select(Image, id=list(image_ids))}}


def watermarks_of(tx: Transaction, image_ids: list[ImageId]) -> dict[ImageId, list[ImageWatermark]]:
    """Of each of these images, by their keys."""
    found: dict[ImageId, list[ImageWatermark]] = {image_id: [] for image_id in image_ids}
    for each in tx.select(ImageWatermark, image_id=image_ids, order_by=(image_watermarks.c.key,)):
        found[each.image_id].append(each)
    return found


def inherit_watermarks(tx: Transaction, source_id: ImageId, image: Image) -> None:
    """Have an image that is made of another carry its watermarks."""
    for each in watermarks_of(tx, [source_id])[source_id]:
        tx.insert(msgspec.structs.replace(each, image_id=image.id, account_id=image.owner_id))


def image_with(tx: Transaction, snapshot_id: SnapshotId) -> ImageId | None:
    """An image that needs a snapshot; one in the recycle bin does not keep it."""
    there = sa.exists().where(images.c.id == image_mappings.c.image_id, images.c.recycled_at.is_(None))
    mapping = tx.find(ImageMapping, there, snapshot_id=snapshot_id)
    return mapping.image_id if mapping is not None else None


def settle(tx: Transaction, snapshot: Snapshot) -> None:
    """A snapshot is taken, or is not: the image that waits for it, and for others, is there or has failed."""
    for mapping in tx.select(ImageMapping, snapshot_id=snapshot.id):
        image = tx.get(Image, mapping.image_id)
        if image is None or image.state != "pending":
            continue
        ids = [each.snapshot_id for each in tx.select(ImageMapping, image_id=image.id) if each.snapshot_id]
        states = {each.state for each in tx.select(Snapshot, id=ids)}
        if "error" in states:
            _imported(tx, tx.update(image, state="failed", state_reason="Client.SnapshotError"))
        elif states <= {"completed"}:
            _imported(tx, tx.update(image, state="available"))


def _imported(tx: Transaction, image: Image) -> None:
    """End the task that has imported the image, if one has."""
    task = tx.find(ImportTask, image_id=image.id)
    if task is None:
        return
    if image.state == "available":
        end(tx, task, "completed")
    else:
        end(tx, task, "deleted", "ClientError: The snapshots could not be copied.")
        discard(tx, image)


def discard(tx: Transaction, image: Image) -> None:
    """Have nothing left of an image that is not wanted any more while it is made."""
    ids = [each.snapshot_id for each in tx.select(ImageMapping, image_id=image.id) if each.snapshot_id]
    remove(tx, image)
    for snapshot in tx.select(Snapshot, id=ids):
        delete(tx, snapshot)


def remove(tx: Transaction, image: Image) -> None:
    """Nobody can find or use it any more; its snapshots and servers stay."""
    said = {name: getattr(image, name) for name in PastImage.__struct_fields__ if name != "account_id"}
    tx.insert(PastImage(account_id=image.owner_id, **said))
    tx.delete_where(ImageMapping, image_id=image.id)
    tx.delete_where(ImagePermission, image_id=image.id)
    tx.delete_where(ImageWatermark, image_id=image.id)
    delete_tags_of(tx, image.id)
    tx.delete(image)
