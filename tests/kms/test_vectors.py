"""Public test vectors, by keys that are imported; and what others encrypt with a public key."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_public_key

from tests.kms.calls import refused
from tests.kms.test_imports import FOR_EVER, wrapped


@pytest.mark.parametrize(
    ("key", "message", "mac"),
    [
        (b"\x0b" * 32, b"Hi There", "198a607eb44bfbc69903a0f1cf2bbdc5ba0aa3f3d9ae3c1c7a3b1696a0b68cf7"),
        (
            b"Jefe" * 8,
            b"what do ya want for nothing?",
            "167f928588c5cc2eef8e3093caa0e87c9ff566a14794aa61648d81621a2a40c6",
        ),
    ],
)
def test_rfc_4868_hmac_sha_256(kms: Any, key: bytes, message: bytes, mac: str) -> None:
    """Section 2.7.2.1: AUTH256-1 and -2."""
    key_id = kms.create_key(Origin="EXTERNAL", KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"][
        "KeyId"
    ]
    kms.import_key_material(**wrapped(kms, key_id, key), **FOR_EVER)
    asked = {"KeyId": key_id, "MacAlgorithm": "HMAC_SHA_256", "Message": message}
    assert kms.generate_mac(**asked)["Mac"].hex() == mac
    assert kms.verify_mac(**asked, Mac=bytes.fromhex(mac))["MacValid"] is True


def test_rfc_6979_ecdsa_p256(kms: Any) -> None:
    """Section A.2.5: the signature of "sample" by SHA-256 holds, and of nothing else."""
    x = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
    r = 0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716
    s = 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8
    private = ec.derive_private_key(x, ec.SECP256R1())
    material = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    key_id = kms.create_key(Origin="EXTERNAL", KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    kms.import_key_material(**wrapped(kms, key_id, material), **FOR_EVER)
    public: Any = load_der_public_key(kms.get_public_key(KeyId=key_id)["PublicKey"])
    assert public.public_numbers().x == 0x60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6
    asked = {"KeyId": key_id, "SigningAlgorithm": "ECDSA_SHA_256", "Signature": encode_dss_signature(r, s)}
    assert kms.verify(**asked, Message=b"sample")["SignatureValid"] is True
    with refused("KMSInvalidSignatureException"):
        kms.verify(**asked, Message=b"test")


@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"])
def test_what_was_encrypted_outside_is_decrypted_here(kms: Any, algorithm: str) -> None:
    key_id = kms.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["KeyId"]
    public: Any = load_der_public_key(kms.get_public_key(KeyId=key_id)["PublicKey"])
    hashed = hashes.SHA1() if algorithm.endswith("SHA_1") else hashes.SHA256()
    blob = public.encrypt(b"from outside", padding.OAEP(padding.MGF1(hashed), hashed, None))
    opened = kms.decrypt(KeyId=key_id, EncryptionAlgorithm=algorithm, CiphertextBlob=blob)
    assert opened["Plaintext"] == b"from outside"
