"""Keys: CreateKey, DescribeKey, ListKeys, UpdateKeyDescription, EnableKey, DisableKey, ScheduleKeyDeletion,
CancelKeyDeletion.

A key that is pending deletion is deleted by the controllers' housekeeping when its time has come.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

from freehold.records.feed import take_turn
from freehold.records.keys import Key
from freehold.records.tags import put_tags
from freehold.services.errors import UnsupportedOperation
from freehold.services.kms import materials
from freehold.services.kms.errors import InvalidState, NotFound, Validation
from freehold.services.kms.grant_tokens import check_tokens
from freehold.services.kms.key_ids import check_not_pending, find, key_arn
from freehold.services.kms.managed import MANAGED, managed_key, with_first_material
from freehold.services.kms.paging import page
from freehold.services.kms.permissions import from_request, named_by
from freehold.services.kms.policy_documents import checked_policy, default_policy
from freehold.services.kms.specs import ALGORITHMS_MEMBER, ENCRYPT, SPECS, Spec
from freehold.services.kms.tags import KEY, checked_tags
from freehold.services.operation import Call, Needed, Response, Value, WriteNeeded, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_kms.type_defs import (
        CancelKeyDeletionRequestTypeDef,
        CreateKeyRequestTypeDef,
        DescribeKeyRequestTypeDef,
        DisableKeyRequestTypeDef,
        EnableKeyRequestTypeDef,
        ListKeysRequestTypeDef,
        ScheduleKeyDeletionRequestTypeDef,
        UpdateKeyDescriptionRequestTypeDef,
    )

_WINDOW_DAYS = range(7, 31)


def _new_material(_call: Call, request: CreateKeyRequestTypeDef) -> bytes | None:
    """RSA takes up to seconds: too long for a write transaction."""
    spec = SPECS.get(_spec_name(request))
    return materials.generate(spec) if spec is not None and request.get("Origin", "AWS_KMS") == "AWS_KMS" else None


def _new_key(call: Call, request: CreateKeyRequestTypeDef) -> Iterable[Needed]:
    spec = _spec_name(request)
    usage = request.get("KeyUsage", ENCRYPT)
    keys: dict[str, Value] = {
        "kms:CallerAccount": call.account_id,
        "kms:CustomerMasterKeySpec": spec,
        "kms:CustomerMasterKeyUsage": usage,
        "kms:KeyOrigin": request.get("Origin", "AWS_KMS"),
        "kms:KeySpec": spec,
        "kms:KeyUsage": usage,
        "kms:MultiRegion": "true" if request.get("MultiRegion") else "false",
        **from_request(cast(Mapping[str, Any], request)),
    }
    yield Needed("*", keys=lambda: keys)
    if request.get("Tags"):
        yield Needed(call.arn("key/*"), action="kms:TagResource", keys=lambda: keys)


@operation(resources=_new_key, prepare=_new_material)
def create_key(call: Call, request: CreateKeyRequestTypeDef) -> Response:
    """A key with material made here, or (Origin EXTERNAL) none until it is imported.

    Raises ValidationException, TagException, MalformedPolicyDocumentException, LimitExceededException, and
    UnsupportedOperation for specs and origins that are not built.
    """
    refuse_others(
        request,
        {
            "BypassPolicyLockoutSafetyCheck",
            "CustomerMasterKeySpec",
            "Description",
            "KeySpec",
            "KeyUsage",
            "Origin",
            "Policy",
            "Tags",
        },
        {"MultiRegion": False},
    )
    spec, usage, origin = _asked(request)
    _check_description(request.get("Description", ""))
    tags = checked_tags(request.get("Tags", ()))
    key_id = str(uuid.uuid4())
    policy = default_policy(call.account_id)
    if request.get("Policy"):
        bypass = request.get("BypassPolicyLockoutSafetyCheck", False)
        policy = checked_policy(call, request["Policy"], key_id, bypass=bypass)
    key = Key(
        id=key_id,
        account_id=call.account_id,
        region=call.region,
        description=request.get("Description", ""),
        spec=spec.name,
        usage=usage,
        origin=origin,
        manager="CUSTOMER",
        state="PendingImport",
        policy=policy,
        created_at=call.now,
    )
    made: bytes | None = call.prepared
    key = key if made is None else with_first_material(call.tx, call.sealer, key, made)
    call.tx.insert(key)
    put_tags(call.tx, call.account_id, "", KEY, key.id, tags)
    return {"KeyMetadata": described(call, key)}


@operation(resources=named_by())
def describe_key(call: Call, request: DescribeKeyRequestTypeDef) -> Response:
    """An alias of an AWS managed key (``alias/aws/ebs``) gets its key where it has none. Raises NotFoundException."""
    refuse_others(request, {"GrantTokens", "KeyId"})
    check_tokens(call, request)
    try:
        key = find(call, request["KeyId"])
    except NotFound:
        alias = request["KeyId"].removeprefix(call.arn(""))
        if alias not in MANAGED:
            raise
        if not call.tx.writable:
            raise WriteNeeded() from None
        key = managed_key(call.tx, call.sealer, call.account_id, call.region, alias)
    return {"KeyMetadata": described(call, key)}


@operation()
def list_keys(call: Call, request: ListKeysRequestTypeDef) -> Response:
    """The account's keys in the region. Accounts share none with each other here, so that ResourceOwners without SELF
    finds none."""
    refuse_others(request, {"Limit", "Marker", "ResourceOwners"})
    owners = cast(Mapping[str, Any], request).get("ResourceOwners", ["SELF"])
    if "SELF" not in owners:
        return {"Keys": [], "Truncated": False}
    found = page(call, Key, request, "id", default=100, most=1000, account_id=call.account_id, region=call.region)
    return {"Keys": [{"KeyId": key.id, "KeyArn": key_arn(key)} for key in found.rows], **found.more}


@operation(resources=named_by(aliases=False))
def update_key_description(call: Call, request: UpdateKeyDescriptionRequestTypeDef) -> Response:
    """Raises NotFoundException, KMSInvalidStateException."""
    refuse_others(request, {"KeyId", "Description"})
    _check_description(request["Description"])
    take_turn(call.tx)
    key = find(call, request["KeyId"], aliases=False)
    check_not_pending(key)
    call.tx.update(key, description=request["Description"])
    return {}


@operation(resources=named_by(aliases=False))
def enable_key(call: Call, request: EnableKeyRequestTypeDef) -> Response:
    """Raises NotFoundException, KMSInvalidStateException."""
    refuse_others(request, {"KeyId"})
    _switch(call, request["KeyId"], "Enabled")
    return {}


@operation(resources=named_by(aliases=False))
def disable_key(call: Call, request: DisableKeyRequestTypeDef) -> Response:
    """Raises NotFoundException, KMSInvalidStateException."""
    refuse_others(request, {"KeyId"})
    _switch(call, request["KeyId"], "Disabled")
    return {}


@operation(resources=named_by(aliases=False))
def schedule_key_deletion(call: Call, request: ScheduleKeyDeletionRequestTypeDef) -> Response:
    """From here on the key can not be used. Raises NotFoundException, KMSInvalidStateException, ValidationException."""
    refuse_others(request, {"KeyId", "PendingWindowInDays"})
    days = request.get("PendingWindowInDays", 30)
    if days not in _WINDOW_DAYS:
        raise Validation(f"PendingWindowInDays must be between 7 and 30 days (inclusive), not {days}.")
    take_turn(call.tx)
    key = find(call, request["KeyId"], aliases=False)
    check_not_pending(key)
    deletion_at = call.now + dt.timedelta(days=days)
    call.tx.update(key, state="PendingDeletion", deletion_at=deletion_at)
    return {
        "KeyId": key_arn(key),
        "DeletionDate": deletion_at,
        "KeyState": "PendingDeletion",
        "PendingWindowInDays": days,
    }


@operation(resources=named_by(aliases=False))
def cancel_key_deletion(call: Call, request: CancelKeyDeletionRequestTypeDef) -> Response:
    """The key is disabled then. Raises NotFoundException, KMSInvalidStateException."""
    refuse_others(request, {"KeyId"})
    take_turn(call.tx)
    key = find(call, request["KeyId"], aliases=False)
    if key.state != "PendingDeletion":
        raise InvalidState(key_arn(key), "is not pending deletion")
    call.tx.update(key, state="Disabled" if materials.is_whole(call.tx, key) else "PendingImport", deletion_at=None)
    return {"KeyId": key_arn(key)}


def described(call: Call, key: Key) -> dict[str, Any]:
    """The key's KeyMetadata."""
    answer: dict[str, Any] = {
        "AWSAccountId": key.account_id,
        "KeyId": key.id,
        "Arn": key_arn(key),
        "CreationDate": key.created_at,
        "Enabled": key.state == "Enabled",
        "Description": key.description,
        "KeyUsage": key.usage,
        "KeyState": key.state,
        "Origin": key.origin,
        "KeyManager": key.manager,
        "CustomerMasterKeySpec": key.spec,
        "KeySpec": key.spec,
        ALGORITHMS_MEMBER[key.usage]: list(SPECS[key.spec].algorithms[key.usage]),
        "MultiRegion": False,
    }
    if key.deletion_at is not None:
        answer["DeletionDate"] = key.deletion_at
    if key.material_id is not None and SPECS[key.spec].symmetric:
        answer["CurrentKeyMaterialId"] = key.material_id
    imported = materials.materials_of(call.tx, key) if key.origin == "EXTERNAL" else []
    if any(record.sealed is not None for record in imported):
        expiries = [record.expires_at for record in imported if record.expires_at and not record.pending]
        answer["ExpirationModel"] = "KEY_MATERIAL_EXPIRES" if expiries else "KEY_MATERIAL_DOES_NOT_EXPIRE"
        answer |= {"ValidTo": min(expiries)} if expiries else {}
    return answer


