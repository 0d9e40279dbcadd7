"""What is done with keys when its time has come: KMS keys are deleted and rotated, imported material expires, root keys
that were retired are deleted."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from freehold.records import audit
from freehold.records.feed import take_turn
from freehold.records.keys import Key, KeyAlias, KeyGrant, KeyMaterial, key_materials, keys
from freehold.records.root_keys import Files, RootKeys
from freehold.records.root_rotation import seal_anew
from freehold.records.secrets import Sealer
from freehold.records.store import Store, Transaction
from freehold.records.tags import delete_tags_of
from freehold.services.kms.imports import forget_material
from freehold.services.kms.key_ids import key_arn
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
            audit.record(tx, *(_event(tx, key, "DeleteKey") for key in due))
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
            audit.record(
                tx,
                *(_event(tx, key, "RotateKey", {"rotationType": "AUTOMATIC", "keyId": key.id}) for key in due),
            )
        if len(due) < _BATCH:
            break
    with store.write() as tx:
        take_turn(tx)
        expired = tx.select(KeyMaterial, key_materials.c.expires_at <= tx.now, key_materials.c.sealed.is_not(None))
        for material in expired:
            forget_material(tx, material)
        of = tx.select(Key, id=[material.key_id for material in expired])
        audit.record(tx, *(_event(tx, key, "DeleteExpiredKeyMaterial") for key in of))
    if isinstance(root_keys, Files) and (overdue := root_keys.overdue()) and not any(seal_anew(store, sealer)):
        root_keys.delete(overdue)


def _event(tx: Transaction, key: Key, name: str, details: Any = UNSET) -> str:
    """https://docs.aws.amazon.com/kms/latest/developerguide/understanding-kms-entries.html"""
    return audit.service_event(
        tx.now,
        key.account_id,
        key.region,
        "kms",
        name,
        elements={"keyId": key_arn(key)} if name == "DeleteKey" else None,
        resources=[{"accountId": key.account_id, "type": "AWS::KMS::Key", "ARN": key_arn(key)}],
        details=details,
    )


def delete_key(tx: Transaction, key: Key) -> None:
    """Delete a key and everything of it: what it has encrypted is lost."""
    for kind in (KeyMaterial, KeyAlias, KeyGrant):
        tx.delete_where(kind, key_id=key.id)
    delete_tags_of(tx, key.id)
    tx.delete(key)
