"""Key policies: PutKeyPolicy, GetKeyPolicy, ListKeyPolicies.

A key has one policy, and its name is ``default``.
https://docs.aws.amazon.com/kms/latest/developerguide/key-policies.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from freehold.records.feed import take_turn
from freehold.services.kms.errors import NotFound
from freehold.services.kms.key_ids import find
from freehold.services.kms.paging import checked_limit
from freehold.services.kms.permissions import named_by
from freehold.services.kms.policy_documents import checked_policy
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_kms.type_defs import (
        GetKeyPolicyRequestTypeDef,
        ListKeyPoliciesRequestTypeDef,
        PutKeyPolicyRequestTypeDef,
    )

_NAME = "default"


@operation(resources=named_by(aliases=False))
def put_key_policy(call: Call, request: PutKeyPolicyRequestTypeDef) -> Response:
    """Raises NotFoundException, MalformedPolicyDocumentException, LimitExceededException."""
    refuse_others(request, {"BypassPolicyLockoutSafetyCheck", "KeyId", "Policy", "PolicyName"})
    _check_name(request.get("PolicyName", _NAME))
    take_turn(call.tx)
    key = find(call, request["KeyId"], aliases=False)
    bypass = request.get("BypassPolicyLockoutSafetyCheck", False)
    call.tx.update(key, policy=checked_policy(call, request["Policy"], key.id, bypass=bypass))
    return {}


@operation(resources=named_by(aliases=False))
def get_key_policy(call: Call, request: GetKeyPolicyRequestTypeDef) -> Response:
    """Raises NotFoundException."""
    refuse_others(request, {"KeyId", "PolicyName"})
    _check_name(request.get("PolicyName", _NAME))
    return {"Policy": find(call, request["KeyId"], aliases=False).policy, "PolicyName": _NAME}


@operation(resources=named_by(aliases=False))
def list_key_policies(call: Call, request: ListKeyPoliciesRequestTypeDef) -> Response:
    """All is on the first page; a Marker makes no difference. Raises NotFoundException."""
    refuse_others(request, {"KeyId", "Limit", "Marker"})
    checked_limit(request, default=100, most=1000)
    find(call, request["KeyId"], aliases=False)
    return {"PolicyNames": [_NAME], "Truncated": False}


def _check_name(name: str) -> None:
    if name != _NAME:
        raise NotFound(f"No such policy exists: a key's only policy is named {_NAME}.")
