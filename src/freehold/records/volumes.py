"""Deleting volumes, in two steps: nobody has it and pays for it, and nobody can read it, from the first on; with the
second it is gone."""

from __future__ import annotations

from freehold.records.compute import Volume
from freehold.records.encryption import WrappedKey
from freehold.records.feed import publish
from freehold.records.store import Transaction
from freehold.records.tags import delete_tags_of
from freehold.records.usage import close_usage


def begin_deleting(tx: Transaction, volume: Volume) -> None:
    """Have the host of a volume that is no instance's delete it; it then says so (control/reports.py)."""
    close_usage(tx, volume.id)
    tx.delete_where(WrappedKey, volume_id=volume.id)
    tx.update(volume, state="deleting")
    publish(tx, "volume", volume.id)


def forget(tx: Transaction, volume: Volume) -> None:
    """Its disk is deleted."""
    close_usage(tx, volume.id)
    delete_tags_of(tx, volume.id)
    tx.delete_where(WrappedKey, volume_id=volume.id)
    tx.delete(volume)
