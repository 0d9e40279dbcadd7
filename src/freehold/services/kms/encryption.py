"""Encrypt, Decrypt, ReEncrypt.

A symmetric key makes ciphertexts of its own form (`Ciphertext`), an RSA key bare ones, as its public key does anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from freehold.records.keys import Key, KeyMaterial
from freehold.services.kms import materials
from freehold.services.kms.ciphertexts import Ciphertext
from freehold.services.kms.ciphertexts import encrypt as encrypt_symmetric
from freehold.services.kms.errors import DryRun, IncorrectKey, InvalidCiphertext, Validation
from freehold.services.kms.grant_tokens import check_tokens
from freehold.services.kms.key_ids import find, key_arn, of_ciphertext
from freehold.services.kms.permissions import decrypting, named_by
from freehold.services.kms.specs import ENCRYPT, hash_of
from freehold.services.kms.usage import check_use
from freehold.services.operation import Call, Needed, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_kms.type_defs import DecryptRequestTypeDef, EncryptRequestTypeDef, ReEncryptRequestTypeDef

SYMMETRIC = "SYMMETRIC_DEFAULT"
"""The algorithm of symmetric keys, and of requests that name none."""

_IGNORE_CIPHERTEXT = "IGNORE_CIPHERTEXT"


@operation(resources=named_by(), read_only=True)
def encrypt(call: Call, request: EncryptRequestTypeDef) -> Response:
    """Raises NotFoundException, DisabledException, KMSInvalidStateException, InvalidKeyUsageException,
    ValidationException."""
    refuse_others(request, {"EncryptionAlgorithm", "EncryptionContext", "GrantTokens", "KeyId", "Plaintext"})
    check_tokens(call, request)
    algorithm = request.get("EncryptionAlgorithm", SYMMETRIC)
    context = request.get("EncryptionContext", {})
    key = find(call, request["KeyId"])
    check_use(call, key, ENCRYPT, algorithm)
    blob, _record = encrypted(call, key, cast(bytes, request["Plaintext"]), context, algorithm, dry=_is_dry(request))
    return {"CiphertextBlob": blob, "KeyId": key_arn(key), "EncryptionAlgorithm": algorithm}


@operation(resources=decrypting("KeyId"), read_only=True)
def decrypt(call: Call, request: DecryptRequestTypeDef) -> Response:
    """Raises InvalidCiphertextException, IncorrectKeyException, AccessDeniedException (the ciphertext's key is not
    there), and what Encrypt raises."""
    refuse_others(
        request,
        {"CiphertextBlob", "DryRunModifiers", "EncryptionAlgorithm", "EncryptionContext", "GrantTokens", "KeyId"},
    )
    check_tokens(call, request)
    algorithm = request.get("EncryptionAlgorithm", SYMMETRIC)
    key, record, plaintext = _decrypted(call, request)
    if _is_dry(request):
        raise DryRun()
    answer: dict[str, Any] = {"KeyId": key_arn(key), "Plaintext": plaintext, "EncryptionAlgorithm": algorithm}
    return answer if record is None else answer | {"KeyMaterialId": record.id}


def _both_keys(call: Call, request: Mapping[str, Any]) -> Iterable[Needed | str]:
    yield from decrypting("SourceKeyId", action="kms:ReEncryptFrom", side="Source")(call, request)
    yield from named_by("DestinationKeyId", action="kms:ReEncryptTo", side="Destination")(call, request)


@operation(resources=_both_keys, read_only=True)
def re_encrypt(call: Call, request: ReEncryptRequestTypeDef) -> Response:
    """Decrypt and Encrypt in one, without the plaintext leaving. Raises what they raise."""
    refuse_others(
        request,
        {
            "CiphertextBlob",
            "DestinationEncryptionAlgorithm",
            "DestinationEncryptionContext",
            "DestinationKeyId",
            "DryRunModifiers",
            "GrantTokens",
            "SourceEncryptionAlgorithm",
            "SourceEncryptionContext",
            "SourceKeyId",
        },
    )
    check_tokens(call, request)
    source_algorithm = request.get("SourceEncryptionAlgorithm", SYMMETRIC)
    algorithm = request.get("DestinationEncryptionAlgorithm", SYMMETRIC)
    destination = find(call, request["DestinationKeyId"])
    check_use(call, destination, ENCRYPT, algorithm)
    source, from_material, plaintext = _decrypted(call, request, "Source")
    context = request.get("DestinationEncryptionContext", {})
    blob, to_material = encrypted(call, destination, plaintext, context, algorithm, dry=_is_dry(request))
    answer: dict[str, Any] = {
        "CiphertextBlob": blob,
        "SourceKeyId": key_arn(source),
        "KeyId": key_arn(destination),
        "SourceEncryptionAlgorithm": source_algorithm,
        "DestinationEncryptionAlgorithm": algorithm,
    }
    if from_material is not None:
        answer["SourceKeyMaterialId"] = from_material.id
    if to_material is not None:
        answer["DestinationKeyMaterialId"] = to_material.id
    return answer


def encrypted(
    call: Call,
    key: Key,
    plaintext: bytes,
    context: Mapping[str, str],
    algorithm: str = SYMMETRIC,
    *,
    dry: bool = False,
) -> tuple[bytes, KeyMaterial | None]:
    """(the ciphertext, the symmetric key's material that made it). `dry`: raise DryRunOperationException instead."""
    record, material = materials.current(call.tx, call.sealer, key)
    if algorithm == SYMMETRIC:
        if dry:
            raise DryRun()
        return encrypt_symmetric(key.id, record.version, material, plaintext, context), record
    _refuse_context(context)
    private = cast(RSAPrivateKey, materials.private_key(material))
    hashed = hash_of(algorithm)
    most = private.key_size // 8 - 2 * hashed.digest_size - 2  # RFC 8017, section 7.1.1
    if len(plaintext) > most:
        raise Validation(f"Algorithm {algorithm} and key spec {key.spec} cannot encrypt data larger than {most} bytes.")
    if dry:
        raise DryRun()
    return private.public_key().encrypt(plaintext, _oaep(algorithm)), None


def _decrypted(call: Call, request: Mapping[str, Any], side: str = "") -> tuple[Key, KeyMaterial | None, bytes]:
    """(the key, its material if symmetric, the plaintext). The members that say how begin with `side`."""
    blob, key_id = request.get("CiphertextBlob", b""), request.get(f"{side}KeyId")
    context, algorithm = (
        request.get(f"{side}EncryptionContext", {}),
        request.get(f"{side}EncryptionAlgorithm", SYMMETRIC),
    )
    if modifiers := request.get("DryRunModifiers"):
        if not _is_dry(request):
            raise Validation("DryRunModifiers can be specified only when DryRun is true.")
        if _IGNORE_CIPHERTEXT in modifiers:
            if key_id is None:
                raise Validation(f"A key must be named when DryRunModifiers has {_IGNORE_CIPHERTEXT}.")
            check_use(call, find(call, key_id), ENCRYPT, algorithm)
            raise DryRun()
    if not blob:
        raise Validation(
            "1 validation error detected: Value null at 'ciphertextBlob' failed to satisfy constraint: Member must "
            "not be null"
        )
    if algorithm != SYMMETRIC:
        if key_id is None:
            raise Validation("A KeyId is required to decrypt with an asymmetric KMS key.")
        _refuse_context(context)
        key = find(call, key_id)
        check_use(call, key, ENCRYPT, algorithm)
        _record, material = materials.current(call.tx, call.sealer, key)
        try:
            return key, None, cast(RSAPrivateKey, materials.private_key(material)).decrypt(blob, _oaep(algorithm))
        except ValueError:
            raise InvalidCiphertext() from None
    ciphertext = Ciphertext.read(blob)
    if key_id is not None:
        key = find(call, key_id)
        if key.id != ciphertext.key_id:
            raise IncorrectKey()
    else:
        key = of_ciphertext(call, ciphertext.key_id)
    check_use(call, key, ENCRYPT, algorithm)
    record = call.tx.find(KeyMaterial, key_id=key.id, version=ciphertext.version)
    if record is None:
        raise InvalidCiphertext()
    return key, record, ciphertext.decrypt(materials.opened(call.tx, call.sealer, key, record), context)


def _refuse_context(context: Mapping[str, str]) -> None:
    if context:
        raise Validation("An encryption context can be used only with symmetric encryption KMS keys.")


def _oaep(algorithm: str) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(hash_of(algorithm)), hash_of(algorithm), None)


def _is_dry(request: Mapping[str, Any]) -> bool:
    return bool(request.get("DryRun"))
