"""What KMS's operations need of whom: the key's policy must allow it, by itself or by leaving it to the account's IAM
policies, or a grant does.

https://docs.aws.amazon.com/kms/latest/developerguide/policy-evaluation.html; the condition keys are those of
https://docs.aws.amazon.com/kms/latest/developerguide/policy-conditions.html. A service that uses a key for someone says
so (kms:ViaService, kms:GrantIsForAWSResource) as `more` of `on_key`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from freehold.records.keys import GrantConstraints, Key, KeyAlias, KeyGrant
from freehold.records.tags import tags_of
from freehold.services.kms.ciphertexts import Ciphertext
from freehold.services.kms.errors import AccessDenied, InvalidArn, InvalidCiphertext, NotFound
from freehold.services.kms.key_ids import account_of, find, key_arn, of_ciphertext
from freehold.services.operation import Call, Needed, Principal, Resources, Value

Request = Mapping[str, Any]

_ENCRYPTING = ("Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey")
_FROM_REQUEST = {
    "kms:BypassPolicyLockoutSafetyCheck": "BypassPolicyLockoutSafetyCheck",
    "kms:DataKeyPairSpec": "KeyPairSpec",
    "kms:ExpirationModel": "ExpirationModel",
    "kms:GrantOperations": "Operations",
    "kms:GranteePrincipal": "GranteePrincipal",
    "kms:KeyAgreementAlgorithm": "KeyAgreementAlgorithm",
    "kms:MacAlgorithm": "MacAlgorithm",
    "kms:RetiringPrincipal": "RetiringPrincipal",
    "kms:RotationPeriodInDays": "RotationPeriodInDays",
    "kms:ScheduleKeyDeletionPendingWindowInDays": "PendingWindowInDays",
    "kms:SigningAlgorithm": "SigningAlgorithm",
    "kms:ValidTo": "ValidTo",
    "kms:WrappingAlgorithm": "WrappingAlgorithm",
    "kms:WrappingKeySpec": "WrappingKeySpec",
}


def named_by(
    member: str = "KeyId",
    *,
    aliases: bool = True,
    shared: bool | None = None,
    action: str = "",
    side: str = "",
) -> Resources:
    """For `operation(resources=…)`: the key that a member names (see `find`).

    `action` is the permission, where it is not named as the operation; `side` what the names of the members that belong
    to the key begin with (``Source`` and ``Destination`` of ReEncrypt).
    """

    def needed(call: Call, request: Request) -> Iterable[Needed]:
        given = request.get(member)
        if not given:
            return (Needed("*", action=action),)
        try:
            key = find(call, given, aliases=aliases, shared=shared)
        except (NotFound, InvalidArn):
            owner = account_of(given)
            arn = given if owner else call.arn(f"key/{given}")
            return (Needed(arn, action=action, account_id="" if owner == call.account_id else owner),)
        return (on_key(call, key, request, action=action, side=side, given=given),)

    return needed


def decrypting(member: str, *, action: str = "", side: str = "") -> Resources:
    """The same where a ciphertext names the key if the member does not."""
    by_name = named_by(member, action=action, side=side)

    def needed(call: Call, request: Request) -> Iterable[Needed | str]:
        if request.get(member):
            return by_name(call, request)
        try:
            key = of_ciphertext(call, Ciphertext.read(request.get("CiphertextBlob", b"")).key_id)
        except (AccessDenied, InvalidCiphertext):
            return (Needed("*", action=action),)
        return (on_key(call, key, request, action=action, side=side),)

    return needed


def on_key(
    call: Call, key: Key, request: Request, *, action: str = "", side: str = "", given: str = "", **more: Value
) -> Needed:
    """What is needed of a key that is there; `more` are further condition keys, without their ``kms:``."""
    context: Mapping[str, str] = request.get(f"{side}EncryptionContext", {})

    def keys() -> Mapping[str, Value]:
        return _condition_keys(call, key, request, context, side, given) | {f"kms:{name}": more[name] for name in more}

    return Needed(
        key_arn(key),
        action=action,
        keys=keys,
        tags=lambda: {tag.key: tag.value for tag in tags_of(call.tx, [key.id])[key.id]},
        account_id=key.account_id,
        policy=key.policy,
        required=True,
        granted=lambda: _granted(call, key, action.removeprefix("kms:") or call.operation, request, context),
    )


def is_principal(principal: Principal, arn: str | None) -> bool:
    """Whether an ARN in a grant names the caller: them, the role or user of their session, or root their account."""
    return arn is not None and arn in (principal.arn, principal.owner_arn)


def _condition_keys(
    call: Call, key: Key, request: Request, context: Mapping[str, str], side: str, given: str
) -> dict[str, Value]:
    found: dict[str, Value] = {
        "kms:CallerAccount": call.account_id,
        "kms:CustomerMasterKeySpec": key.spec,
        "kms:CustomerMasterKeyUsage": key.usage,
        "kms:GrantIsForAWSResource": "false",
        "kms:KeyOrigin": key.origin,
        "kms:KeySpec": key.spec,
        "kms:KeyUsage": key.usage,
        "kms:MultiRegion": "false",
        "kms:ResourceAliases": [alias.name for alias in call.tx.select(KeyAlias, key_id=key.id)],
    }
    if "alias/" in given:
        found["kms:RequestAlias"] = given[given.index("alias/") :]
    if call.operation.startswith(_ENCRYPTING):
        found["kms:EncryptionAlgorithm"] = request.get(f"{side}EncryptionAlgorithm", "SYMMETRIC_DEFAULT")
        found["kms:EncryptionContextKeys"] = list(context)
        found |= {f"kms:EncryptionContext:{name}": value for name, value in context.items()}
    if "SigningAlgorithm" in request:
        found["kms:MessageType"] = request.get("MessageType", "RAW")
    if call.operation == "ReEncrypt":
        both = (*decrypting("SourceKeyId")(call, request), *named_by("DestinationKeyId")(call, request))
        found["kms:ReEncryptOnSameKey"] = _text(len({needed.arn for needed in both if isinstance(needed, Needed)}) == 1)
    if constraints := request.get("Constraints"):
        found["kms:GrantConstraintType"] = next(iter(constraints))
    return found | from_request(request)


def from_request(request: Request) -> dict[str, Value]:
    """The condition keys that are parameters."""
    return {key: _text(request[member]) for key, member in _FROM_REQUEST.items() if member in request}


def _text(value: Any) -> Value:
    match value:
        case bool():
            return "true" if value else "false"
        case dt.datetime():
            return f"{value:%Y-%m-%dT%H:%M:%SZ}"
        case list():
            return [str(one) for one in value]
    return str(value)


def _granted(call: Call, key: Key, operation: str, request: Request, context: Mapping[str, str]) -> bool:
    """Whether one of the key's grants lets the caller do it."""
    mine = list(dict.fromkeys((call.principal.arn, call.principal.owner_arn)))
    for grant in call.tx.select(KeyGrant, grantee=mine, key_id=key.id):
        if operation not in grant.operations:
            continue
        if operation == "CreateGrant":
            if _within(grant, request):
                return True
        elif operation in ("DescribeKey", "RetireGrant") or _meets(grant.constraints, context):
            return True
    return False


def _meets(constraints: GrantConstraints, context: Mapping[str, str]) -> bool:
    if constraints.equals is not None and constraints.equals != context:
        return False
    return constraints.subset is None or constraints.subset.items() <= context.items()


def _within(parent: KeyGrant, request: Request) -> bool:
    """Whether the grant that is asked for allows no more than the one that lets the caller make it.
    https://docs.aws.amazon.com/kms/latest/developerguide/create-grant-overview.html ("CreateGrant")"""
    if not set(request.get("Operations", ())) <= set(parent.operations):
        return False
    asked: Mapping[str, Mapping[str, str]] = request.get("Constraints", {})
    equals, subset = asked.get("EncryptionContextEquals"), asked.get("EncryptionContextSubset")
    if parent.constraints.equals is not None:
        return equals == parent.constraints.equals
    if parent.constraints.subset is not None:
        return parent.constraints.subset.items() <= {**(subset or {}), **(equals or {})}.items()
    return True
