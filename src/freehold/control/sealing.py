"""Behind the writers of the audit trail: records are chained and made findable, an hour of them is sealed, and what is
older than it has to be kept is deleted so that the rest of the chain still holds.

All of it goes on where the database says it has come to, so it may be cut anywhere. records/seals says what a chain is.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import sqlalchemy as sa

from freehold.records import audit, lookups, seals
from freehold.records.audit import AuditEvent, audit_events
from freehold.records.seals import FIRST_LINK, AuditBlock, AuditSeal, SigningKey
from freehold.records.secrets import Sealer
from freehold.records.store import Store, Transaction

_BATCH = 1000
_SEALED_EVERY = dt.timedelta(hours=1)

_UNCHAINED = (
    sa.select(audit_events.c.position, audit_events.c.body)
    .where(
        audit_events.c.position > sa.bindparam("after", type_=sa.BigInteger()),
        audit_events.c.position <= sa.bindparam("until", type_=sa.BigInteger()),
    )
    .order_by(audit_events.c.position)
    .limit(_BATCH)
)


class Head(msgspec.Struct, frozen=True):
    """How far the chain has come, kept beside the database: a chain that ends before it was cut."""

    seal: int
    last_position: int
    link: str
    signature: str


class Chain:
    """Lengthens the chain of a store. `head` is the file that says how far it has come."""

    def __init__(self, store: Store, sealer: Sealer, head: Path) -> None:
        self._store = store
        self._sealer = sealer
        self._head = head
        self._key: SigningKey | None = None

    def follow(self) -> int:
        """Chain what has been committed; returns how many records. Raises SQLAlchemyError, SealError, OSError."""
        with self._store.read() as tx:
            until = audit.settled(tx)
        chained = more = self._lengthen(until)
        while more == _BATCH:
            more = self._lengthen(until)
            chained += more
        return chained

    def _lengthen(self, until: int) -> int:
        """Chain some records; returns how many, fewer than `_BATCH` when they were the last ones."""
        with self._store.read() as tx:
            last = seals.newest_seal(tx)
            rows = tx.rows(_UNCHAINED, after=last.last_position if last else 0, until=until)
            ending = last is not None and last.ended_at is None and tx.now >= last.began_at + _SEALED_EVERY
        if not rows and not ending:
            return 0
        # What takes long is done here, so that nobody waits for it.
        positions: list[int] = [row[0] for row in rows]
        digests = b"".join(seals.digest_of(row[1]) for row in rows)
        index = lookups.index((lookups.decode(row[1]), row[0]) for row in rows)
        with self._store.write() as tx:
            seals.take_chain(tx)
            if seals.newest_seal(tx) != last:
                return 0  # another controller was here
            key = self._signing_key(tx)
            seal = _lengthened(tx, key, last, positions, digests, ending=ending)
            tx.insert(*index.lookups)
            for use in index.uses:
                tx.put(use)
        self._remember(seal)
        return len(rows)

    def _signing_key(self, tx: Transaction) -> SigningKey:
        known = seals.signing_key(tx, self._sealer, self._key)
        self._key = known or seals.new_signing_key(tx, self._sealer)
        return self._key

    def _remember(self, seal: AuditSeal) -> None:
        head = Head(seal.number, seal.last_position, seal.link.hex(), seal.signature.hex())
        fresh = self._head.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(head))
        os.replace(fresh, self._head)

    def prune(self, keep: dt.timedelta) -> None:
        """Delete the records of seals that ended longer ago than `keep`. The seals stay, and say so."""
        while True:
            with self._store.read() as tx:
                if _oldest(tx, keep) is None:
                    return
            self._prune_block(keep)

    def _prune_block(self, keep: dt.timedelta) -> None:
        """Delete the oldest block of records."""
        with self._store.write() as tx:
            seals.take_chain(tx)
            oldest = _oldest(tx, keep)
            if oldest is None:
                return
            block, seal = oldest
            if seal.pruned_at is None:
                key = self._signing_key(tx)
                signature = key.sign(seals.prune_statement(seal, tx.now, key.id))
                tx.update(seal, pruned_at=tx.now, pruned_key_id=key.id, pruned_signature=signature)
            events = tx.select(AuditEvent, position=seals.unpacked(block.positions))
            for row in lookups.index((lookups.decode(event.body), event.position) for event in events).lookups:
                tx.delete(row)
            for event in events:
                tx.delete(event)
            tx.delete(block)


def _oldest(tx: Transaction, keep: dt.timedelta) -> tuple[AuditBlock, AuditSeal] | None:
    """The oldest block of records and its seal, if that is old enough to be pruned."""
    block = tx.find(AuditBlock)
    seal = tx.get(AuditSeal, block.seal) if block else None
    old = seal is not None and seal.ended_at is not None and seal.ended_at < tx.now - keep
    return (block, seal) if block and seal and old else None


def _lengthened(
    tx: Transaction, key: SigningKey, last: AuditSeal | None, positions: Sequence[int], digests: bytes, *, ending: bool
) -> AuditSeal:
    """Write the records into the last seal, or into a new one when it has ended; returns the seal."""
    growing = last if last is not None and last.ended_at is None else None
    link, packed = last.link if last else FIRST_LINK, seals.packed(positions)
    seal = AuditSeal(
        number=growing.number if growing else last.number + 1 if last else 1,
        records=(growing.records if growing else 0) + len(positions),
        last_block=(last.last_block if last else 0) + bool(positions),
        last_position=positions[-1] if positions else last.last_position if last else 0,
        link=seals.link_over(link, packed, digests) if positions else link,
        previous=growing.previous if growing else seals.seal_hash(last) if last else FIRST_LINK,
        began_at=growing.began_at if growing else tx.now,
        ended_at=tx.now if ending else None,
        key_id=key.id,
        signature=b"",
    )
    seal = msgspec.structs.replace(seal, signature=key.sign(seals.statement(seal)))
    tx.put(seal)
    if positions:
        tx.insert(AuditBlock(seal.last_block, seal.number, packed, digests))
    return seal
