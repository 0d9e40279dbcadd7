"""What is done with keys when its time has come: KMS keys are deleted and rotated, imported material expires, root keys
that were retired are deleted."""

from __future__ import annotations

from freehold.records.feed import take_turn
from freehold.records.keys import Key, KeyAlias, KeyGrant, KeyMaterial, key_materials, keys
from freehold.records.root_keys import Files, RootKeys
from freehold.records.root_rotation import seal_anew
from freehold.records.secrets import Sealer
from freehold.records.store import Store, Transaction
from freehold.records.tags import delete_tags_of
from freehold.services.kms.imports import forget_material
from freehold.services.kms.rotation import rotate

_BATCH = 100


def keep_keys(store: Store, sealer: Sealer, root_keys: RootKeys) -> None:
    """One round, in short transactions."""
    while True:
        with store.write() as tx:
            take_turn(tx)
            due = tx.select(Key, keys.c.deletion_at <= tx.now, limit=_BATCH)
            for key in due:
                delete_key(tx, key)
        if len(due) < _BATCH:
            break
    while True:
        with store.write() as tx:
            take_turn(tx)
            # A key that is disabled rotates when it is enabled again:
            # https://docs.aws.amazon.com/kms/latest/developerguide/rotate-keys.html#rotate-keys-how-it-works
            due = tx.select(Key, keys.c.rotates_at <= tx.now, keys.c.state == "Enabled", limit=_BATCH)
            for key in due:
                rotate(tx, sealer, key, "AUTOMATIC")
        if len(due) < _BATCH:
            break
    with store.write() as tx:
        take_turn(tx)
        for material in tx.select(
            KeyMaterial, key_materials.c.expires_at <= tx.now, key_materials.c.sealed.is_not(None)
        ):
            forget_material(tx, material)
    if isinstance(root_keys, Files) and (overdue := root_keys.overdue()) and not any(seal_anew(store, sealer)):
        root_keys.delete(overdue)


def delete_key(tx: Transaction, key: Key) -> None:
    """Delete a key and everything of it: what it has encrypted is lost."""
    for kind in (KeyMaterial, KeyAlias, KeyGrant):
        tx.delete_where(kind, key_id=key.id)
    delete_tags_of(tx, key.id)
    tx.delete(key)
