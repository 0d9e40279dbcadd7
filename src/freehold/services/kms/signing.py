"""Asymmetric keys: Sign, Verify, GetPublicKey, DeriveSharedSecret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from cryptography.exceptions import InvalidSignature as NotSigned
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import HashAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key

from freehold.records.keys import Key
from freehold.services.kms import materials
from freehold.services.kms.errors import DryRun, InvalidSignature, UnsupportedOperationException, Validation
from freehold.services.kms.grant_tokens import check_tokens
from freehold.services.kms.key_ids import check_usable, find, key_arn
from freehold.services.kms.permissions import named_by
from freehold.services.kms.specs import AGREE, ALGORITHMS_MEMBER, SIGN, hash_of
from freehold.services.kms.usage import check_use
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_kms.type_defs import (
        DeriveSharedSecretRequestTypeDef,
        GetPublicKeyRequestTypeDef,
        SignRequestTypeDef,
        VerifyRequestTypeDef,
    )

_SIGNED = {"GrantTokens", "KeyId", "Message", "MessageType", "SigningAlgorithm"}


@operation(resources=named_by(), read_only=True)
def sign(call: Call, request: SignRequestTypeDef) -> Response:
    """PKCS #1 signatures of RSA keys, DER of elliptic curves.

    Raises NotFoundException, DisabledException, KMSInvalidStateException, InvalidKeyUsageException,
    ValidationException.
    """
    refuse_others(request, _SIGNED)
    key, private = _signing_key(call, request)
    hashed = _hash(request)
    if request.get("DryRun"):
        raise DryRun()
    algorithm, message = request["SigningAlgorithm"], cast(bytes, request["Message"])
    if isinstance(private, ec.EllipticCurvePrivateKey):
        signature = private.sign(message, ec.ECDSA(hashed))
    else:
        signature = private.sign(message, _padding(algorithm), hashed)
    return {"KeyId": key_arn(key), "Signature": signature, "SigningAlgorithm": algorithm}


@operation(resources=named_by(), read_only=True)
def verify(call: Call, request: VerifyRequestTypeDef) -> Response:
    """Raises KMSInvalidSignatureException, and what Sign raises."""
    refuse_others(request, {*_SIGNED, "Signature"})
    key, private = _signing_key(call, request)
    hashed = _hash(request)
    if request.get("DryRun"):
        raise DryRun()
    algorithm = request["SigningAlgorithm"]
    signature, message = cast(bytes, request["Signature"]), cast(bytes, request["Message"])
    try:
        if isinstance(private, ec.EllipticCurvePrivateKey):
            private.public_key().verify(signature, message, ec.ECDSA(hashed))
        else:
            private.public_key().verify(signature, message, _padding(algorithm), hashed)
    except NotSigned:
        raise InvalidSignature() from None
    return {"KeyId": key_arn(key), "SignatureValid": True, "SigningAlgorithm": algorithm}


@operation(resources=named_by())
def get_public_key(call: Call, request: GetPublicKeyRequestTypeDef) -> Response:
    """Raises NotFoundException, DisabledException, KMSInvalidStateException, UnsupportedOperationException."""
    refuse_others(request, {"GrantTokens", "KeyId"})
    check_tokens(call, request)
    key = find(call, request["KeyId"])
    if not materials.spec_of(key).has_public_key:
        raise UnsupportedOperationException(
            f"{key_arn(key)} key spec is {key.spec} which is not valid for GetPublicKey."
        )
    check_usable(key)
    _record, material = materials.current(call.tx, call.sealer, key)
    return {
        "KeyId": key_arn(key),
        "PublicKey": materials.public_key_der(materials.private_key(material)),
        "CustomerMasterKeySpec": key.spec,
        "KeySpec": key.spec,
        "KeyUsage": key.usage,
        ALGORITHMS_MEMBER[key.usage]: list(materials.spec_of(key).algorithms[key.usage]),
    }


@operation(resources=named_by(), read_only=True)
def derive_shared_secret(call: Call, request: DeriveSharedSecretRequestTypeDef) -> Response:
    """ECDH: what the owner of the other private key derives from this key's public one.

    Raises what Sign raises.
    """
    refuse_others(request, {"GrantTokens", "KeyAgreementAlgorithm", "KeyId", "PublicKey"})
    check_tokens(call, request)
    key = find(call, request["KeyId"])
    check_use(call, key, AGREE, request["KeyAgreementAlgorithm"])
    _record, material = materials.current(call.tx, call.sealer, key)
    private = cast(ec.EllipticCurvePrivateKey, materials.private_key(material))
    try:
        public = load_der_public_key(cast(bytes, request["PublicKey"]))
    except (ValueError, UnsupportedAlgorithm):
        raise Validation("The public key is not valid: it must be DER-encoded SubjectPublicKeyInfo.") from None
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name != private.curve.name:
        raise Validation(f"The public key is not valid: it must be on the curve of a KMS key whose spec is {key.spec}.")
    if request.get("DryRun"):
        raise DryRun()
    return {
        "KeyId": key_arn(key),
        "SharedSecret": private.exchange(ec.ECDH(), public),
        "KeyAgreementAlgorithm": "ECDH",
        "KeyOrigin": key.origin,
    }


def _signing_key(call: Call, request: Mapping[str, Any]) -> tuple[Key, RSAPrivateKey | ec.EllipticCurvePrivateKey]:
    check_tokens(call, request)
    key = find(call, request["KeyId"])
    check_use(call, key, SIGN, request["SigningAlgorithm"])
    _record, material = materials.current(call.tx, call.sealer, key)
    return key, materials.private_key(material)


def _hash(request: Mapping[str, Any]) -> HashAlgorithm | utils.Prehashed:
    """How the message of the request becomes a digest. Raises ValidationException."""
    hashed = hash_of(request["SigningAlgorithm"])
    match request.get("MessageType", "RAW"):
        case "RAW":
            return hashed
        case "DIGEST" if len(request["Message"]) == hashed.digest_size:
            return utils.Prehashed(hashed)
        case "DIGEST":
            raise Validation(f"Digest is invalid length for algorithm {request['SigningAlgorithm']}.")
        case other:
            raise Validation(f"MessageType {other} is not valid for algorithm {request['SigningAlgorithm']}.")


def _padding(algorithm: str) -> padding.PSS | padding.PKCS1v15:
    """https://docs.aws.amazon.com/kms/latest/developerguide/symm-asymm-choose-key-spec.html: PSS with salts as long as
    the digest."""
    if algorithm.startswith("RSASSA_PSS"):
        return padding.PSS(padding.MGF1(hash_of(algorithm)), padding.PSS.DIGEST_LENGTH)
    return padding.PKCS1v15()
