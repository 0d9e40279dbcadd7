"""Access keys of users and of the account's root: at most two each.

Without a user name, the keys are those of the user, or root, whose key has signed.
https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from freehold.records.access_keys import create_access_key as new_access_key
from freehold.records.accounts import AccessKey, AccessKeyUse, User
from freehold.records.feed import take_turn
from freehold.services.iam.errors import LimitExceeded, NoSuchEntity, ValidationError
from freehold.services.iam.paging import page
from freehold.services.iam.resources import load_user, of_record, user_named
from freehold.services.iam.users import own_user, root_name
from freehold.services.operation import Call, Needed, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import (
        CreateAccessKeyRequestTypeDef,
        DeleteAccessKeyRequestTypeDef,
        GetAccessKeyLastUsedRequestTypeDef,
        ListAccessKeysRequestTypeDef,
        UpdateAccessKeyRequestTypeDef,
    )

MAX_KEYS = 2


@operation(resources=user_named)
def create_access_key(call: Call, request: CreateAccessKeyRequestTypeDef) -> Response:
    """The secret is in this answer and nowhere else. Raises LimitExceeded at the third."""
    refuse_others(request, {"UserName"})
    take_turn(call.tx)
    user_id, name = _owner(call, request)
    if call.tx.count(AccessKey, account_id=call.account_id, user_id=user_id) >= MAX_KEYS:
        raise LimitExceeded("AccessKeysPerUser", MAX_KEYS)
    key, secret = new_access_key(call.tx, call.sealer, call.account_id, user_id)
    return {"AccessKey": _described(key, name) | {"SecretAccessKey": secret}}


@operation(resources=user_named)
def list_access_keys(call: Call, request: ListAccessKeysRequestTypeDef) -> Response:
    """Active and inactive ones, without their secrets."""
    refuse_others(request, {"UserName", "Marker", "MaxItems"})
    user_id, name = _owner(call, request)
    found = page(call, AccessKey, request, key=("id",), account_id=call.account_id, user_id=user_id)
    return {"AccessKeyMetadata": [_described(key, name) for key in found.rows], **found.end}


@operation(resources=user_named)
def update_access_key(call: Call, request: UpdateAccessKeyRequestTypeDef) -> Response:
    """An inactive key signs nothing from the moment of this answer on."""
    refuse_others(request, {"UserName", "AccessKeyId", "Status"})
    if request["Status"] == "Expired":
        raise ValidationError("A key becomes Active or Inactive; the status Expired cannot be set.")
    take_turn(call.tx)
    call.tx.update(_load(call, request), active=request["Status"] == "Active")
    return {}


@operation(resources=user_named)
def delete_access_key(call: Call, request: DeleteAccessKeyRequestTypeDef) -> Response:
    """A deleted key signs nothing from the moment of this answer on."""
    refuse_others(request, {"UserName", "AccessKeyId"})
    take_turn(call.tx)
    key = _load(call, request)
    call.tx.delete_where(AccessKeyUse, key_id=key.id)
    call.tx.delete(key)
    return {}


def _users_of_key(call: Call, request: GetAccessKeyLastUsedRequestTypeDef) -> list[str | Needed]:
    key = call.tx.find(AccessKey, id=request["AccessKeyId"], account_id=call.account_id)
    user = call.tx.get(User, key.user_id) if key and key.user_id else None
    return [of_record(call, request, user) if user else "*"]


@operation(resources=_users_of_key)
def get_access_key_last_used(call: Call, request: GetAccessKeyLastUsedRequestTypeDef) -> Response:
    """When, where and for what a key of the account last signed; up to a minute late."""
    refuse_others(request, {"AccessKeyId"})
    key = call.tx.find(AccessKey, id=request["AccessKeyId"], account_id=call.account_id)
    if key is None:
        raise _missed(request["AccessKeyId"])
    user = call.tx.get(User, key.user_id) if key.user_id else None
    use = call.tx.get(AccessKeyUse, key.id)
    return {
        "UserName": user.name if user else root_name(call),
        "AccessKeyLastUsed": {"LastUsedDate": use.used_at, "ServiceName": use.service, "Region": use.region}
        if use
        else {"ServiceName": "N/A", "Region": "N/A"},
    }


def _owner(call: Call, request: Any) -> tuple[str | None, str]:
    """Whose keys a request is about: the user's id, or None for the root, and the name. Raises NoSuchEntity, or
    ValidationError when a role names no user."""
    if "UserName" not in request and call.principal.kind == "root":
        return None, root_name(call)
    user = load_user(call, request["UserName"]) if "UserName" in request else own_user(call)
    return user.id, user.name


def _load(call: Call, request: Any) -> AccessKey:
    user_id, _ = _owner(call, request)
    key = call.tx.find(AccessKey, id=request["AccessKeyId"], account_id=call.account_id, user_id=user_id)
    if key is None:
        raise _missed(request["AccessKeyId"])
    return key


def _missed(key_id: str) -> NoSuchEntity:
    return NoSuchEntity(f"The Access Key with id {key_id}")


def _described(key: AccessKey, name: str) -> dict[str, Any]:
    return {
        "UserName": name,
        "AccessKeyId": key.id,
        "Status": "Active" if key.active else "Inactive",
        "CreateDate": key.created_at,
    }
