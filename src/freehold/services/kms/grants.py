"""Grants: CreateGrant, ListGrants, ListRetirableGrants, RetireGrant, RevokeGrant.

A grant lets one principal do some operations with one key, beside what policies say.
https://docs.aws.amazon.com/kms/latest/developerguide/grants.html
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from freehold.records.feed import take_turn
from freehold.records.keys import GrantConstraints, Key, KeyGrant
from freehold.services.kms.errors import (
    DryRun,
    InvalidArn,
    InvalidGrantId,
    InvalidGrantToken,
    LimitExceeded,
    NotFound,
    Validation,
)
from freehold.services.kms.grant_tokens import check_tokens, grant_of, new_token
from freehold.services.kms.key_ids import check_usable, find, key_arn
from freehold.services.kms.materials import spec_of
from freehold.services.kms.paging import Page, page, page_of
from freehold.services.kms.permissions import is_principal, named_by, on_key
from freehold.services.kms.specs import AGREE, ENCRYPT, MAC, SIGN
from freehold.services.operation import Call, Needed, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_kms.type_defs import (
        CreateGrantRequestTypeDef,
        ListGrantsRequestTypeDef,
        ListRetirableGrantsRequestTypeDef,
        RetireGrantRequestTypeDef,
        RevokeGrantRequestTypeDef,
    )

_PRINCIPAL = re.compile(
    r"arn:aws:(?:iam::\d{12}:(?:root|(?:user|role)/[\w+=,.@/-]+)"
    r"|sts::\d{12}:(?:assumed-role/[\w+=,.@-]+/[\w+=,.@-]+|federated-user/[\w+=,.@-]+))",
    re.ASCII,
)
_GRANT_ID = re.compile(r"[0-9a-f]{64}")
_PAIRS_MAX, _VALUE_MAX = 8, 384
_GRANTS_MAX = 50_000  # of a key: https://docs.aws.amazon.com/kms/latest/developerguide/resource-limits.html

# https://docs.aws.amazon.com/kms/latest/developerguide/grants.html#terms-grant-operations
_OF_ANY_KEY = {"CreateGrant", "DescribeKey", "RetireGrant"}
_OF_SYMMETRIC_KEYS = {
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
}
_OF_USAGE = {
    ENCRYPT: {"Decrypt", "Encrypt", "ReEncryptFrom", "ReEncryptTo"},
    SIGN: {"Sign", "Verify"},
    MAC: {"GenerateMac", "VerifyMac"},
    AGREE: {"DeriveSharedSecret"},
}


@operation(resources=named_by(aliases=False, shared=True))
def create_grant(call: Call, request: CreateGrantRequestTypeDef) -> Response:
    """A second one of the same Name and parameters is the first. Grants of service principals are not built.

    Raises NotFoundException, DisabledException, KMSInvalidStateException, InvalidArnException, ValidationException,
    LimitExceededException.
    """
    refuse_others(
        request,
        {
            "Constraints.EncryptionContextEquals",
            "Constraints.EncryptionContextSubset",
            "GranteePrincipal",
            "GrantTokens",
            "KeyId",
            "Name",
            "Operations",
            "RetiringPrincipal",
        },
    )
    check_tokens(call, request)
    if not request.get("GranteePrincipal"):
        raise Validation("You must specify a GranteePrincipal.")
    for principal in (request["GranteePrincipal"], request.get("RetiringPrincipal")):
        _check_principal(principal)
    take_turn(call.tx)
    key = find(call, request["KeyId"], aliases=False, shared=True)
    check_usable(key)
    operations = _operations(key, request["Operations"])
    grant = KeyGrant(
        key_id=key.id,
        id=secrets.token_hex(32),
        account_id=key.account_id,
        region=key.region,
        issuer_id=call.account_id,
        name=request.get("Name"),
        grantee=request["GranteePrincipal"],
        retiree=request.get("RetiringPrincipal"),
        operations=operations,
        constraints=_constraints(key, request.get("Constraints", {})),
        created_at=call.now,
    )
    if request.get("DryRun"):
        raise DryRun()
    same = _same(call, grant)
    if same is not None:
        return {"GrantId": same.id, "GrantToken": new_token(call.sealer, same)}
    if call.tx.count(KeyGrant, key_id=key.id) >= _GRANTS_MAX:
        raise LimitExceeded(f"{key_arn(key)} already has {_GRANTS_MAX} grants, which is the most.")
    call.tx.insert(grant)
    return {"GrantId": grant.id, "GrantToken": new_token(call.sealer, grant)}


@operation(resources=named_by(aliases=False, shared=True))
def list_grants(call: Call, request: ListGrantsRequestTypeDef) -> Response:
    """By id. Raises NotFoundException, InvalidMarkerException, InvalidGrantIdException."""
    refuse_others(request, {"GrantId", "GranteePrincipal", "KeyId", "Limit", "Marker"})
    key = find(call, request["KeyId"], aliases=False, shared=True)
    equal: dict[str, Any] = {"key_id": key.id}
    if request.get("GranteePrincipal"):
        equal["grantee"] = request["GranteePrincipal"]
    if request.get("GrantId"):
        _check_grant_id(request["GrantId"])
        found = page_of(call.tx.select(KeyGrant, **equal, id=request["GrantId"]), request, "id", default=50, most=100)
    else:
        found = page(call, KeyGrant, request, "id", default=50, most=100, **equal)
    return _listed(found)


@operation()
def list_retirable_grants(call: Call, request: ListRetirableGrantsRequestTypeDef) -> Response:
    """Those that a principal of the caller's account may retire, on whoever's keys in the region.

    Raises InvalidArnException, InvalidMarkerException, ValidationException.
    """
    refuse_others(request, {"Limit", "Marker", "RetiringPrincipal"})
    principal = request.get("RetiringPrincipal")
    if not principal:
        raise Validation("You must specify a RetiringPrincipal.")
    _check_principal(principal)
    if principal.split(":")[4] != call.account_id:
        raise InvalidArn(f"{principal} is not a principal of the account {call.account_id}.")
    found = page(call, KeyGrant, request, "id", default=50, most=100, retiree=principal, region=call.region)
    return _listed(found)


def _retired(call: Call, request: RetireGrantRequestTypeDef) -> Iterable[Needed | str]:
    """Who may retire a grant is said by the grant, before any policy."""
    grant = _named_to_retire(call, request)
    key = call.tx.get(Key, grant.key_id) if grant is not None else None
    if grant is None or key is None:
        return ("*",)
    needed = on_key(call, key, cast(Mapping[str, Any], request))
    mine = is_principal(call.principal, grant.retiree) or (
        is_principal(call.principal, grant.grantee) and "RetireGrant" in grant.operations
    )
    return (replace(needed, granted=lambda: True) if mine else needed,)


@operation(resources=_retired)
def retire_grant(call: Call, request: RetireGrantRequestTypeDef) -> Response:
    """By its token, or by its id and the key's ARN. Raises InvalidGrantTokenException, NotFoundException,
    ValidationException."""
    refuse_others(request, {"GrantId", "GrantToken", "KeyId"})
    take_turn(call.tx)
    if not request.get("GrantToken") and not (request.get("KeyId") and request.get("GrantId")):
        raise Validation("Either a grant token, or a grant ID and the ARN of its key, must be specified.")
    grant = _named_to_retire(call, request)
    if grant is None and request.get("GrantToken"):
        raise InvalidGrantToken()
    if grant is None:
        raise NotFound(f"Grant {request['GrantId']} does not exist")
    if request.get("DryRun"):
        raise DryRun()
    call.tx.delete(grant)
    return {}


@operation(resources=named_by(aliases=False, shared=True))
def revoke_grant(call: Call, request: RevokeGrantRequestTypeDef) -> Response:
    """Raises NotFoundException, InvalidGrantIdException."""
    refuse_others(request, {"GrantId", "KeyId"})
    _check_grant_id(request["GrantId"])
    take_turn(call.tx)
    key = find(call, request["KeyId"], aliases=False, shared=True)
    grant = call.tx.get(KeyGrant, key.id, request["GrantId"])
    if grant is None:
        raise NotFound(f"Grant {request['GrantId']} does not exist")
    if request.get("DryRun"):
        raise DryRun()
    call.tx.delete(grant)
    return {}


def _named_to_retire(call: Call, request: RetireGrantRequestTypeDef) -> KeyGrant | None:
    """The grant that the request names, if there is one in the region."""
    if request.get("GrantToken"):
        try:
            grant: KeyGrant | None = grant_of(call, request["GrantToken"])
        except InvalidGrantToken:
            return None
    else:
        key_id, grant_id = request.get("KeyId", ""), request.get("GrantId", "")
        if not _GRANT_ID.fullmatch(grant_id):
            return None
        grant = call.tx.find(KeyGrant, id=grant_id)
        if (
            grant is not None
            and key_id != _key_arn(grant)
            and (key_id, call.account_id) != (grant.key_id, grant.account_id)
        ):
            return None
    return grant if grant is not None and grant.region == call.region else None


def _key_arn(grant: KeyGrant) -> str:
    return f"arn:aws:kms:{grant.region}:{grant.account_id}:key/{grant.key_id}"


def _check_grant_id(grant_id: str) -> None:
    if not _GRANT_ID.fullmatch(grant_id):
        raise InvalidGrantId(f"{grant_id} is not a grant ID")


def _check_principal(arn: str | None) -> None:
    if arn is not None and not _PRINCIPAL.fullmatch(arn):
        raise InvalidArn("ARN does not refer to a valid principal")


def _operations(key: Key, asked: Iterable[str]) -> list[str]:
    """The operations of a request, each once. Raises ValidationException for one that the key can not do."""
    spec = spec_of(key)
    possible = _OF_ANY_KEY | _OF_USAGE[key.usage]
    possible |= _OF_SYMMETRIC_KEYS if spec.symmetric else set()
    possible |= {"GetPublicKey"} if spec.has_public_key else set()
    operations = list(dict.fromkeys(asked))
    if not operations:
        raise Validation("A grant must allow at least one operation.")
    if impossible := [operation for operation in operations if operation not in possible]:
        raise Validation(f"Grant operation {impossible[0]} is not valid for key spec {key.spec} and usage {key.usage}.")
    return operations


def _constraints(key: Key, asked: Mapping[str, Any]) -> GrantConstraints:
    """Raises ValidationException."""
    equals, subset = asked.get("EncryptionContextEquals"), asked.get("EncryptionContextSubset")
    for context in (equals, subset):
        if context and not spec_of(key).symmetric:
            raise Validation("Encryption context constraints are valid only for symmetric encryption KMS keys.")
        if context and (len(context) > _PAIRS_MAX or any(len(value) > _VALUE_MAX for value in context.values())):
            raise Validation(
                f"A grant constraint can have at most {_PAIRS_MAX} encryption context pairs, with values of at most "
                f"{_VALUE_MAX} characters."
            )
    return GrantConstraints(equals or None, subset or None)


def _same(call: Call, grant: KeyGrant) -> KeyGrant | None:
    """The grant that this named one repeats."""
    if grant.name is None:
        return None
    for present in call.tx.select(KeyGrant, grantee=grant.grantee, key_id=grant.key_id):
        alike = (present.name, present.retiree, sorted(present.operations), present.constraints, present.issuer_id)
        if alike == (grant.name, grant.retiree, sorted(grant.operations), grant.constraints, grant.issuer_id):
            return present
    return None


def _listed(found: Page[KeyGrant]) -> dict[str, Any]:
    return {"Grants": [_described(grant) for grant in found.rows], **found.more}


def _described(grant: KeyGrant) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "KeyId": _key_arn(grant),
        "GrantId": grant.id,
        "Name": grant.name or "",
        "CreationDate": grant.created_at,
        "GranteePrincipal": grant.grantee,
        "IssuingAccount": f"arn:aws:iam::{grant.issuer_id}:root",
        "Operations": grant.operations,
    }
    if grant.retiree is not None:
        answer["RetiringPrincipal"] = grant.retiree
    equals, subset = grant.constraints.equals, grant.constraints.subset
    constraints = {"EncryptionContextEquals": equals, "EncryptionContextSubset": subset}
    if equals or subset:
        answer["Constraints"] = {name: value for name, value in constraints.items() if value}
    return answer
