"""Encryption of volumes: what an account has chosen, and the keys."""

from __future__ import annotations

from freehold.records.ids import AccountId, VolumeId
from freehold.records.schema import Record, table


class EbsEncryption(Record, frozen=True):
    """What an account has chosen in a region. One that has chosen nothing has encryption by default, with the key
    behind ``alias/aws/ebs``, which `kms_key_id` (an ARN) replaces."""

    account_id: AccountId
    region: str
    by_default: bool = True
    kms_key_id: str | None = None


class WrappedKey(Record, frozen=True):
    """The key of an encrypted volume or snapshot, which only its KMS key can decrypt (services/kms/volume_keys.py).

    A snapshot has its volume's key, and so has a volume made from it: `made_for` is the volume that it was made for, to
    which the ciphertext is bound. It goes with its volume, in the same transaction: from then on nobody can read what
    the disk may still hold."""

    volume_id: str
    account_id: AccountId
    ciphertext: bytes
    made_for: VolumeId


ebs_encryption = table("ebs_encryption", EbsEncryption, key=("account_id", "region"))
wrapped_keys = table("wrapped_keys", WrappedKey, key=("volume_id",), indexes=(("account_id",),))