def _check_description(text: str) -> None:
    if "\0" in text:  # which no database keeps
        raise Validation("The description has a control character.")


def _spec_name(request: CreateKeyRequestTypeDef) -> str:
    return request.get("KeySpec") or request.get("CustomerMasterKeySpec") or "SYMMETRIC_DEFAULT"


def _asked(request: CreateKeyRequestTypeDef) -> tuple[Spec, str, str]:
    """(spec, usage, origin) of the key that is asked for."""
    if request.get("KeySpec") and request.get("CustomerMasterKeySpec"):
        raise Validation(
            "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is "
            "deprecated."
        )
    origin = request.get("Origin", "AWS_KMS")
    if origin not in ("AWS_KMS", "EXTERNAL"):
        raise UnsupportedOperation(f"A key whose Origin is {origin} (a custom key store)")
    name = _spec_name(request)
    if name not in SPECS:
        raise UnsupportedOperation(f"A key whose KeySpec is {name}")
    spec = SPECS[name]
    usage = request.get("KeyUsage", ENCRYPT if spec.symmetric else "")
    if not usage:
        raise Validation("You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.")
    if usage not in spec.algorithms:
        raise Validation(f"KeyUsage {usage} is not compatible with KeySpec {name}")
    return spec, usage, origin


def _switch(call: Call, key_id: str, state: Literal["Enabled", "Disabled"]) -> None:
    take_turn(call.tx)
    key = find(call, key_id, aliases=False)
    check_not_pending(key)
    if key.state == "PendingImport":
        raise InvalidState(key_arn(key), "is pending import")
    call.tx.update(key, state=state)
