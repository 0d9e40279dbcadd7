"""Sign, Verify, MACs and key agreement; `cryptography` is the outside verifier."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from tests.kms.calls import refused

MESSAGE = b"to be signed"


@pytest.mark.parametrize(
    ("spec", "algorithm"),
    [
        ("RSA_2048", "RSASSA_PSS_SHA_256"),
        ("RSA_2048", "RSASSA_PSS_SHA_512"),
        ("RSA_2048", "RSASSA_PKCS1_V1_5_SHA_384"),
        ("ECC_NIST_P256", "ECDSA_SHA_256"),
        ("ECC_NIST_P384", "ECDSA_SHA_384"),
        ("ECC_NIST_P521", "ECDSA_SHA_512"),
        ("ECC_SECG_P256K1", "ECDSA_SHA_256"),
    ],
)
def test_signatures_hold_outside(kms: Any, spec: str, algorithm: str) -> None:
    key_id = kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    shown = kms.get_public_key(KeyId=key_id)
    assert (shown["KeySpec"], shown["KeyUsage"]) == (spec, "SIGN_VERIFY")
    assert algorithm in shown["SigningAlgorithms"]
    public: Any = load_der_public_key(shown["PublicKey"])
    bits = algorithm[-3:]
    hashed = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[bits]
    digest = hashlib.new(f"sha{bits}", MESSAGE).digest()
    raw = {"KeyId": key_id, "SigningAlgorithm": algorithm, "Message": MESSAGE}
    prehashed = raw | {"Message": digest, "MessageType": "DIGEST"}
    for asked, other in ((raw, prehashed), (prehashed, raw)):
        signature = kms.sign(**asked)["Signature"]
        if spec.startswith("ECC"):
            public.verify(signature, MESSAGE, ec.ECDSA(hashed))
        elif "PSS" in algorithm:
            public.verify(signature, MESSAGE, padding.PSS(padding.MGF1(hashed), hashed.digest_size), hashed)
        else:
            public.verify(signature, MESSAGE, padding.PKCS1v15(), hashed)
        assert kms.verify(**other, Signature=signature)["SignatureValid"] is True
        with refused("KMSInvalidSignatureException", ""):
            kms.verify(**(raw | {"Message": b"another"}), Signature=signature)
    with refused("KMSInvalidSignatureException", ""):
        kms.verify(**raw, Signature=b"no signature")
    with refused("ValidationException", f"Digest is invalid length for algorithm {algorithm}."):
        kms.sign(**(prehashed | {"Message": digest + b"x"}))
    with refused("DryRunOperationException"):
        kms.sign(**raw, DryRun=True)


def test_keys_sign_with_their_own_algorithms(kms: Any, key_id: str) -> None:
    arn = kms.describe_key(KeyId=key_id)["KeyMetadata"]["Arn"]
    with refused("InvalidKeyUsageException", f"{arn} key usage is ENCRYPT_DECRYPT which is not valid for Verify."):
        kms.verify(KeyId=key_id, Message=b"x", Signature=b"x", SigningAlgorithm="ECDSA_SHA_256")
    made = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]
    with refused("InvalidKeyUsageException", "Algorithm ECDSA_SHA_384 is incompatible with key spec ECC_NIST_P256."):
        kms.sign(KeyId=made["KeyId"], Message=b"x", SigningAlgorithm="ECDSA_SHA_384")
    with refused("ValidationException"):
        kms.sign(KeyId=made["KeyId"], Message=b"x", SigningAlgorithm="ECDSA_SHA_256", MessageType="EXTERNAL_MU")
    with refused("UnsupportedOperationException"):
        kms.get_public_key(KeyId=key_id)
    kms.disable_key(KeyId=made["KeyId"])
    with refused("DisabledException"):
        kms.get_public_key(KeyId=made["KeyId"])


@pytest.mark.parametrize("bits", [224, 256, 384, 512])
def test_macs(kms: Any, bits: int) -> None:
    key_id = kms.create_key(KeySpec=f"HMAC_{bits}", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
    asked = {"KeyId": key_id, "MacAlgorithm": f"HMAC_SHA_{bits}", "Message": MESSAGE}
    mac = kms.generate_mac(**asked)["Mac"]
    assert len(mac) == bits // 8
    assert kms.verify_mac(**asked, Mac=mac)["MacValid"] is True
    with refused("KMSInvalidMacException", ""):
        kms.verify_mac(**(asked | {"Message": b"another"}), Mac=mac)
    other = "HMAC_SHA_256" if bits != 256 else "HMAC_SHA_512"
    with refused("InvalidKeyUsageException", f"Algorithm {other} is incompatible with key spec HMAC_{bits}."):
        kms.generate_mac(**(asked | {"MacAlgorithm": other}))
    with refused("DryRunOperationException"):
        kms.generate_mac(**asked, DryRun=True)


@pytest.mark.parametrize(("spec", "curve"), [("ECC_NIST_P256", ec.SECP256R1()), ("ECC_NIST_P521", ec.SECP521R1())])
def test_a_secret_is_shared_with_the_other_private_key(kms: Any, spec: str, curve: ec.EllipticCurve) -> None:
    made = kms.create_key(KeySpec=spec, KeyUsage="KEY_AGREEMENT")["KeyMetadata"]
    mine = ec.generate_private_key(curve)
    public = mine.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    asked = {"KeyId": made["KeyId"], "KeyAgreementAlgorithm": "ECDH"}
    derived = kms.derive_shared_secret(**asked, PublicKey=public)
    theirs: Any = load_der_public_key(kms.get_public_key(KeyId=made["KeyId"])["PublicKey"])
    assert hmac.compare_digest(derived["SharedSecret"], mine.exchange(ec.ECDH(), theirs))
    assert (derived["KeyId"], derived["KeyOrigin"]) == (made["Arn"], "AWS_KMS")
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    for wrong in (b"no key", other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)):
        with refused("ValidationException"):
            kms.derive_shared_secret(**asked, PublicKey=wrong)
