"""Rotation: EnableKeyRotation, DisableKeyRotation, GetKeyRotationStatus, RotateKeyOnDemand, ListKeyRotations.

A rotation gives a symmetric key new material; what the old ones encrypted still opens. Those that are due are made by
the controllers' housekeeping. https://docs.aws.amazon.com/kms/latest/developerguide/rotate-keys.html
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from freehold.records.feed import take_turn
from freehold.records.keys import Key, KeyMaterial
from freehold.records.secrets import Sealer
from freehold.records.store import Transaction
from freehold.services.kms import materials
from freehold.services.kms.errors import (
    Conflict,
    InvalidState,
    LimitExceeded,
    UnsupportedOperationException,
    WrongOrigin,
)
from freehold.services.kms.key_ids import check_usable, find, key_arn
from freehold.services.kms.paging import checked_limit, marker_after, read_marker
from freehold.services.kms.permissions import named_by
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_kms.type_defs import (
        DisableKeyRotationRequestTypeDef,
        EnableKeyRotationRequestTypeDef,
        GetKeyRotationStatusRequestTypeDef,
        ListKeyRotationsRequestTypeDef,
        RotateKeyOnDemandRequestTypeDef,
    )

_ON_DEMAND_MAX = 25  # https://docs.aws.amazon.com/kms/latest/APIReference/API_RotateKeyOnDemand.html
_SOON = dt.timedelta(minutes=20)  # ConflictException, on the same page


@operation(resources=named_by(aliases=False))
def enable_key_rotation(call: Call, request: EnableKeyRotationRequestTypeDef) -> Response:
    """Every RotationPeriodInDays (365) from now on.

    Raises NotFoundException, DisabledException, KMSInvalidStateException, UnsupportedOperationException.
    """
    refuse_others(request, {"KeyId", "RotationPeriodInDays"})
    take_turn(call.tx)
    key = _rotating(call, request["KeyId"])
    check_usable(key)
    days = request.get("RotationPeriodInDays", key.rotation_days or 365)
    if days != key.rotation_days:
        call.tx.update(key, rotation_days=days, rotates_at=call.now + dt.timedelta(days=days))
    return {}


@operation(resources=named_by(aliases=False))
def disable_key_rotation(call: Call, request: DisableKeyRotationRequestTypeDef) -> Response:
    """Raises what EnableKeyRotation raises."""
    refuse_others(request, {"KeyId"})
    take_turn(call.tx)
    key = _rotating(call, request["KeyId"])
    check_usable(key)
    call.tx.update(key, rotation_days=None, rotates_at=None)
    return {}


@operation(resources=named_by(aliases=False, shared=True))
def get_key_rotation_status(call: Call, request: GetKeyRotationStatusRequestTypeDef) -> Response:
    """A key that is pending deletion does not rotate. Raises NotFoundException, UnsupportedOperationException."""
    refuse_others(request, {"KeyId"})
    key = _rotating(call, request["KeyId"], shared=True)
    if key.rotation_days is None or key.state == "PendingDeletion":
        return {"KeyRotationEnabled": False, "KeyId": key.id}
    return {
        "KeyRotationEnabled": True,
        "KeyId": key.id,
        "RotationPeriodInDays": key.rotation_days,
        "NextRotationDate": key.rotates_at,
    }


@operation(resources=named_by(aliases=False))
def rotate_key_on_demand(call: Call, request: RotateKeyOnDemandRequestTypeDef) -> Response:
    """At once: to new material, or to that which was imported for it.

    Raises ConflictException, LimitExceededException, and what EnableKeyRotation raises.
    """
    refuse_others(request, {"KeyId"})
    take_turn(call.tx)
    key = _symmetric(find(call, request["KeyId"], aliases=False))
    check_usable(key)
    if key.rotates_at is not None and key.rotates_at - call.now < _SOON:
        raise Conflict(f"An automatic rotation of {key_arn(key)} is scheduled to begin within the next 20 minutes.")
    had = materials.materials_of(call.tx, key)
    if sum(record.rotation == "ON_DEMAND" for record in had) >= _ON_DEMAND_MAX:
        raise LimitExceeded(f"{key_arn(key)} has been rotated on demand {_ON_DEMAND_MAX} times, which is the most.")
    if key.origin == "AWS_KMS":
        rotate(call.tx, call.sealer, key, "ON_DEMAND")
    else:
        _rotate_to_imported(call, key, had)
    return {"KeyId": key_arn(key)}


@operation(resources=named_by(aliases=False))
def list_key_rotations(call: Call, request: ListKeyRotationsRequestTypeDef) -> Response:
    """In the order in which they were made. Raises NotFoundException, UnsupportedOperationException."""
    refuse_others(request, {"IncludeKeyMaterial", "KeyId", "Limit", "Marker"})
    limit = checked_limit(request, default=100, most=1000)
    key = _symmetric(find(call, request["KeyId"], aliases=False))
    had = materials.materials_of(call.tx, key)
    if request.get("IncludeKeyMaterial", "ROTATIONS_ONLY") == "ROTATIONS_ONLY":
        had = [record for record in had if record.rotation is not None]
    if request.get("Marker"):
        after = read_marker(request["Marker"])
        had = [record for record in had if _place(record) > after]
    return {
        "Rotations": [_described(key, record) for record in had[:limit]],
        **marker_after([_place(record) for record in had], limit),
    }


def rotate(tx: Transaction, sealer: Sealer, key: Key, kind: Literal["AUTOMATIC", "ON_DEMAND"]) -> None:
    """Give a symmetric key new material; a yearly rotation also sets when the next is due."""
    had = materials.materials_of(tx, key)
    record = materials.sealed(tx, sealer, key, had[-1].version + 1, materials.generate(materials.spec_of(key)))
    tx.insert(msgspec.structs.replace(record, rotation=kind, rotated_at=tx.now))
    changes: dict[str, Any] = {"material_id": record.id}
    if kind == "AUTOMATIC" and key.rotation_days is not None:
        changes["rotates_at"] = tx.now + dt.timedelta(days=key.rotation_days)
    tx.update(key, **changes)


def _rotate_to_imported(call: Call, key: Key, had: list[KeyMaterial]) -> None:
    waiting = [record for record in had if record.pending and record.sealed is not None]
    if not waiting:
        raise InvalidState(key_arn(key), "has no imported key material that is pending rotation")
    call.tx.update(waiting[0], pending=False, rotation="ON_DEMAND", rotated_at=call.now)
    call.tx.update(key, material_id=waiting[0].id)


def _symmetric(key: Key) -> Key:
    if not materials.spec_of(key).symmetric:
        raise UnsupportedOperationException(
            f"{key_arn(key)} key spec is {key.spec} which is not valid for this operation."
        )
    return key


def _rotating(call: Call, key_id: str, *, shared: bool = False) -> Key:
    """A key that can rotate by itself."""
    key = _symmetric(find(call, key_id, aliases=False, shared=shared))
    if key.origin != "AWS_KMS":
        raise WrongOrigin(key_arn(key), key.origin)
    return key


def _place(record: KeyMaterial) -> str:
    return f"{record.version:010}"


def _described(key: Key, record: KeyMaterial) -> dict[str, Any]:
    current = record.id == key.material_id
    answer: dict[str, Any] = {
        "KeyId": key.id,
        "KeyMaterialId": record.id,
        "KeyMaterialState": "PENDING_ROTATION" if record.pending else "CURRENT" if current else "NON_CURRENT",
    }
    if record.rotation is not None:
        answer |= {"RotationDate": record.rotated_at, "RotationType": record.rotation}
    if key.origin == "EXTERNAL":
        answer["ImportState"] = "IMPORTED" if record.sealed is not None else "PENDING_IMPORT"
        if record.description is not None:
            answer["KeyMaterialDescription"] = record.description
        if record.sealed is not None:
            expires = record.expires_at is not None
            answer["ExpirationModel"] = "KEY_MATERIAL_EXPIRES" if expires else "KEY_MATERIAL_DOES_NOT_EXPIRE"
            answer |= {"ValidTo": record.expires_at} if expires else {}
    return answer
