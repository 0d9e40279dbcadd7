"""Encoded authorization messages: why EC2 refused, for those who may know (sts:DecodeAuthorizationMessage).

The message is sealed for the account that was refused, and nothing of it is kept.
https://docs.aws.amazon.com/STS/latest/APIReference/API_DecodeAuthorizationMessage.html
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from freehold.iam.document import Statement
from freehold.records.ids import AccountId
from freehold.records.secrets import Sealer, SealError
from freehold.services.operation import Principal, Value

_PURPOSE = "authorization-message"


class InvalidMessage(Exception):
    """The text is no encoded message of this cloud for this account."""


def encode(
    sealer: Sealer,
    principal: Principal,
    action: str,
    resource: str,
    context: Mapping[str, Value],
    denied_by: Iterable[Statement],
) -> str:
    """The encoded message; `denied_by` are the statements that deny explicitly, if any do."""
    statements = [_statement(statement, principal) for statement in denied_by]
    message = {
        "allowed": False,
        "explicitDeny": bool(statements),
        "matchedStatements": {"items": statements},
        "failures": {"items": []},
        "context": {
            "principal": {
                "id": principal.unique_id,
                "name": principal.arn.rpartition("/")[2],
                "arn": principal.arn,
            },
            "action": action,
            "resource": resource,
            "conditions": {"items": [{"key": key, "values": _values(value)} for key, value in context.items()]},
        },
    }
    packed = zlib.compress(json.dumps(message, separators=(",", ":")).encode())
    return base64.urlsafe_b64encode(sealer.seal(_PURPOSE, principal.account_id, packed)).decode().rstrip("=")


def decode(sealer: Sealer, account_id: AccountId, encoded: str) -> str:
    """The message, in JSON. Raises InvalidMessage."""
    try:
        sealed = base64.b64decode(encoded.encode() + b"=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        return zlib.decompress(sealer.open(_PURPOSE, account_id, sealed)).decode()
    except (SealError, binascii.Error, ValueError):
        raise InvalidMessage from None


def _values(value: Value) -> dict[str, Any]:
    texts = (value,) if isinstance(value, str) else value or ()
    return {"items": [{"value": text} for text in texts]}


def _statement(statement: Statement, principal: Principal) -> dict[str, Any]:
    conditions = [{"key": key, "values": _values(values)} for _, key, values in statement.conditions]
    return {
        "statementId": statement.sid,
        "effect": "ALLOW" if statement.allow else "DENY",
        "principals": _values(principal.owner_id or principal.unique_id),
        "principalGroups": {"items": []},
        "actions": _values(statement.actions),
        "resources": _values(statement.resources),
        "conditions": {"items": conditions},
    }
