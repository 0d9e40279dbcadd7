"""From a KeyId of a request to its key: an id, an ARN, an alias or an alias's ARN.

https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from freehold.records.keys import Key, KeyAlias
from freehold.services.kms.errors import Disabled, InvalidArn, InvalidState, NotFound
from freehold.services.operation import Call, Resources

_KEY_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|mrk-[0-9a-f]{32}")
_ALIAS = re.compile(r"alias/[a-zA-Z0-9/_-]+")
_ARN = re.compile(r"arn:aws:kms:([a-z0-9-]+):([0-9]{12}):(key|alias)/([a-zA-Z0-9/_-]+)")


def key_arn(key: Key) -> str:
    return f"arn:aws:kms:{key.region}:{key.account_id}:key/{key.id}"


def find(call: Call, given: str, *, aliases: bool = True) -> Key:
    """The key that a KeyId names; `aliases` is false for operations that take none.

    Raises NotFoundException, InvalidArnException.
    """
    named = given
    if given.startswith("arn:"):
        parts = _ARN.fullmatch(given)
        if parts is None:
            raise InvalidArn(f"Invalid arn {given}")
        region, account_id, kind, name = parts.groups()
        if region != call.region:
            raise NotFound(f"Invalid arn {region}")
        if account_id != call.account_id:
            raise NotFound(f"{'Key' if kind == 'key' else 'Alias'} '{given}' does not exist")
        named = f"alias/{name}" if kind == "alias" else name
    if _ALIAS.fullmatch(named) and aliases:
        alias = call.tx.get(KeyAlias, call.account_id, call.region, named)
        if alias is None:
            raise NotFound(f"Alias {call.arn(named)} is not found.")
        named = alias.key_id
    if not _KEY_ID.fullmatch(named):
        raise NotFound(f"Invalid keyId '{given}'")
    key = call.tx.find(Key, account_id=call.account_id, region=call.region, id=named)
    if key is None:
        raise NotFound(f"Key '{call.arn(f'key/{named}')}' does not exist")
    return key


def named_by(member: str = "KeyId", *, aliases: bool = True) -> Resources:
    """For `operation(resources=…)`: the ARN of the key that a member names, or of what it would be."""

    def arns(call: Call, request: Mapping[str, Any]) -> Iterable[str]:
        given = request.get(member)
        if not given:
            return ("*",)
        try:
            return (key_arn(find(call, given, aliases=aliases)),)
        except (NotFound, InvalidArn):
            return (given if _ARN.fullmatch(given) else call.arn(f"key/{given}"),)

    return arns


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
