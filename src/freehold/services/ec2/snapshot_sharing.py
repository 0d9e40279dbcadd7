"""Snapshots that others may use: {Describe,Modify,Reset}SnapshotAttribute, and whether everyone may:
{Enable,Disable}SnapshotBlockPublicAccess, GetSnapshotBlockPublicAccessState.

Every account begins with all public sharing blocked.

https://docs.aws.amazon.com/ebs/latest/userguide/ebs-modifying-snapshot-permissions.html
https://docs.aws.amazon.com/ebs/latest/userguide/block-public-access-snapshots.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.records.feed import take_turn
from freehold.records.keys import Key
from freehold.records.snapshots import (
    Snapshot,
    SnapshotPermission,
    SnapshotSettings,
    snapshot_permissions,
    snapshot_settings,
    snapshots,
)
from freehold.services.ec2.errors import InvalidParameter, InvalidParameterCombination, InvalidParameterValue
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import SNAPSHOT
from freehold.services.ec2.snapshot_errors import PublicSharingBlocked
from freehold.services.operation import Call, Needed, Response, Value, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        DescribeSnapshotAttributeRequestTypeDef,
        DisableSnapshotBlockPublicAccessRequestTypeDef,
        EnableSnapshotBlockPublicAccessRequestTypeDef,
        GetSnapshotBlockPublicAccessStateRequestTypeDef,
        ModifySnapshotAttributeRequestTypeDef,
        ResetSnapshotAttributeRequestTypeDef,
    )

_CREATE_VOLUME = "createVolumePermission"
_EVERYONE = "all"
_CHANGES_MAX = 500
_ACCOUNT = re.compile(r"[0-9]{12}")


def shared_with(call: Call) -> sa.Select[Any]:
    """A query of the ids of the snapshots in the region that others share with the caller, by name or with everyone."""
    blocks = sa.select(snapshot_settings.c.public_access).where(
        snapshot_settings.c.account_id == snapshot_permissions.c.account_id,
        snapshot_settings.c.region == snapshot_permissions.c.region,
    )
    public = sa.and_(
        snapshot_permissions.c.grantee == _EVERYONE,
        sa.func.coalesce(blocks.scalar_subquery(), "block-all-sharing") != "block-all-sharing",
    )
    return sa.select(snapshot_permissions.c.snapshot_id).where(
        snapshot_permissions.c.region == call.region,
        snapshot_permissions.c.account_id != call.account_id,
        sa.or_(snapshot_permissions.c.grantee == call.account_id, public),
    )


def usable(call: Call, snapshot_id: str) -> Snapshot:
    """A snapshot of the caller's or that is shared with them. Raises InvalidSnapshot.NotFound."""
    SNAPSHOT.check_form(snapshot_id)
    own = SNAPSHOT.find(call, snapshot_id)
    there = (snapshots.c.id == snapshot_id, snapshots.c.recycled_at.is_(None))
    shared = own or call.tx.find(Snapshot, *there, snapshots.c.id.in_(shared_with(call)))
    if shared is None:
        raise SNAPSHOT.not_found(snapshot_id)
    return shared


def _asked(request: Mapping[str, Any]) -> str:
    """The attribute that is asked for. Raises InvalidParameterValue."""
    attribute = str(request.get("Attribute") or _CREATE_VOLUME)
    if attribute not in (_CREATE_VOLUME, "productCodes"):
        raise InvalidParameterValue(f"Value ({attribute}) for parameter attribute is invalid. Unknown attribute.")
    return attribute


def _needed(call: Call, request: Mapping[str, Any]) -> list[Needed]:
    keys: dict[str, Value] = {"ec2:Attribute": request.get("Attribute") or _CREATE_VOLUME}
    for change, words in (("Add", "add"), ("Remove", "remove")):
        given = _changes(request)[words]
        keys[f"ec2:{change}/userId"] = [each for each in given if each != _EVERYONE] or None
        keys[f"ec2:{change}/group"] = _EVERYONE if _EVERYONE in given else None
    return [SNAPSHOT.needed(call, request["SnapshotId"], keys=keys)]


def _needed_to_see(call: Call, request: Mapping[str, Any]) -> list[Needed]:
    return [SNAPSHOT.needed(call, request["SnapshotId"], keys={"ec2:Attribute": request["Attribute"]})]


@operation(resources=_needed_to_see)
def describe_snapshot_attribute(call: Call, request: DescribeSnapshotAttributeRequestTypeDef) -> Response:
    """Who may make volumes of it; no snapshot has product codes."""
    refuse_others(request, {"Attribute", "SnapshotId"})
    attribute = _asked(request)
    snapshot = SNAPSHOT.load(call, request["SnapshotId"])
    if attribute == "productCodes":
        return {"SnapshotId": snapshot.id, "ProductCodes": []}
    given = call.tx.select(SnapshotPermission, snapshot_id=snapshot.id)
    shown = [{"Group": _EVERYONE} if each.grantee == _EVERYONE else {"UserId": each.grantee} for each in given]
    return {"SnapshotId": snapshot.id, "CreateVolumePermissions": shown}


