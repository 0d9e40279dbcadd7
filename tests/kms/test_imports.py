"""Imported key material: wrapped as AWS documents it, by `cryptography` from outside."""

from __future__ import annotations

import datetime as dt
import os
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)

from tests.kms.calls import refused

FOR_EVER = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}


@pytest.fixture
def external(kms: Any) -> str:
    """A symmetric key without material."""
    created: str = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
    return created


def oaep(algorithm: str) -> padding.OAEP:
    hashed = hashes.SHA1() if algorithm.endswith("SHA_1") else hashes.SHA256()
    return padding.OAEP(padding.MGF1(hashed), hashed, None)


def wrapped(kms: Any, key_id: str, material: bytes, algorithm: str = "RSAES_OAEP_SHA_256") -> dict[str, Any]:
    """The material and token of an ImportKeyMaterial request."""
    given = kms.get_parameters_for_import(KeyId=key_id, WrappingAlgorithm=algorithm, WrappingKeySpec="RSA_2048")
    public: Any = load_der_public_key(given["PublicKey"])
    if algorithm.startswith("RSAES"):
        encrypted = public.encrypt(material, oaep(algorithm))
    else:
        aes = os.urandom(32)
        encrypted = public.encrypt(aes, oaep(algorithm)) + aes_key_wrap_with_padding(aes, material)
    return {"KeyId": key_id, "ImportToken": given["ImportToken"], "EncryptedKeyMaterial": encrypted}


