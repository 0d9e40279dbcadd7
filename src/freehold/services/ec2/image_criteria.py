"""Which images an account allows itself: those that meet one of its criteria, and its own.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-allowed-amis.html
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import sqlalchemy as sa

from freehold.records.compute import images
from freehold.records.images import AllowedImages, ImageCriterion, WatermarkFilter, image_watermarks
from freehold.services.ec2.filters import flag, matching
from freehold.services.operation import Call

_DAYS_MAX = 100 * 366  # no image is older


def settings(call: Call) -> AllowedImages:
    """What the account has chosen in the region."""
    chosen = call.tx.get(AllowedImages, call.account_id, call.region)
    return chosen or AllowedImages(call.account_id, call.region, "disabled", ())


def usable(call: Call) -> sa.ColumnElement[bool]:
    """The condition that an image may be found and used."""
    chosen = settings(call)
    return meets(call, chosen) if chosen.state == "enabled" else sa.true()


def meets(call: Call, chosen: AllowedImages) -> sa.ColumnElement[bool]:
    """The condition that an image is allowed once the criteria are applied. Without criteria only the account's own
    are."""
    return sa.or_(images.c.owner_id == call.account_id, *(_one(call, each) for each in chosen.criteria))


def allowed(call: Call) -> sa.ColumnElement[bool]:
    """The condition that an image is said to be allowed, be it applied or only looked at (``audit-mode``)."""
    chosen = settings(call)
    return sa.true() if chosen.state == "disabled" else meets(call, chosen)


def allowed_filter(call: Call, values: Sequence[str]) -> sa.ColumnElement[bool]:
    """The filter ``image-allowed``."""
    return flag(allowed(call))(call, values)


def _one(call: Call, criterion: ImageCriterion) -> sa.ColumnElement[bool]:
    """All that a criterion says must hold. No image here is of the Marketplace, or has its product codes."""
    conditions: list[sa.ColumnElement[bool]] = []
    if criterion.providers:
        amazon = sa.func.coalesce(images.c.owner_alias, "") == "amazon"
        conditions.append(
            sa.or_(images.c.owner_id.in_(criterion.providers), *([amazon] if "amazon" in criterion.providers else []))
        )
    if criterion.names:
        conditions.append(matching(images.c.name, criterion.names))
    if criterion.product_codes:
        conditions.append(sa.false())
    if criterion.watermarks:
        that = sa.or_(*(_marked(call, each) for each in criterion.watermarks))
        conditions.append(sa.exists().where(image_watermarks.c.image_id == images.c.id, that))
    if criterion.days_since_created is not None:
        conditions.append(images.c.created_at >= _days_ago(call, criterion.days_since_created))
    if criterion.days_since_deprecated is not None:
        at = images.c.deprecated_at
        conditions.append(sa.or_(at.is_(None), at > _days_ago(call, criterion.days_since_deprecated)))
    return sa.and_(*conditions)


def _marked(call: Call, wanted: WatermarkFilter) -> sa.ColumnElement[bool]:
    """The condition that a watermark is all that a filter says."""
    conditions: list[sa.ColumnElement[bool]] = []
    of = image_watermarks.c
    for column, pattern in ((of.key, wanted.key), (of.source_image_region, wanted.region)):
        if pattern is not None:
            conditions.append(matching(column, [pattern]))
    for at, days in (
        (of.source_image_created_at, wanted.days_since_source_created),
        (of.created_at, wanted.days_since_created),
    ):
        if days is not None:
            conditions.append(at >= _days_ago(call, days))
    return sa.and_(sa.true(), *conditions)


def _days_ago(call: Call, days: int) -> sa.ColumnElement[dt.datetime]:
    return sa.literal(call.now - dt.timedelta(days=min(days, _DAYS_MAX)), images.c.created_at.type)