@operation(resources=_needed)
def modify_snapshot_attribute(call: Call, request: ModifySnapshotAttributeRequestTypeDef) -> Response:
    """Share it with accounts, or with everyone. Raises OperationNotPermitted where public sharing is blocked."""
    refuse_others(
        request, {"Attribute", "CreateVolumePermission", "GroupNames", "OperationType", "SnapshotId", "UserIds"}
    )
    if _asked(request) != _CREATE_VOLUME:
        raise InvalidParameterValue("Only volume creation permissions can be modified.")
    changes = _changes(request)
    added, removed = changes["add"], changes["remove"]
    if len(added) + len(removed) > _CHANGES_MAX:
        raise InvalidParameterValue(f"At most {_CHANGES_MAX} modifications may be made in a request.")
    if not added and not removed:
        raise InvalidParameterCombination("No attributes specified.")
    if wrong := [each for each in (*added, *removed) if each != _EVERYONE and not _ACCOUNT.fullmatch(each)]:
        raise InvalidParameterValue(f"Invalid value '{wrong[0]}' for user ID or group.")
    take_turn(call.tx)
    snapshot = SNAPSHOT.load(call, request["SnapshotId"])
    if added:
        _check_may_share(call, snapshot, public=_EVERYONE in added)
    for grantee in added:
        call.tx.put(SnapshotPermission(snapshot.id, grantee, snapshot.account_id, snapshot.region))
    call.tx.delete_where(SnapshotPermission, snapshot_id=snapshot.id, grantee=list(removed))
    return {}


@operation(resources=_needed_to_see)
def reset_snapshot_attribute(call: Call, request: ResetSnapshotAttributeRequestTypeDef) -> Response:
    """Share it with nobody."""
    refuse_others(request, {"Attribute", "SnapshotId"})
    if _asked(request) != _CREATE_VOLUME:
        raise InvalidParameterValue("Only volume creation permissions can be reset.")
    take_turn(call.tx)
    call.tx.delete_where(SnapshotPermission, snapshot_id=SNAPSHOT.load(call, request["SnapshotId"]).id)
    return {}


@operation()
def get_snapshot_block_public_access_state(
    call: Call, request: GetSnapshotBlockPublicAccessStateRequestTypeDef
) -> Response:
    """``block-all-sharing`` until the account says otherwise."""
    refuse_others(request, set())
    return {"State": _settings(call).public_access, "ManagedBy": "account"}


@operation()
def enable_snapshot_block_public_access(call: Call, request: EnableSnapshotBlockPublicAccessRequestTypeDef) -> Response:
    """What is shared with everyone already stays so, and is seen by others again as soon as it may be."""
    refuse_others(request, {"State"})
    state = request["State"]
    if state not in ("block-all-sharing", "block-new-sharing"):
        raise InvalidParameterValue(f"Invalid value '{state}' for State. Use block-all-sharing or block-new-sharing.")
    take_turn(call.tx)
    call.tx.put(SnapshotSettings(call.account_id, call.region, state))
    return {"State": state}


@operation()
def disable_snapshot_block_public_access(
    call: Call, request: DisableSnapshotBlockPublicAccessRequestTypeDef
) -> Response:
    """From here on snapshots may be shared with everyone."""
    refuse_others(request, set())
    take_turn(call.tx)
    call.tx.put(SnapshotSettings(call.account_id, call.region, "unblocked"))
    return {"State": "unblocked"}


def _settings(call: Call) -> SnapshotSettings:
    found = call.tx.get(SnapshotSettings, call.account_id, call.region)
    return found or SnapshotSettings(call.account_id, call.region)


def _check_may_share(call: Call, snapshot: Snapshot, *, public: bool) -> None:
    if public and snapshot.encrypted:
        raise InvalidParameter("Encrypted snapshots cannot be made public.")
    if public and _settings(call).public_access != "unblocked":
        raise PublicSharingBlocked
    key = call.tx.get(Key, (snapshot.kms_key_id or "").rpartition("/")[2])
    if snapshot.encrypted and key is not None and key.manager == "AWS":
        raise InvalidParameter(
            "Snapshots encrypted with the AWS Managed CMK can't be shared. Specify another snapshot."
        )


def _changes(request: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """Whom a request adds and removes: account ids, and ``all``. In the older form it does one of the two."""
    given = request.get("CreateVolumePermission") or {}
    older = [*(request.get("UserIds") or ()), *(request.get("GroupNames") or ())]
    kind = request.get("OperationType") or ("add" if older else "")
    found = {"add": _grantees(given.get("Add", ())), "remove": _grantees(given.get("Remove", ()))}
    if kind in found:
        found[kind] = [*found[kind], *older]
    return {name: list(dict.fromkeys(grantees)) for name, grantees in found.items()}


def _grantees(permissions: Iterable[Mapping[str, Any]]) -> list[str]:
    return [str(each[name]) for each in permissions for name in ("UserId", "Group") if each.get(name)]
