"""Rotation of the root key while the cloud runs: all that is sealed in the database is sealed anew, bit by bit.

    make the next generation
    → wait until whoever sealed with an older one has stored what they sealed
    → seal anew, until nothing is sealed with an older one
    → retire the older ones
    → 36 hours later, or at once, delete them

Each step may be cut off and done again: a rotation that finds two generations goes on with that of the one before.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from freehold.records import feed
from freehold.records.accounts import AccessKey
from freehold.records.identities import MfaDevice
from freehold.records.keys import KEY_MATERIAL, KeyMaterial
from freehold.records.root_keys import Credential, Files, RootKeys
from freehold.records.schema import TABLES, Record
from freehold.records.seals import AUDIT_KEY, AuditKey
from freehold.records.secrets import ACCESS_KEY, MFA_DEVICE, Sealer
from freehold.records.store import Store
from freehold.records.trails import DIGEST_KEY, DigestKey

_BATCH = 200
_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Sealed:
    """A column of sealed values; `owner` is the column, the record's key, with whose value they are sealed."""

    record: type[Record]
    column: str
    purpose: str
    owner: str


SEALED = (
    Sealed(AccessKey, "sealed_secret", ACCESS_KEY, "id"),
    Sealed(AuditKey, "sealed_key", AUDIT_KEY, "id"),
    Sealed(DigestKey, "sealed_key", DIGEST_KEY, "id"),
    Sealed(KeyMaterial, "sealed", KEY_MATERIAL, "id"),
    Sealed(MfaDevice, "sealed_seed", MFA_DEVICE, "arn"),
)
"""All sealed values in the database."""


def rotate(store: Store, sealer: Sealer, keys: RootKeys, *, at_once: bool = False) -> Iterator[str]:
    """Do a rotation, yielding a sentence after each step. `at_once`: delete the older keys without waiting for session
    tokens to expire. Of a credential the owner has put the new one in place before, and takes the old one away after.
    """
    if isinstance(keys, Files):
        if len([generation for generation in keys.generations() if not generation.retired]) > 1:
            yield "Going on with a rotation that was cut off."
        else:
            yield f"Made root key {keys.add()}."
    _wait_for_earlier(store)
    count = 0
    before = -1
    while count > before:
        before = count
        for changed in seal_anew(store, sealer):
            count += changed
            yield f"Sealed {count} secrets with the new root key."
    if isinstance(keys, Credential):
        yield "Nothing is sealed with the previous credential any more: it can be taken away."
        return
    assert isinstance(keys, Files)
    for generation in keys.generations()[1:]:
        if not generation.retired:
            keys.retire(generation)
            yield f"Retired root key {generation.number}."
    if at_once:
        keys.delete(keys.overdue(older_than_seconds=0))
        yield "Deleted the older root keys: temporary credentials have ended."


def seal_anew(store: Store, sealer: Sealer) -> Iterator[int]:
    """Seal with the newest root key what is sealed with others; yields how many values each transaction changed."""
    for of in SEALED:
        owner, column = TABLES[of.record].c[of.owner], TABLES[of.record].c[of.column]
        after = ""
        while True:
            with store.write() as tx:
                feed.take_turn(tx)  # or what another call deletes meanwhile would come back
                found = tx.select(of.record, owner > after, column.is_not(None), order_by=(owner,), limit=_BATCH)
                changed = 0
                for record in found:
                    sealed: bytes = getattr(record, of.column)
                    after = getattr(record, of.owner)
                    if not sealer.is_newest(sealed):
                        secret = sealer.open(of.purpose, after, sealed)
                        tx.update(record, **{of.column: sealer.seal(of.purpose, after, secret)})
                        changed += 1
            if changed:
                yield changed
            if len(found) < _BATCH:
                break


def _wait_for_earlier(store: Store) -> None:
    """Until every transaction that may have sealed with the older key has ended. (SQLite has one writer at a time, who
    seals within its transaction: there it is enough that `seal_anew` writes.)"""
    with store.write() as tx:
        if tx.connection.dialect.name != "postgresql":
            return
        begun = tx.connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
    running = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND xact_start < :begun"
    )
    while True:
        with store.read() as tx:
            if not tx.connection.execute(running, {"begun": begun}).scalar_one():
                return
        time.sleep(_LOOK_SECONDS)
