"""Encryption of volumes: what an account has chosen, and the keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from freehold.records.ids import AccountId, VolumeId
from freehold.records.schema import Record, table
from freehold.records.store import Transaction


class EbsEncryption(Record, frozen=True):
    """What an account has chosen in a region. One that has chosen nothing has encryption by default, with the key
    behind ``alias/aws/ebs``, which `kms_key_id` (an ARN) replaces."""

    account_id: AccountId
    region: str
    by_default: bool = True
    kms_key_id: str | None = None


class WrappedKey(Record, frozen=True):
    """A key of an encrypted volume or snapshot, which only its KMS key can decrypt (services/kms/volume_keys.py).

    A snapshot has its volume's keys, and so has a volume made from it: `made_for` is the volume that one was made for,
    to which the ciphertext is bound. A volume that is made from a snapshot under another KMS key has a new one, and
    those of the snapshot under its own KMS key: they are `below`, and open only what was written before. All go with
    their volume, in the same transaction: from then on nobody can read what the disk may still hold."""

    volume_id: str
    account_id: AccountId
    ciphertext: bytes
    made_for: VolumeId
    below: bool = False


ebs_encryption = table("ebs_encryption", EbsEncryption, key=("account_id", "region"))
wrapped_keys = table("wrapped_keys", WrappedKey, key=("volume_id", "made_for"), indexes=(("account_id",),))


def keys_of(tx: Transaction, ids: Sequence[str]) -> Mapping[str, Sequence[WrappedKey]]:
    """The keys of volumes and snapshots, by their ids."""
    found: dict[str, list[WrappedKey]] = {each: [] for each in ids}
    for each in tx.select(WrappedKey, volume_id=list(ids)):
        found[each.volume_id].append(each)
    return found


def share_keys(tx: Transaction, source_id: str, target_id: str, account_id: AccountId) -> None:
    """Give a volume or snapshot the keys of the one that its data is of, under the same KMS key."""
    for each in tx.select(WrappedKey, volume_id=source_id):
        tx.insert(WrappedKey(target_id, account_id, each.ciphertext, each.made_for, each.below))
