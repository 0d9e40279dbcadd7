"""Encrypt, Decrypt, ReEncrypt and data keys; `cryptography` checks from outside what a public key can show."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)
from hypothesis import given
from hypothesis import strategies as st

from freehold.services.kms.ciphertexts import Ciphertext, canonical, encrypt
from freehold.services.kms.errors import InvalidCiphertext
from tests.cloudapi import ApiServer
from tests.kms.calls import refused

CONTEXT = {"tenant": "a", "purpose": "test"}
contexts = st.dictionaries(st.text(), st.text(), max_size=4)


def test_round_trip_with_and_without_naming_the_key(kms: Any, key_id: str) -> None:
    for plaintext in (b"x", bytes(4096)):
        made = kms.encrypt(KeyId=key_id, Plaintext=plaintext)
        for named in ({}, {"KeyId": key_id}, {"KeyId": made["KeyId"]}):
            opened = kms.decrypt(CiphertextBlob=made["CiphertextBlob"], **named)
            assert opened["Plaintext"] == plaintext
            assert (opened["KeyId"], opened["EncryptionAlgorithm"]) == (made["KeyId"], "SYMMETRIC_DEFAULT")
            assert opened["KeyMaterialId"] == kms.describe_key(KeyId=key_id)["KeyMetadata"]["CurrentKeyMaterialId"]
    with refused("ValidationException"):
        kms.encrypt(KeyId=key_id, Plaintext=bytes(4097))


def test_the_encryption_context_has_to_be_the_same(kms: Any, key_id: str) -> None:
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"secret", EncryptionContext=CONTEXT)["CiphertextBlob"]
    reordered = dict(reversed(CONTEXT.items()))
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=reordered)["Plaintext"] == b"secret"
    for wrong in ({}, {"tenant": "a"}, CONTEXT | {"tenant": "A"}, CONTEXT | {"more": ""}):
        with refused("InvalidCiphertextException", ""):
            kms.decrypt(CiphertextBlob=blob, EncryptionContext=wrong)


def test_a_ciphertext_that_was_changed_does_not_open(kms: Any, key_id: str) -> None:
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"secret")["CiphertextBlob"]
    for place in (0, 17, 21, 36, 37, len(blob) - 1):
        changed = bytearray(blob)
        changed[place] ^= 1
        with refused("InvalidCiphertextException", ""):
            kms.decrypt(CiphertextBlob=bytes(changed))
    for short in (blob[:-1], blob[:20], b"x"):
        with refused("InvalidCiphertextException", ""):
            kms.decrypt(CiphertextBlob=short)


def test_another_keys_ciphertext(api: ApiServer, kms: Any, key_id: str) -> None:
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"secret")["CiphertextBlob"]
    with refused(
        "IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation."
    ):
        kms.decrypt(CiphertextBlob=blob, KeyId=other)
    _, keys = api.create_account()
    for elsewhere in (api.client("kms", keys=keys), api.client("kms", region="eu-west-1")):
        with refused("AccessDeniedException"):
            elsewhere.decrypt(CiphertextBlob=blob)


def test_two_ciphertexts_of_the_same_differ(kms: Any, key_id: str) -> None:
    blobs = {kms.encrypt(KeyId=key_id, Plaintext=b"same")["CiphertextBlob"] for _ in range(3)}
    assert len(blobs) == 3


@pytest.mark.parametrize(
    ("spec", "algorithm", "most"),
    [
        ("RSA_2048", "RSAES_OAEP_SHA_1", 214),
        ("RSA_2048", "RSAES_OAEP_SHA_256", 190),
        ("RSA_3072", "RSAES_OAEP_SHA_256", 318),
    ],
)
def test_rsa_keys_encrypt(kms: Any, spec: str, algorithm: str, most: int) -> None:
    key_id = kms.create_key(KeySpec=spec, KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["KeyId"]
    made = kms.encrypt(KeyId=key_id, Plaintext=bytes(most), EncryptionAlgorithm=algorithm)
    asked = {"KeyId": key_id, "EncryptionAlgorithm": algorithm}
    opened = kms.decrypt(CiphertextBlob=made["CiphertextBlob"], **asked)
    assert opened["Plaintext"] == bytes(most)
    assert "KeyMaterialId" not in opened
    with refused(
        "ValidationException",
        f"Algorithm {algorithm} and key spec {spec} cannot encrypt data larger than {most} bytes.",
    ):
        kms.encrypt(KeyId=key_id, Plaintext=bytes(most + 1), EncryptionAlgorithm=algorithm)
    with refused("InvalidCiphertextException", ""):
        kms.decrypt(CiphertextBlob=made["CiphertextBlob"][:-1] + bytes([made["CiphertextBlob"][-1] ^ 1]), **asked)
    with refused("InvalidKeyUsageException", f"Algorithm SYMMETRIC_DEFAULT is incompatible with key spec {spec}."):
        kms.encrypt(KeyId=key_id, Plaintext=b"x")
    with refused("ValidationException"):
        kms.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionAlgorithm=algorithm, EncryptionContext=CONTEXT)
    with refused("ValidationException"):
        kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionAlgorithm=algorithm)


def test_keys_are_used_for_what_they_are_for(kms: Any) -> None:
    made = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]
    with refused("InvalidKeyUsageException", f"{made['Arn']} key usage is SIGN_VERIFY which is not valid for Encrypt."):
        kms.encrypt(KeyId=made["KeyId"], Plaintext=b"x")


def test_re_encrypt_changes_key_and_context(kms: Any, key_id: str) -> None:
    other = kms.create_key()["KeyMetadata"]
    first = kms.encrypt(KeyId=key_id, Plaintext=b"secret", EncryptionContext=CONTEXT)
    second = kms.re_encrypt(
        CiphertextBlob=first["CiphertextBlob"],
        SourceEncryptionContext=CONTEXT,
        DestinationKeyId=other["KeyId"],
        DestinationEncryptionContext={"moved": "yes"},
    )
    assert (second["SourceKeyId"], second["KeyId"]) == (first["KeyId"], other["Arn"])
    assert second["DestinationKeyMaterialId"] == other["CurrentKeyMaterialId"]
    opened = kms.decrypt(CiphertextBlob=second["CiphertextBlob"], EncryptionContext={"moved": "yes"})
    assert (opened["Plaintext"], opened["KeyId"]) == (b"secret", other["Arn"])
    with refused("InvalidCiphertextException"):
        kms.re_encrypt(CiphertextBlob=first["CiphertextBlob"], DestinationKeyId=other["KeyId"])
    with refused("IncorrectKeyException"):
        kms.re_encrypt(
            CiphertextBlob=first["CiphertextBlob"],
            SourceKeyId=other["KeyId"],
            SourceEncryptionContext=CONTEXT,
            DestinationKeyId=other["KeyId"],
        )


def test_data_keys(kms: Any, key_id: str) -> None:
    for asked, size in (({"KeySpec": "AES_256"}, 32), ({"KeySpec": "AES_128"}, 16), ({"NumberOfBytes": 64}, 64)):
        made = kms.generate_data_key(KeyId=key_id, EncryptionContext=CONTEXT, **asked)
        assert len(made["Plaintext"]) == size
        opened = kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=CONTEXT)
        assert (opened["Plaintext"], opened["KeyMaterialId"]) == (made["Plaintext"], made["KeyMaterialId"])
        hidden = kms.generate_data_key_without_plaintext(KeyId=key_id, **asked)
        assert "Plaintext" not in hidden
        assert len(kms.decrypt(CiphertextBlob=hidden["CiphertextBlob"])["Plaintext"]) == size
    for asked in ({}, {"KeySpec": "AES_256", "NumberOfBytes": 32}):
        with refused("ValidationException", "Please specify either number of bytes or key spec."):
            kms.generate_data_key(KeyId=key_id, **asked)


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P384", "ECC_SECG_P256K1"])
def test_data_key_pairs(kms: Any, key_id: str, spec: str) -> None:
    made = kms.generate_data_key_pair(KeyId=key_id, KeyPairSpec=spec)
    private = load_der_private_key(made["PrivateKeyPlaintext"], None)
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert public == made["PublicKey"]
    assert kms.decrypt(CiphertextBlob=made["PrivateKeyCiphertextBlob"])["Plaintext"] == made["PrivateKeyPlaintext"]
    hidden = kms.generate_data_key_pair_without_plaintext(KeyId=key_id, KeyPairSpec=spec)
    assert "PrivateKeyPlaintext" not in hidden
    assert load_der_public_key(hidden["PublicKey"])


def test_only_symmetric_keys_make_data_keys(kms: Any) -> None:
    made = kms.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]
    with refused("InvalidKeyUsageException"):
        kms.generate_data_key(KeyId=made["KeyId"], KeySpec="AES_256")


def test_random_bytes(kms: Any) -> None:
    assert len(kms.generate_random(NumberOfBytes=1024)["Plaintext"]) == 1024
    assert kms.generate_random(NumberOfBytes=32)["Plaintext"] != kms.generate_random(NumberOfBytes=32)["Plaintext"]
    with refused("ValidationException", "NumberOfBytes is required."):
        kms.generate_random()


def test_dry_run_says_what_would_happen(kms: Any, key_id: str) -> None:
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    for call, more in (
        ("encrypt", {"KeyId": key_id, "Plaintext": b"x"}),
        ("decrypt", {"CiphertextBlob": blob}),
        ("decrypt", {"KeyId": key_id, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}),
        ("re_encrypt", {"CiphertextBlob": blob, "DestinationKeyId": key_id}),
        ("generate_data_key", {"KeyId": key_id, "KeySpec": "AES_256"}),
        ("generate_data_key_pair", {"KeyId": key_id, "KeyPairSpec": "RSA_4096"}),
    ):
        with refused("DryRunOperationException"):
            getattr(kms, call)(**more, DryRun=True)
    kms.disable_key(KeyId=key_id)
    with refused("DisabledException"):
        kms.encrypt(KeyId=key_id, Plaintext=b"x", DryRun=True)


@given(plaintext=st.binary(max_size=64), context=contexts, other=contexts)
def test_a_ciphertext_opens_for_its_context_alone(
    plaintext: bytes, context: dict[str, str], other: dict[str, str]
) -> None:
    material = bytes(32)
    blob = encrypt("6a8e5bb8-0000-4000-8000-000000000001", 7, material, plaintext, context)
    read = Ciphertext.read(blob)
    assert (read.key_id, read.version) == ("6a8e5bb8-0000-4000-8000-000000000001", 7)
    assert read.decrypt(material, context) == plaintext
    if other != context:
        assert canonical(other) != canonical(context)
        with pytest.raises(InvalidCiphertext):
            read.decrypt(material, other)


@given(blob=st.binary(max_size=120))
def test_any_bytes_are_a_ciphertext_or_refused(blob: bytes) -> None:
    try:
        Ciphertext.read(blob).decrypt(bytes(32), {})
    except InvalidCiphertext:
        return
    pytest.fail("nobody made this ciphertext")
