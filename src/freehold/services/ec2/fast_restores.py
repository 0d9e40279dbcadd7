"""{Enable,Disable,Describe}FastSnapshotRestores: accepted, and true: every snapshot is restored at once here.

https://docs.aws.amazon.com/ebs/latest/userguide/ebs-fast-snapshot-restore.html
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from freehold.records.feed import take_turn
from freehold.records.snapshots import FastRestore, fast_restores
from freehold.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue, MissingParameter
from freehold.services.ec2.filters import Condition, conditions, constant, text
from freehold.services.ec2.paging import page
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.regions import zone_id_filter
from freehold.services.ec2.resources import SNAPSHOT, named_by
from freehold.services.ec2.snapshot_sharing import usable
from freehold.services.ec2.zones import zone_id
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        DescribeFastSnapshotRestoresRequestTypeDef,
        DisableFastSnapshotRestoresRequestTypeDef,
        EnableFastSnapshotRestoresRequestTypeDef,
    )

_FILTERS: dict[str, Condition] = {
    "availability-zone": text(fast_restores.c.zone),
    "availability-zone-id": zone_id_filter(fast_restores.c.zone),
    "owner-id": text(fast_restores.c.account_id),
    "snapshot-id": text(fast_restores.c.snapshot_id),
    "state": constant("enabled"),
}
_ENABLED = "Client.UserInitiated - Lifecycle state transition"


@operation(resources=named_by("SourceSnapshotIds", SNAPSHOT))
def enable_fast_snapshot_restores(call: Call, request: EnableFastSnapshotRestoresRequestTypeDef) -> Response:
    """Enabled when the call returns."""
    zones = _zones(call, request)
    take_turn(call.tx)
    enabled = []
    for snapshot_id in dict.fromkeys(request["SourceSnapshotIds"]):
        snapshot = usable(call, snapshot_id)
        for zone in zones:
            known = call.tx.get(FastRestore, snapshot.id, zone, call.account_id)
            enabled.append(known or FastRestore(snapshot.id, zone, call.account_id, call.region, call.now))
            call.tx.put(enabled[-1])
    return {"Successful": [_shown(each) for each in enabled], "Unsuccessful": []}


@operation(resources=named_by("SourceSnapshotIds", SNAPSHOT))
def disable_fast_snapshot_restores(call: Call, request: DisableFastSnapshotRestoresRequestTypeDef) -> Response:
    """Those that are not enabled are answered as AWS does: each with an error of its own."""
    zones = _zones(call, request)
    take_turn(call.tx)
    done: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for snapshot_id in dict.fromkeys(request["SourceSnapshotIds"]):
        snapshot = usable(call, snapshot_id)
        for zone in zones:
            known = call.tx.get(FastRestore, snapshot.id, zone, call.account_id)
            if known is None:
                error = {
                    "Code": "InvalidFastSnapshotRestoreState",
                    "Message": "Fast snapshot restores are not enabled for the snapshot in the Availability Zone.",
                }
                errors = [{"AvailabilityZone": zone, "Error": error}]
                failed.append({"SnapshotId": snapshot.id, "FastSnapshotRestoreStateErrors": errors})
                continue
            call.tx.delete(known)
            done.append(_shown(known) | {"State": "disabled", "DisablingTime": call.now, "DisabledTime": call.now})
    return {"Successful": done, "Unsuccessful": failed}


@operation()
def describe_fast_snapshot_restores(call: Call, request: DescribeFastSnapshotRestoresRequestTypeDef) -> Response:
    """Those that are enabled."""
    refuse_others(request, {"Filters", "MaxResults", "NextToken"})
    where = conditions(call, request.get("Filters", ()), _FILTERS)
    found = page(
        call,
        FastRestore,
        request,
        *where,
        key=("snapshot_id", "zone"),
        smallest=1,
        account_id=call.account_id,
        region=call.region,
    )
    return {"FastSnapshotRestores": [_shown(each) for each in found.rows], **found.token}


def _zones(
    call: Call, request: EnableFastSnapshotRestoresRequestTypeDef | DisableFastSnapshotRestoresRequestTypeDef
) -> Sequence[str]:
    refuse_others(request, {"AvailabilityZoneIds", "AvailabilityZones", "SourceSnapshotIds"})
    names, ids = request.get("AvailabilityZones", ()), request.get("AvailabilityZoneIds", ())
    if names and ids:
        raise InvalidParameterCombination("Specify either AvailabilityZones or AvailabilityZoneIds, but not both.")
    known = {f"{call.region}{letter}" for letter in call.config.zones}
    by_id = {zone_id(call.region, zone): zone for zone in known}
    if wrong := [each for each in names if each not in known] or [each for each in ids if each not in by_id]:
        raise InvalidParameterValue(f"Invalid availability zone: [{wrong[0]}]")
    if not names and not ids:
        raise MissingParameter("AvailabilityZones")
    return list(dict.fromkeys([*names, *(by_id[each] for each in ids)]))


def _shown(enabled: FastRestore) -> dict[str, Any]:
    at: dt.datetime = enabled.enabled_at
    return {
        "SnapshotId": enabled.snapshot_id,
        "AvailabilityZone": enabled.zone,
        "AvailabilityZoneId": zone_id(enabled.region, enabled.zone),
        "State": "enabled",
        "StateTransitionReason": _ENABLED,
        "OwnerId": enabled.account_id,
        "EnablingTime": at,
        "OptimizingTime": at,
        "EnabledTime": at,
    }
