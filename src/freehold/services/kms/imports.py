"""Imported key material: GetParametersForImport, ImportKeyMaterial, DeleteImportedKeyMaterial.

The wrapping key is of one use: its private half travels in the import token, sealed, and is kept nowhere.
https://docs.aws.amazon.com/kms/latest/developerguide/importing-keys.html
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding
from cryptography.hazmat.primitives.serialization import load_der_private_key

from freehold.records.feed import take_turn
from freehold.records.keys import Key, KeyMaterial
from freehold.records.secrets import SealError
from freehold.records.store import Transaction
from freehold.services.errors import UnsupportedOperation
from freehold.services.kms import materials
from freehold.services.kms.errors import (
    ExpiredImportToken,
    IncorrectKeyMaterial,
    InvalidCiphertext,
    InvalidImportToken,
    InvalidState,
    Validation,
    WrongOrigin,
)
from freehold.services.kms.key_ids import check_not_pending, find, key_arn
from freehold.services.kms.permissions import named_by
from freehold.services.kms.specs import HASHES, SPECS, Spec
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_kms.type_defs import (
        DeleteImportedKeyMaterialRequestTypeDef,
        GetParametersForImportRequestTypeDef,
        ImportKeyMaterialRequestTypeDef,
    )

_PURPOSE = "import-token"
_TOKEN_LIFE = dt.timedelta(hours=24)
_LONGEST = dt.timedelta(days=365)
_WRAPPING = {
    "RSAES_OAEP_SHA_1": "SHA_1",
    "RSAES_OAEP_SHA_256": "SHA_256",
    "RSA_AES_KEY_WRAP_SHA_1": "SHA_1",
    "RSA_AES_KEY_WRAP_SHA_256": "SHA_256",
}


class _Token(msgspec.Struct, frozen=True, array_like=True):
    """What an import token holds."""

    private_key: bytes
    algorithm: str
    expires_at: dt.datetime


_tokens = msgspec.msgpack.Decoder(_Token)


@operation(resources=named_by(aliases=False))
def get_parameters_for_import(call: Call, request: GetParametersForImportRequestTypeDef) -> Response:
    """A public key to encrypt the material with, and a token to send along, both good for 24 hours.

    Raises NotFoundException, KMSInvalidStateException, UnsupportedOperationException, ValidationException.
    """
    refuse_others(request, {"KeyId", "WrappingAlgorithm", "WrappingKeySpec"})
    key = _external(call, request["KeyId"])
    check_not_pending(key)
    algorithm, wrapping = request["WrappingAlgorithm"], request["WrappingKeySpec"]
    if algorithm not in _WRAPPING:
        raise UnsupportedOperation(f"The WrappingAlgorithm {algorithm}")
    if wrapping not in SPECS:
        raise UnsupportedOperation(f"The WrappingKeySpec {wrapping}")
    if materials.spec_of(key).rsa_bits and algorithm.startswith("RSAES_"):
        raise Validation(f"WrappingAlgorithm {algorithm} can not wrap the material of a key whose spec is {key.spec}.")
    private = materials.generate(SPECS[wrapping])
    expires_at = call.now + _TOKEN_LIFE
    token = msgspec.msgpack.encode(_Token(private, algorithm, expires_at))
    return {
        "KeyId": key_arn(key),
        "ImportToken": call.sealer.seal(_PURPOSE, key.id, token),
        "PublicKey": materials.public_key_der(materials.private_key(private)),
        "ParametersValidTo": expires_at,
    }


@operation(resources=named_by(aliases=False))
def import_key_material(call: Call, request: ImportKeyMaterialRequestTypeDef) -> Response:
    """The key's material, the same again after it was deleted or has expired, or (symmetric keys) what the next
    RotateKeyOnDemand goes on to.

    Raises NotFoundException, KMSInvalidStateException, UnsupportedOperationException, ValidationException,
    InvalidImportTokenException, ExpiredImportTokenException, InvalidCiphertextException, IncorrectKeyMaterialException.
    """
    refuse_others(
        request,
        {
            "EncryptedKeyMaterial",
            "ExpirationModel",
            "ImportToken",
            "ImportType",
            "KeyId",
            "KeyMaterialDescription",
            "KeyMaterialId",
            "ValidTo",
        },
    )
    expires_at = _expiry(call, request)
    take_turn(call.tx)
    key = _external(call, request["KeyId"])
    check_not_pending(key)
    spec = materials.spec_of(key)
    if not spec.symmetric and (request.keys() & {"ImportType", "KeyMaterialDescription", "KeyMaterialId"}):
        raise Validation(
            "ImportType, KeyMaterialDescription and KeyMaterialId are valid only for symmetric encryption KMS keys."
        )
    material = _checked(spec, _unwrapped(call, key, request))
    record = _place(call, key, material, request)
    call.tx.put(
        msgspec.structs.replace(
            record,
            sealed=materials.sealed(call.tx, call.sealer, key, record.version, material).sealed,
            expires_at=expires_at,
            description=request.get("KeyMaterialDescription", record.description),
        )
    )
    changes: dict[str, Any] = {} if record.pending or key.material_id else {"material_id": record.id}
    if key.state == "PendingImport" and materials.is_whole(call.tx, key):
        changes["state"] = "Enabled"
    if changes:
        call.tx.update(key, **changes)
    return {"KeyId": key_arn(key), **({"KeyMaterialId": record.id} if spec.symmetric else {})}


@operation(resources=named_by(aliases=False))
def delete_imported_key_material(call: Call, request: DeleteImportedKeyMaterialRequestTypeDef) -> Response:
    """The key can not be used until the same is imported again. Without a KeyMaterialId: that which encrypts now.

    Raises NotFoundException, UnsupportedOperationException.
    """
    refuse_others(request, {"KeyId", "KeyMaterialId"})
    take_turn(call.tx)
    key = _external(call, request["KeyId"])
    wanted = request.get("KeyMaterialId", key.material_id)
    found = [record for record in materials.materials_of(call.tx, key) if record.id == wanted]
    if not found and request.get("KeyMaterialId"):
        raise IncorrectKeyMaterial(f"{wanted} is not a key material of {key_arn(key)}.")
    for record in found:
        forget_material(call.tx, record)
    return {"KeyId": key_arn(key), **({"KeyMaterialId": found[0].id} if found else {})}


def forget_material(tx: Transaction, record: KeyMaterial) -> None:
    """Delete material that was imported; its record stays, so that nothing else can be imported in its place."""
    tx.update(record, sealed=None, expires_at=None)
    key = tx.get(Key, record.key_id)
    if key is not None and key.state != "PendingDeletion" and not record.pending:
        tx.update(key, state="PendingImport")


def _external(call: Call, key_id: str) -> Key:
    key = find(call, key_id, aliases=False)
    if key.origin != "EXTERNAL":
        raise WrongOrigin(key_arn(key), key.origin)
    return key


def _expiry(call: Call, request: Mapping[str, Any]) -> dt.datetime | None:
    valid_to: dt.datetime | None = request.get("ValidTo")
    if request.get("ExpirationModel", "KEY_MATERIAL_EXPIRES") == "KEY_MATERIAL_DOES_NOT_EXPIRE":
        if valid_to is not None:
            raise Validation("ValidTo is not valid if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE")
        return None
    if valid_to is None:
        raise Validation("A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES")
    if not call.now < valid_to <= call.now + _LONGEST:
        raise Validation("ValidTo must be in the future, and at most 365 days from now.")
    return valid_to


def _unwrapped(call: Call, key: Key, request: Mapping[str, Any]) -> bytes:
    """The material as it was before it was encrypted."""
    try:
        token = _tokens.decode(call.sealer.open(_PURPOSE, key.id, request["ImportToken"]))
    except SealError:
        raise InvalidImportToken() from None
    if token.expires_at <= call.now:
        raise ExpiredImportToken()
    private = cast(rsa.RSAPrivateKey, materials.private_key(token.private_key))
    hashed = HASHES[_WRAPPING[token.algorithm]]
    oaep = padding.OAEP(padding.MGF1(hashed), hashed, None)
    encrypted: bytes = request["EncryptedKeyMaterial"]
    try:
        if token.algorithm.startswith("RSAES_"):
            return private.decrypt(encrypted, oaep)
        size = private.key_size // 8
        return aes_key_unwrap_with_padding(private.decrypt(encrypted[:size], oaep), encrypted[size:])
    except (ValueError, InvalidUnwrap):
        raise InvalidCiphertext() from None


def _checked(spec: Spec, given: bytes) -> bytes:
    """Material that a key of the spec can have, in the one form that it is kept in.

    Raises IncorrectKeyMaterialException. https://docs.aws.amazon.com/kms/latest/developerguide/importing-keys-conceptual.html
    """
    if not spec.has_public_key:
        least, most = spec.random_bytes
        if not least <= len(given) <= most:
            raise IncorrectKeyMaterial(f"Key material for key spec {spec.name} must have {least} to {most} bytes.")
        return given
    try:
        private = load_der_private_key(given, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise IncorrectKeyMaterial("The key material is not a private key in PKCS #8 form (DER).") from None
    match private:
        case rsa.RSAPrivateKey() if private.key_size == spec.rsa_bits:
            return materials.pkcs8(private)
        case ec.EllipticCurvePrivateKey() if spec.curve is not None and private.curve.name == spec.curve.name:
            return materials.pkcs8(private)
    raise IncorrectKeyMaterial(f"The key material is not of the key spec {spec.name}.")


def _place(call: Call, key: Key, material: bytes, request: Mapping[str, Any]) -> KeyMaterial:
    """The record that imported material belongs in: one of the key's, or a new one."""
    had = materials.materials_of(call.tx, key)
    of = materials.material_id(key.id, material)
    before = [record for record in had if record.id == of]
    if request.get("ImportType", "EXISTING_KEY_MATERIAL" if had else "NEW_KEY_MATERIAL") == "EXISTING_KEY_MATERIAL":
        if not before or request.get("KeyMaterialId", of) != of:
            raise IncorrectKeyMaterial("The key material is not the one that was imported into the KMS key before.")
        return before[0]
    if "KeyMaterialId" in request:
        raise Validation("KeyMaterialId can not be specified when ImportType is NEW_KEY_MATERIAL.")
    if before:
        raise IncorrectKeyMaterial("The key material is already associated with the KMS key.")
    if any(record.pending for record in had):
        raise InvalidState(key_arn(key), "already has imported key material that is pending rotation")
    version = had[-1].version + 1 if had else 1
    return msgspec.structs.replace(materials.sealed(call.tx, call.sealer, key, version, material), pending=bool(had))
