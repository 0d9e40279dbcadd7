"""Aliases: CreateAlias, UpdateAlias, DeleteAlias, ListAliases.

https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from freehold.records.feed import take_turn
from freehold.records.keys import Key, KeyAlias, key_aliases
from freehold.services.kms.errors import AlreadyExists, LimitExceeded, NotAuthorized, NotFound, Validation
from freehold.services.kms.key_ids import check_not_pending, find, key_arn
from freehold.services.kms.managed import MANAGED
from freehold.services.kms.materials import spec_of
from freehold.services.kms.paging import checked_limit, marker_after, read_marker
from freehold.services.kms.permissions import named_by, on_key
from freehold.services.operation import Call, Needed, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_kms.type_defs import (
        CreateAliasRequestTypeDef,
        DeleteAliasRequestTypeDef,
        ListAliasesRequestTypeDef,
        UpdateAliasRequestTypeDef,
    )

_NAME = re.compile(r"alias/[a-zA-Z0-9/_-]+")
_ALIASES_MAX = 50  # https://docs.aws.amazon.com/kms/latest/developerguide/resource-limits.html


Wanted: TypeAlias = Iterable[Needed | str]


def _alias_and_target(call: Call, request: CreateAliasRequestTypeDef | UpdateAliasRequestTypeDef) -> Wanted:
    return (call.arn(request["AliasName"]), *named_by("TargetKeyId", aliases=False)(call, request))


@operation(resources=_alias_and_target)
def create_alias(call: Call, request: CreateAliasRequestTypeDef) -> Response:
    """Raises AlreadyExistsException, NotFoundException, KMSInvalidStateException, LimitExceededException,
    ValidationException."""
    refuse_others(request, {"AliasName", "TargetKeyId"})
    name = _own_name(request["AliasName"])
    take_turn(call.tx)
    target = _target(call, request["TargetKeyId"])
    if call.tx.get(KeyAlias, call.account_id, call.region, name) is not None:
        raise AlreadyExists(call.arn(name))
    _check_count(call, target)
    call.tx.insert(KeyAlias(call.account_id, call.region, name, target.id, call.now, call.now))
    return {}


def _alias_and_both(call: Call, request: UpdateAliasRequestTypeDef) -> Wanted:
    return (*_alias_and_target(call, request), *_present(call, request))


@operation(resources=_alias_and_both)
def update_alias(call: Call, request: UpdateAliasRequestTypeDef) -> Response:
    """To another key of the same kind. Raises NotFoundException, KMSInvalidStateException, LimitExceededException,
    ValidationException."""
    refuse_others(request, {"AliasName", "TargetKeyId"})
    name = _own_name(request["AliasName"])
    take_turn(call.tx)
    alias = _load(call, name)
    target, before = _target(call, request["TargetKeyId"]), call.tx.get(Key, alias.key_id)
    assert before is not None  # aliases go with their key
    if (_kind(target), target.usage) != (_kind(before), before.usage):
        raise Validation(
            "The target key must be of the same type (symmetric, asymmetric or HMAC) and have the same key usage as "
            "the alias's current key."
        )
    if target.id != before.id:
        _check_count(call, target)
    call.tx.update(alias, key_id=target.id, updated_at=call.now)
    return {}


def _alias_and_its_key(call: Call, request: DeleteAliasRequestTypeDef) -> Wanted:
    return (call.arn(request["AliasName"]), *_present(call, request))


@operation(resources=_alias_and_its_key)
def delete_alias(call: Call, request: DeleteAliasRequestTypeDef) -> Response:
    """Raises NotFoundException, ValidationException."""
    refuse_others(request, {"AliasName"})
    name = _own_name(request["AliasName"])
    take_turn(call.tx)
    call.tx.delete(_load(call, name))
    return {}


@operation()
def list_aliases(call: Call, request: ListAliasesRequestTypeDef) -> Response:
    """By name; among them those of AWS managed keys, also before there is such a key. Raises NotFoundException."""
    refuse_others(request, {"KeyId", "Limit", "Marker"})
    limit = checked_limit(request, default=50, most=100)
    after = read_marker(request["Marker"]) if request.get("Marker") else ""
    equal: dict[str, Any] = {"account_id": call.account_id, "region": call.region}
    if request.get("KeyId"):
        equal["key_id"] = find(call, request["KeyId"], aliases=False).id
    found = call.tx.select(
        KeyAlias, key_aliases.c.name > after, order_by=(key_aliases.c.name,), limit=limit + 1, **equal
    )
    listed = {alias.name: _described(call, alias) for alias in found}
    if not request.get("KeyId"):
        used = {alias.name for alias in call.tx.select(KeyAlias, **equal, name=list(MANAGED))}
        listed |= {
            name: {"AliasName": name, "AliasArn": call.arn(name)}
            for name in MANAGED
            if name > after and name not in used
        }
    names = sorted(listed)
    return {"Aliases": [listed[name] for name in names[:limit]], **marker_after(names, limit)}


def _described(call: Call, alias: KeyAlias) -> dict[str, Any]:
    return {
        "AliasName": alias.name,
        "AliasArn": call.arn(alias.name),
        "TargetKeyId": alias.key_id,
        "CreationDate": alias.created_at,
        "LastUpdatedDate": alias.updated_at,
    }


def _own_name(name: str) -> str:
    """A name that a customer's alias may have."""
    if not name.startswith("alias/"):
        raise Validation(
            'Alias must start with the prefix "alias/". Please see '
            "https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html"
        )
    if not _NAME.fullmatch(name):
        raise Validation(f"{name} contains invalid characters for an alias")
    if name.startswith("alias/aws/"):
        raise NotAuthorized()
    return name


def _load(call: Call, name: str) -> KeyAlias:
    alias = call.tx.get(KeyAlias, call.account_id, call.region, name)
    if alias is None:
        raise NotFound(f"Alias {call.arn(name)} is not found.")
    return alias


def _present(call: Call, request: UpdateAliasRequestTypeDef | DeleteAliasRequestTypeDef) -> Wanted:
    """What is needed of the key that an alias has now."""
    name = request["AliasName"]
    alias = call.tx.get(KeyAlias, call.account_id, call.region, name) if _NAME.fullmatch(name) else None
    key = call.tx.get(Key, alias.key_id) if alias is not None else None
    return () if key is None else (on_key(call, key, cast(Mapping[str, Any], request)),)


def _target(call: Call, key_id: str) -> Key:
    if "alias/" in key_id:
        raise Validation("Aliases must refer to keys. Not aliases")
    target = find(call, key_id, aliases=False)
    if target.manager == "AWS":
        raise NotAuthorized()
    check_not_pending(target)
    return target


def _check_count(call: Call, target: Key) -> None:
    if call.tx.count(KeyAlias, key_id=target.id) >= _ALIASES_MAX:
        raise LimitExceeded(f"{key_arn(target)} already has {_ALIASES_MAX} aliases.")


def _kind(key: Key) -> str:
    spec = spec_of(key)
    return "symmetric" if spec.symmetric else "asymmetric" if spec.has_public_key else "HMAC"
