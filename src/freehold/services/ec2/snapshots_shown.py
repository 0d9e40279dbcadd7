"""DescribeSnapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from freehold.records.snapshots import snapshots
from freehold.records.tags import tags_of
from freehold.services.ec2 import paging
from freehold.services.ec2.filters import Condition, absent, constant, flag, moment, number, text
from freehold.services.ec2.paging import not_with_ids
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import SNAPSHOT
from freehold.services.ec2.snapshots import described
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import DescribeSnapshotsRequestTypeDef

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


@operation()
def describe_snapshots(call: Call, request: DescribeSnapshotsRequestTypeDef) -> Response:
    """Those of the account."""
    refuse_others(request, {"Filters", "MaxResults", "NextToken", "OwnerIds", "SnapshotIds"})
    not_with_ids(request, "SnapshotIds")
    where = []
    if owners := request.get("OwnerIds"):
        where.append(sa.true() if {"self", call.account_id} & set(owners) else sa.false())
    page = paging.described(call, SNAPSHOT, request, "SnapshotIds", _FILTERS, *where)
    tags = tags_of(call.tx, [snapshot.id for snapshot in page.rows])
    return {"Snapshots": [described(each, tags[each.id]) for each in page.rows], **page.token}
