"""From a KeyId of a request to its key: an id, an ARN, an alias or an alias's ARN.

https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id
"""

from __future__ import annotations

import re

from freehold.records.ids import AccountId
from freehold.records.keys import Key, KeyAlias
from freehold.services.kms.errors import AccessDenied, Disabled, InvalidArn, InvalidState, NotFound
from freehold.services.operation import Call

_KEY_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|mrk-[0-9a-f]{32}")
_ALIAS = re.compile(r"alias/[a-zA-Z0-9/_-]+")
_ARN = re.compile(r"arn:aws:kms:([a-z0-9-]+):([0-9]{12}):(key|alias)/([a-zA-Z0-9/_-]+)")


def key_arn(key: Key) -> str:
    return f"arn:aws:kms:{key.region}:{key.account_id}:key/{key.id}"


def account_of(given: str) -> str:
    """The account in an ARN; "" if it is none."""
    parts = _ARN.fullmatch(given)
    return parts[2] if parts else ""


def find(call: Call, given: str, *, aliases: bool = True, shared: bool | None = None) -> Key:
    """The key that a KeyId names; `aliases` is false for operations that take none.

    `shared`: an ARN may name another account's key, which only its policy or a grant opens; as `aliases` unless it is
    said. Raises NotFoundException, InvalidArnException.
    """
    named, account_id = given, call.account_id
    if given.startswith("arn:"):
        parts = _ARN.fullmatch(given)
        if parts is None:
            raise InvalidArn(f"Invalid arn {given}")
        region, account, kind, name = parts.groups()
        if region != call.region:
            raise NotFound(f"Invalid arn {region}")
        account_id = AccountId(account)
        if account_id != call.account_id and not (aliases if shared is None else shared):
            raise NotFound(f"{'Key' if kind == 'key' else 'Alias'} '{given}' does not exist")
        named = f"alias/{name}" if kind == "alias" else name
    if _ALIAS.fullmatch(named) and aliases:
        alias = call.tx.get(KeyAlias, account_id, call.region, named)
        if alias is None:
            raise NotFound(f"Alias arn:aws:kms:{call.region}:{account_id}:{named} is not found.")
        named = alias.key_id
    if not _KEY_ID.fullmatch(named):
        raise NotFound(f"Invalid keyId '{given}'")
    key = call.tx.find(Key, account_id=account_id, region=call.region, id=named)
    if key is None:
        raise NotFound(f"Key 'arn:aws:kms:{call.region}:{account_id}:key/{named}' does not exist")
    return key


def of_ciphertext(call: Call, key_id: str) -> Key:
    """The key that a ciphertext names, anyone's. Raises AccessDeniedException."""
    key = call.tx.find(Key, id=key_id, region=call.region)
    if key is None:
        raise AccessDenied()
    return key


def check_usable(key: Key) -> None:
    """Raises DisabledException or KMSInvalidStateException for a key that can not be used as it is.

    https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html
    """
    if key.state == "Disabled":
        raise Disabled(key_arn(key))
    check_not_pending(key)
    if key.state == "PendingImport":
        raise InvalidState(key_arn(key), "is pending import")


def check_not_pending(key: Key) -> None:
    """Raises KMSInvalidStateException for a key that is pending deletion."""
    if key.state == "PendingDeletion":
        raise InvalidState(key_arn(key), "is pending deletion")