@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_256"])
def test_material_comes_and_goes(kms: Any, external: str, algorithm: str) -> None:
    described = kms.describe_key(KeyId=external)["KeyMetadata"]
    assert (described["KeyState"], described["Origin"], described["Enabled"]) == ("PendingImport", "EXTERNAL", False)
    assert not described.keys() & {"ExpirationModel", "CurrentKeyMaterialId"}
    pending = f"{described['Arn']} is pending import."
    with refused("KMSInvalidStateException", pending):
        kms.encrypt(KeyId=external, Plaintext=b"x")
    material = os.urandom(32)
    imported = kms.import_key_material(**wrapped(kms, external, material, algorithm), **FOR_EVER)
    described = kms.describe_key(KeyId=external)["KeyMetadata"]
    assert (described["KeyState"], described["ExpirationModel"]) == ("Enabled", "KEY_MATERIAL_DOES_NOT_EXPIRE")
    assert described["CurrentKeyMaterialId"] == imported["KeyMaterialId"]
    blob = kms.encrypt(KeyId=external, Plaintext=b"x")["CiphertextBlob"]
    deleted = kms.delete_imported_key_material(KeyId=external)
    assert deleted == deleted | {"KeyId": described["Arn"], "KeyMaterialId": imported["KeyMaterialId"]}
    assert kms.describe_key(KeyId=external)["KeyMetadata"]["KeyState"] == "PendingImport"
    with refused("KMSInvalidStateException", pending):
        kms.decrypt(CiphertextBlob=blob)
    with refused("IncorrectKeyMaterialException"):
        kms.import_key_material(**wrapped(kms, external, os.urandom(32), algorithm), **FOR_EVER)
    kms.import_key_material(**wrapped(kms, external, material, algorithm), **FOR_EVER)
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_material_that_expires(kms: Any, external: str) -> None:
    material = os.urandom(32)
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    for wrong in (
        {},
        {"ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": soon - dt.timedelta(days=2)},
        {"ValidTo": soon + dt.timedelta(days=366)},
        FOR_EVER | {"ValidTo": soon},
    ):
        with refused("ValidationException"):
            kms.import_key_material(**wrapped(kms, external, material), **wrong)
    kms.import_key_material(**wrapped(kms, external, material), ValidTo=soon)
    described = kms.describe_key(KeyId=external)["KeyMetadata"]
    assert described["ExpirationModel"] == "KEY_MATERIAL_EXPIRES"
    assert abs(described["ValidTo"] - soon) < dt.timedelta(seconds=1)


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P256", "HMAC_256"])
def test_other_keys_are_imported_once(kms: Any, spec: str) -> None:
    usage = "GENERATE_VERIFY_MAC" if spec.startswith("HMAC") else "SIGN_VERIFY"
    key_id = kms.create_key(Origin="EXTERNAL", KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"]

    def material() -> bytes:
        if spec == "HMAC_256":
            return os.urandom(48)
        made: Any = ec.generate_private_key(ec.SECP256R1())
        if spec == "RSA_2048":
            made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        der: bytes = made.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return der

    mine = material()
    algorithm = "RSA_AES_KEY_WRAP_SHA_1"
    kms.import_key_material(**wrapped(kms, key_id, mine, algorithm), **FOR_EVER)
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "Enabled"
    kms.import_key_material(**wrapped(kms, key_id, mine, algorithm), **FOR_EVER)
    with refused("IncorrectKeyMaterialException"):
        kms.import_key_material(**wrapped(kms, key_id, material(), algorithm), **FOR_EVER)
    with refused("ValidationException"):
        kms.import_key_material(**wrapped(kms, key_id, mine, algorithm), **FOR_EVER, ImportType="NEW_KEY_MATERIAL")
    if spec == "ECC_NIST_P256":
        from cryptography.hazmat.primitives.serialization import load_der_private_key

        public = load_der_private_key(mine, None).public_key()
        shown = kms.get_public_key(KeyId=key_id)["PublicKey"]
        assert shown == public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_new_material_waits_for_its_rotation(kms: Any, external: str) -> None:
    first = kms.import_key_material(**wrapped(kms, external, os.urandom(32)), **FOR_EVER)["KeyMaterialId"]
    old = kms.encrypt(KeyId=external, Plaintext=b"old")["CiphertextBlob"]
    with refused("KMSInvalidStateException"):
        kms.rotate_key_on_demand(KeyId=external)
    new = {"ImportType": "NEW_KEY_MATERIAL", "KeyMaterialDescription": "second", **FOR_EVER}
    second = kms.import_key_material(**wrapped(kms, external, os.urandom(32)), **new)["KeyMaterialId"]
    with refused("KMSInvalidStateException"):
        kms.import_key_material(**wrapped(kms, external, os.urandom(32)), **new)
    everything = {"KeyId": external, "IncludeKeyMaterial": "ALL_KEY_MATERIAL"}
    states = [record["KeyMaterialState"] for record in kms.list_key_rotations(**everything)["Rotations"]]
    assert states == ["CURRENT", "PENDING_ROTATION"]
    kms.rotate_key_on_demand(KeyId=external)
    assert kms.describe_key(KeyId=external)["KeyMetadata"]["CurrentKeyMaterialId"] == second
    assert kms.decrypt(CiphertextBlob=old)["KeyMaterialId"] == first
    kms.delete_imported_key_material(KeyId=external, KeyMaterialId=first)
    rotations = kms.list_key_rotations(**everything)["Rotations"]
    assert [record["ImportState"] for record in rotations] == ["PENDING_IMPORT", "IMPORTED"]
    assert rotations[1]["KeyMaterialDescription"] == "second"
    assert kms.describe_key(KeyId=external)["KeyMetadata"]["KeyState"] == "PendingImport"


def test_what_can_not_be_imported(kms: Any, external: str, key_id: str) -> None:
    arn = kms.describe_key(KeyId=key_id)["KeyMetadata"]["Arn"]
    asked = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
    with refused("UnsupportedOperationException", f"{arn} origin is AWS_KMS which is not valid for this operation."):
        kms.get_parameters_for_import(KeyId=key_id, **asked)
    with refused("UnsupportedOperation"):
        kms.get_parameters_for_import(KeyId=external, **(asked | {"WrappingAlgorithm": "RSAES_PKCS1_V1_5"}))
    good = wrapped(kms, external, os.urandom(32))
    other = wrapped(kms, external, os.urandom(32))
    with refused("InvalidCiphertextException"):
        kms.import_key_material(**(good | {"ImportToken": other["ImportToken"]}), **FOR_EVER)
    with refused("InvalidImportTokenException"):
        changed = good["ImportToken"][:-1] + bytes([good["ImportToken"][-1] ^ 1])
        kms.import_key_material(**(good | {"ImportToken": changed}), **FOR_EVER)
    another = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
    with refused("InvalidImportTokenException"):
        kms.import_key_material(**(good | {"KeyId": another}), **FOR_EVER)
    with refused("IncorrectKeyMaterialException"):
        kms.import_key_material(**wrapped(kms, external, os.urandom(31)), **FOR_EVER)
