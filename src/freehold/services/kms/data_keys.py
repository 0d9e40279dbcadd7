"""Data keys: GenerateDataKey, GenerateDataKeyPair, both without plaintext; GenerateRandom."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from freehold.records.keys import Key
from freehold.services.errors import UnsupportedOperation
from freehold.services.kms import materials
from freehold.services.kms.encryption import encrypted
from freehold.services.kms.errors import InvalidKeyUsage, Validation
from freehold.services.kms.grant_tokens import check_tokens
from freehold.services.kms.key_ids import find, key_arn
from freehold.services.kms.permissions import named_by
from freehold.services.kms.specs import ENCRYPT, SPECS
from freehold.services.kms.usage import check_use
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_kms.type_defs import (
        GenerateDataKeyPairRequestTypeDef,
        GenerateDataKeyPairWithoutPlaintextRequestTypeDef,
        GenerateDataKeyRequestTypeDef,
        GenerateDataKeyWithoutPlaintextRequestTypeDef,
        GenerateRandomRequestTypeDef,
    )

_DATA_KEY_BYTES = {"AES_256": 32, "AES_128": 16}
_DATA_KEY = {"EncryptionContext", "GrantTokens", "KeyId", "KeySpec", "NumberOfBytes"}
_KEY_PAIR = {"EncryptionContext", "GrantTokens", "KeyId", "KeyPairSpec"}


@operation(resources=named_by(), read_only=True)
def generate_data_key(call: Call, request: GenerateDataKeyRequestTypeDef) -> Response:
    """Raises NotFoundException, DisabledException, KMSInvalidStateException, InvalidKeyUsageException,
    ValidationException."""
    refuse_others(request, _DATA_KEY)
    plaintext, answer = _data_key(call, request)
    return answer | {"Plaintext": plaintext}


@operation(resources=named_by(), read_only=True)
def generate_data_key_without_plaintext(call: Call, request: GenerateDataKeyWithoutPlaintextRequestTypeDef) -> Response:
    """Raises what GenerateDataKey raises."""
    refuse_others(request, _DATA_KEY)
    _plaintext, answer = _data_key(call, request)
    return answer


@operation(resources=named_by(), read_only=True)
def generate_data_key_pair(call: Call, request: GenerateDataKeyPairRequestTypeDef) -> Response:
    """Raises what GenerateDataKey raises."""
    refuse_others(request, _KEY_PAIR)
    plaintext, answer = _key_pair(call, request)
    return answer | {"PrivateKeyPlaintext": plaintext}


@operation(resources=named_by(), read_only=True)
def generate_data_key_pair_without_plaintext(
    call: Call, request: GenerateDataKeyPairWithoutPlaintextRequestTypeDef
) -> Response:
    """Raises what GenerateDataKey raises."""
    refuse_others(request, _KEY_PAIR)
    _plaintext, answer = _key_pair(call, request)
    return answer


@operation(read_only=True)
def generate_random(_call: Call, request: GenerateRandomRequestTypeDef) -> Response:
    """1 to 1024 bytes from the system's generator. Raises ValidationException."""
    refuse_others(request, {"NumberOfBytes"})
    if "NumberOfBytes" not in request:
        raise Validation("NumberOfBytes is required.")
    return {"Plaintext": secrets.token_bytes(request["NumberOfBytes"])}


def _data_key(call: Call, request: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """(the plaintext, the answer without it)."""
    if ("KeySpec" in request) == ("NumberOfBytes" in request):
        raise Validation("Please specify either number of bytes or key spec.")
    size = _DATA_KEY_BYTES[request["KeySpec"]] if "KeySpec" in request else request["NumberOfBytes"]
    key = _symmetric(call, request)
    plaintext = secrets.token_bytes(size)
    blob, record = _under(call, key, plaintext, request)
    return plaintext, {"CiphertextBlob": blob, "KeyId": key_arn(key), "KeyMaterialId": record}


def _key_pair(call: Call, request: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
    spec = SPECS.get(request["KeyPairSpec"])
    if spec is None:
        raise UnsupportedOperation(f"A data key pair whose KeyPairSpec is {request['KeyPairSpec']}")
    key = _symmetric(call, request)
    plaintext = b"" if request.get("DryRun") else materials.generate(spec)
    blob, record = _under(call, key, plaintext, request)
    return plaintext, {
        "PrivateKeyCiphertextBlob": blob,
        "PublicKey": materials.public_key_der(materials.private_key(plaintext)),
        "KeyId": key_arn(key),
        "KeyPairSpec": spec.name,
        "KeyMaterialId": record,
    }


def _symmetric(call: Call, request: Mapping[str, Any]) -> Key:
    """The key of the request, which must be a symmetric encryption key."""
    check_tokens(call, request)
    key = find(call, request["KeyId"])
    check_use(call, key, ENCRYPT)
    if not materials.spec_of(key).symmetric:
        raise InvalidKeyUsage(f"{key_arn(key)} key spec is {key.spec} which is not valid for {call.operation}.")
    return key


def _under(call: Call, key: Key, plaintext: bytes, request: Mapping[str, Any]) -> tuple[bytes, str]:
    """(the ciphertext, the id of the material)."""
    blob, record = encrypted(
        call, key, plaintext, request.get("EncryptionContext", {}), dry=bool(request.get("DryRun"))
    )
    assert record is not None  # the key is symmetric
    return blob, record.id
