"""Data keys of EBS volumes, made and decrypted in the name of the account: EBS's GenerateDataKeyWithoutPlaintext,
Decrypt and ReEncrypt.

https://docs.aws.amazon.com/kms/latest/developerguide/services-ebs.html
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from freehold.records.encryption import WrappedKey
from freehold.records.ids import VolumeId
from freehold.records.keys import Key, KeyMaterial
from freehold.records.secrets import Sealer
from freehold.records.store import Transaction
from freehold.services.kms import materials
from freehold.services.kms.ciphertexts import Ciphertext, encrypt
from freehold.services.kms.errors import AccessDenied, InvalidCiphertext, InvalidKeyUsage
from freehold.services.kms.key_ids import check_usable, key_arn

VOLUME_KEY_BYTES = 32


def new_volume_key(tx: Transaction, sealer: Sealer, key: Key, volume_id: VolumeId) -> bytes:
    """The ciphertext of a new volume key.

    Raises DisabledException, KMSInvalidStateException, and InvalidKeyUsageException for a key that is not symmetric.
    """
    check_usable(key)
    if not materials.spec_of(key).symmetric:
        raise InvalidKeyUsage(f"{key_arn(key)} key spec is {key.spec} which is not valid for EBS volumes.")
    record, material = materials.current(tx, sealer, key)
    plaintext = secrets.token_bytes(VOLUME_KEY_BYTES)
    return encrypt(key.id, record.version, material, plaintext, context(volume_id))


def open_volume_key(tx: Transaction, sealer: Sealer, volume_id: VolumeId, ciphertext: bytes) -> bytes:
    """The volume key. Who had the volume made was asked for a grant of the KMS key, which may be another account's.

    Raises DisabledException, KMSInvalidStateException, AccessDeniedException (the KMS key is not there any more),
    InvalidCiphertextException."""
    read = Ciphertext.read(ciphertext)
    key = tx.get(Key, read.key_id)
    if key is None:
        raise AccessDenied()
    check_usable(key)
    record = tx.find(KeyMaterial, key_id=key.id, version=read.version)
    if record is None:
        raise InvalidCiphertext()
    return read.decrypt(materials.opened(tx, sealer, key, record), context(volume_id))


def open_volume_keys(
    tx: Transaction, sealer: Sealer, wrapped: Iterable[WrappedKey]
) -> tuple[bytes, tuple[bytes, ...]] | None:
    """Of the keys of a volume or snapshot what opens it, and what opens layers below it that have other keys; None: it
    has no key. Raises as `open_volume_key`."""
    own: list[bytes] = []
    below: list[bytes] = []
    for each in wrapped:
        (below if each.below else own).append(open_volume_key(tx, sealer, each.made_for, each.ciphertext))
    return (own[0], tuple(below)) if own else None


def rewrapped(tx: Transaction, sealer: Sealer, key: Key, volume_id: VolumeId, ciphertext: bytes) -> bytes:
    """A volume key's ciphertext under another KMS key: EBS's ReEncrypt. Raises what the two above do."""
    check_usable(key)
    record, material = materials.current(tx, sealer, key)
    plaintext = open_volume_key(tx, sealer, volume_id, ciphertext)
    return encrypt(key.id, record.version, material, plaintext, context(volume_id))


def context(volume_id: VolumeId) -> dict[str, str]:
    """What EBS's calls of KMS have as their encryption context."""
    return {"aws:ebs:id": volume_id}
