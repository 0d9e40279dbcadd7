"""Which trail a request names: by its name, in its region, or by its ARN."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from freehold.records.tags import tags_of
from freehold.records.trails import Trail
from freehold.services.cloudtrail.errors import ArnInvalid, InvalidHomeRegion, TrailNotFound
from freehold.services.operation import Call, Needed, Resources

_ARN = re.compile(r"arn:aws:cloudtrail:[a-z0-9-]+:\d{12}:trail/[A-Za-z0-9._-]{3,128}", re.ASCII)


def trail_arn(call: Call, name: str) -> str:
    """The ARN of a trail of this region, or the one that was given in the place of a name."""
    return name if name.startswith("arn:") else call.arn(f"trail/{name}")


def named_by(member: str) -> Resources:
    """The trail that a member of the request names, for policies."""

    def resources(call: Call, request: Mapping[str, Any]) -> Iterable[str | Needed]:
        name = request.get(member)
        return (needed(call, trail_arn(call, name)) if name else "*",)

    return resources


def needed(call: Call, arn: str) -> Needed:
    return Needed(arn, tags=lambda: {tag.key: tag.value for tag in tags_of(call.tx, [arn])[arn]})


def seen(call: Call) -> list[Trail]:
    """The trails of the region, and the multi-region ones of others."""
    found = call.tx.select(Trail, account_id=call.account_id)
    return [trail for trail in found if trail.multi_region or trail.home_region == call.region]


def find(call: Call, name: str) -> Trail:
    """Raises TrailNotFoundException, CloudTrailARNInvalidException."""
    if name.startswith("arn:"):
        if not _ARN.fullmatch(name):
            raise ArnInvalid(name)
        trail = call.tx.get(Trail, name)
    else:
        here = {trail.name: trail for trail in seen(call)}
        trail = call.tx.get(Trail, trail_arn(call, name)) or here.get(name)
    if trail is None or trail.account_id != call.account_id:
        raise TrailNotFound(name, call.account_id)
    return trail


def changeable(call: Call, name: str) -> Trail:
    """The same of a trail to be changed, which is done in its home region. Raises InvalidHomeRegionException too."""
    trail = find(call, name)
    if trail.home_region != call.region:
        raise InvalidHomeRegion(trail.arn, trail.home_region)
    return trail
