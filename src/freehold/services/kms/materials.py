"""Key material: making it, and keeping it sealed in records."""

from __future__ import annotations

import hmac
import secrets
from typing import TypeAlias, cast

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from freehold.records.keys import KEY_MATERIAL, Key, KeyMaterial
from freehold.records.secrets import Sealer
from freehold.records.store import Transaction
from freehold.services.kms.errors import InvalidState
from freehold.services.kms.key_ids import key_arn
from freehold.services.kms.specs import SPECS, Spec

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def generate(spec: Spec) -> bytes:
    """New material of a spec: random bytes, or a private key as PKCS #8 in DER. RSA takes up to seconds."""
    if spec.rsa_bits:
        return pkcs8(rsa.generate_private_key(public_exponent=65537, key_size=spec.rsa_bits))
    if spec.curve is not None:
        return pkcs8(ec.generate_private_key(spec.curve))
    return secrets.token_bytes(spec.random_bytes[0])


def pkcs8(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def private_key(material: bytes) -> PrivateKey:
    """The key in material that was made or checked here before: to check an RSA key again would take milliseconds."""
    return cast(PrivateKey, load_der_private_key(material, None, unsafe_skip_rsa_key_validation=True))


def public_key_der(key: PrivateKey) -> bytes:
    """The public key as SubjectPublicKeyInfo in DER."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def material_id(key_id: str, material: bytes) -> str:
    """The KeyMaterialId: the same whenever the same material is imported into a key, and telling nothing of it."""
    return hmac.digest(material, f"freehold key material\0{key_id}".encode(), "sha256").hex()


def sealed(tx: Transaction, sealer: Sealer, key: Key, version: int, material: bytes) -> KeyMaterial:
    """The record of new material."""
    of = material_id(key.id, material)
    return KeyMaterial(
        id=of,
        key_id=key.id,
        account_id=key.account_id,
        version=version,
        sealed=sealer.seal(KEY_MATERIAL, of, material),
        created_at=tx.now,
    )


def materials_of(tx: Transaction, key: Key) -> list[KeyMaterial]:
    """All that a key has had, oldest first; those that were imported may have no material any more."""
    return sorted(tx.select(KeyMaterial, key_id=key.id), key=lambda record: record.version)


def opened(tx: Transaction, sealer: Sealer, key: Key, record: KeyMaterial | None) -> bytes:
    """The material in a record. Raises KMSInvalidStateException when it was imported and is gone."""
    if record is None or record.sealed is None or (record.expires_at is not None and record.expires_at <= tx.now):
        raise InvalidState(key_arn(key), "is pending import")
    return sealer.open(KEY_MATERIAL, record.id, record.sealed)


def current(tx: Transaction, sealer: Sealer, key: Key) -> tuple[KeyMaterial, bytes]:
    """The material that encrypts and signs now: (its record, itself). Raises KMSInvalidStateException."""
    record = tx.get(KeyMaterial, key.material_id) if key.material_id is not None else None
    material = opened(tx, sealer, key, record)
    assert record is not None
    return record, material


def is_whole(tx: Transaction, key: Key) -> bool:
    """Whether nothing has to be imported before the key can be used."""
    records = [record for record in materials_of(tx, key) if not record.pending]
    return bool(records) and all(record.sealed is not None for record in records)


def spec_of(key: Key) -> Spec:
    return SPECS[key.spec]
