"""DescribeSnapshots, DescribeSnapshotTierStatus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.records.snapshots import Snapshot, snapshot_permissions, snapshots
from freehold.records.tags import tags_of
from freehold.services.ec2 import paging
from freehold.services.ec2.errors import InvalidParameterValue
from freehold.services.ec2.filters import Condition, absent, conditions, constant, flag, moment, number, text
from freehold.services.ec2.paging import not_with_ids
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import MAX_IDS, SNAPSHOT
from freehold.services.ec2.snapshot_sharing import shared_with
from freehold.services.ec2.snapshots import described
from freehold.services.ec2.tags import tag_list
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import DescribeSnapshotsRequestTypeDef, DescribeSnapshotTierStatusRequestTypeDef

_FILTERS: dict[str, Condition] = {
    "description": text(snapshots.c.description),
    "encrypted": flag(snapshots.c.encrypted),
    "owner-alias": absent,
    "owner-id": text(snapshots.c.account_id),
    "progress": text(sa.cast(snapshots.c.progress, sa.Text) + "%"),
    "snapshot-id": text(snapshots.c.id),
    "start-time": moment(snapshots.c.started_at),
    "status": text(snapshots.c.state),
    "storage-tier": constant("standard"),
    "transfer-type": absent,
    "volume-id": text(snapshots.c.volume_id),
    "volume-size": number(snapshots.c.size_gib),
}
_TIER_FILTERS: dict[str, Condition] = {
    "last-tiering-operation": absent,
    "snapshot-id": text(snapshots.c.id),
    "volume-id": text(snapshots.c.volume_id),
}


@operation()
def describe_snapshots(call: Call, request: DescribeSnapshotsRequestTypeDef) -> Response:
    """Those of the account, and those that others share with it."""
    refuse_others(request, {"Filters", "MaxResults", "NextToken", "OwnerIds", "RestorableByUserIds", "SnapshotIds"})
    not_with_ids(request, "SnapshotIds")
    where = conditions(call, request.get("Filters", ()), _FILTERS, snapshots.c.id)
    where += _restorable(call, request.get("RestorableByUserIds", ()))
    equal, visible = _visible(call, request.get("OwnerIds", ()))
    if ids := request.get("SnapshotIds"):
        _check_there(call, ids)
        where.append(snapshots.c.id.in_(ids))
    page = paging.page(call, Snapshot, request, *visible, *where, **equal)
    tags = tags_of(call.tx, [each.id for each in page.rows if each.account_id == call.account_id])
    shown = [described(each, tags.get(each.id, [])) for each in page.rows]
    return {"Snapshots": shown, **page.token}


@operation()
def describe_snapshot_tier_status(call: Call, request: DescribeSnapshotTierStatusRequestTypeDef) -> Response:
    """Of every snapshot of the account: it is in the standard tier, there is no other."""
    refuse_others(request, {"Filters", "MaxResults", "NextToken"})
    where = conditions(call, request.get("Filters", ()), _TIER_FILTERS, snapshots.c.id)
    page = paging.page(call, Snapshot, request, *where, **SNAPSHOT.owner(call))
    tags = tags_of(call.tx, [each.id for each in page.rows])
    shown = [
        {
            "SnapshotId": each.id,
            "VolumeId": each.volume_id,
            "Status": each.state,
            "OwnerId": each.account_id,
            "StorageTier": "standard",
            "Tags": tag_list(tags[each.id]),
        }
        for each in page.rows
    ]
    return {"SnapshotTierStatuses": shown, **page.token}


def _visible(call: Call, owners: Sequence[str]) -> tuple[Mapping[str, Any], list[sa.ColumnElement[bool]]]:
    """What the rows of these owners have (all, where none is named) that the caller may see. Where nobody shares
    anything with the caller, a page is a range of the index of their own."""
    named = _accounts(call, owners)
    shared = call.tx.connection.scalars(shared_with(call).limit(1)).first() is not None
    if (owners and named == {call.account_id}) or not shared:
        return SNAPSHOT.owner(call), [] if not owners or call.account_id in named else [sa.false()]
    own = sa.and_(*SNAPSHOT.visible(call))
    either = [snapshots.c.recycled_at.is_(None), sa.or_(own, snapshots.c.id.in_(shared_with(call)))]
    return {}, either + ([snapshots.c.account_id.in_(named)] if owners else [])


def _accounts(call: Call, named: Sequence[str]) -> set[str]:
    """PostgreSQL refuses a NUL in a parameter; no account has one."""
    return {call.account_id if each == "self" else each for each in named if "\0" not in each}


def _restorable(call: Call, users: Sequence[str]) -> list[sa.ColumnElement[bool]]:
    """Those of which the named may make volumes: an account, ``self``, or ``all`` (everyone)."""
    if not users:
        return []
    named = _accounts(call, users)
    given = sa.exists().where(
        snapshot_permissions.c.snapshot_id == snapshots.c.id, snapshot_permissions.c.grantee.in_(named)
    )
    return [sa.or_(given, snapshots.c.account_id == call.account_id) if call.account_id in named else given]


def _check_there(call: Call, ids: Sequence[str]) -> None:
    """Raises InvalidSnapshotID.Malformed, InvalidSnapshot.NotFound."""
    if len(ids) > MAX_IDS:
        raise InvalidParameterValue(f"At most {MAX_IDS} ids may be given in a request.")
    for each in ids:
        SNAPSHOT.check_form(each)
    found = {each.id for each in call.tx.select(Snapshot, id=list(ids), **SNAPSHOT.owner(call))}
    found |= set(call.tx.connection.scalars(shared_with(call).where(snapshot_permissions.c.snapshot_id.in_(ids))))
    if missing := [each for each in dict.fromkeys(ids) if each not in found]:
        raise SNAPSHOT.not_found(*missing)
