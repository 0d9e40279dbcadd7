"""Finding what was changed in the audit trail, missing or moved: ``freehold audit verify``.

records/seals says what a chain is. What is not chained yet, a few seconds' records, can only be seen to have no gap,
and that on SQLite alone: PostgreSQL leaves gaps where a transaction was rolled back.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from freehold.control.sealing import Head
from freehold.records import seals
from freehold.records.audit import audit_events
from freehold.records.seals import AUDIT_KEY, FIRST_LINK, AuditBlock, AuditKey, AuditSeal, SigningKey
from freehold.records.secrets import Sealer, SealError
from freehold.records.store import Store, Transaction

_BETWEEN = (
    sa.select(audit_events.c.position, audit_events.c.body)
    .where(
        audit_events.c.position > sa.bindparam("after", type_=sa.BigInteger()),
        audit_events.c.position <= sa.bindparam("until", type_=sa.BigInteger()),
    )
    .order_by(audit_events.c.position)
)
_POSITIONS = (
    sa.select(audit_events.c.position)
    .where(audit_events.c.position > sa.bindparam("after", type_=sa.BigInteger()))
    .order_by(audit_events.c.position)
)

_BEFORE_ALL = -(1 << 63)

Kind = Literal["changed", "missing", "reordered", "added", "seal"]


class Finding(msgspec.Struct, frozen=True):
    """Something that is not as it was recorded: a record at a position, or a seal of the chain."""

    kind: Kind
    seal: int | None
    position: int | None
    what: str


class Verdict(msgspec.Struct, frozen=True):
    """`records` that were compared, in `seals`; `pruned` seals whose records are no longer kept; `unsealed` records
    that wait to be chained."""

    intact: bool
    records: int
    seals: int
    pruned: int
    unsealed: int
    findings: list[Finding]


class _Moved(msgspec.Struct):
    """A record whose text is not the one that was chained."""

    seal: int
    position: int
    expected: bytes
    found: bytes


def verify(store: Store, sealer: Sealer, head: Path) -> Verdict:
    """Compare all records with the chain, in one view of the database."""
    with store.read() as tx:
        if tx.connection.dialect.name == "postgresql":
            tx.connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return _Verification(tx, sealer, head).verdict()


class _Verification:
    def __init__(self, tx: Transaction, sealer: Sealer, head: Path) -> None:
        self._tx = tx
        self._sealer = sealer
        self._head = head
        self._findings: list[Finding] = []
        self._moved: list[_Moved] = []
        self._keys: dict[str, Ed25519PublicKey | None] = {}
        self._records = 0

    def verdict(self) -> Verdict:
        last: AuditSeal | None = None
        count = pruned = 0
        for seal in self._tx.select(AuditSeal):
            self._look_at_seal(seal, last)
            self._look_at_records(seal, last)
            last, count = seal, count + 1
            pruned += seal.pruned_at is not None
        self._look_at_head(last)
        unsealed = self._look_at_unsealed(last.last_position if last else 0)
        self._tell_moved()
        self._findings.sort(key=lambda finding: (finding.position is None, finding.position or finding.seal or 0))
        return Verdict(not self._findings, self._records, count, pruned, unsealed, self._findings)

    def _find(self, kind: Kind, seal: int | None, position: int | None, what: str) -> None:
        self._findings.append(Finding(kind, seal, position, what))

    # Seals

    def _look_at_seal(self, seal: AuditSeal, last: AuditSeal | None) -> None:
        expected = last.number + 1 if last else 1
        if seal.number != expected:
            self._find("missing", seal.number, None, f"Seal {expected} is missing: seal {seal.number} comes next.")
        elif seal.previous != (seals.seal_hash(last) if last else FIRST_LINK):
            self._find("seal", seal.number, None, "It follows another seal than the one before it.")
        if last is not None and last.ended_at is None:
            self._find("seal", last.number, None, "It has not ended, but another follows.")
        if not self._signed(seal.key_id, seal.signature, seals.statement(seal)):
            self._find("seal", seal.number, None, "Its signature does not hold: it was changed.")
        if seal.pruned_at is not None:
            said = seals.prune_statement(seal, seal.pruned_at, seal.pruned_key_id or "")
            if not self._signed(seal.pruned_key_id or "", seal.pruned_signature or b"", said):
                self._find("seal", seal.number, None, "That its records were too old to keep was not signed.")

    def _signed(self, key_id: str, signature: bytes, what: bytes) -> bool:
        if key_id not in self._keys:
            self._keys[key_id] = self._key(key_id)
        key = self._keys[key_id]
        return key is not None and seals.signed_by(key, signature, what)

    def _key(self, key_id: str) -> Ed25519PublicKey | None:
        """The public key, from the private one: only who has the root key could have sealed that."""
        kept = self._tx.get(AuditKey, key_id)
        if kept is None:
            return None
        try:
            return SigningKey(key_id, self._sealer.open(AUDIT_KEY, key_id, kept.sealed_key)).public_key()
        except SealError:
            return None

    def _look_at_head(self, last: AuditSeal | None) -> None:
        """The file beside the database remembers how far the chain had come."""
        if not self._head.exists():
            return
        try:
            head = msgspec.json.decode(self._head.read_bytes(), type=Head)
        except msgspec.MsgspecError:
            self._find("seal", None, None, f"{self._head} is damaged: the next record that is chained mends it.")
            return
        number, position = (last.number, last.last_position) if last else (0, 0)
        if head.seal > number or head.last_position > position:
            self._find(
                "missing",
                head.seal,
                None,
                f"The chain had come to seal {head.seal} and position {head.last_position}, "
                f"and now ends at seal {number} and position {position}.",
            )

    # Records

    def _look_at_records(self, seal: AuditSeal, last: AuditSeal | None) -> None:
        after = last.last_position if last else _BEFORE_ALL
        link, number, records = (last.link, last.last_block, 0) if last else (FIRST_LINK, 0, 0)
        if seal.pruned_at is not None:
            return
        for block in self._tx.select(AuditBlock, seal=seal.number):
            number += 1
            positions = seals.unpacked(block.positions)
            if block.number != number or len(positions) * 32 != len(block.digests) or not positions:
                break
            link = seals.link_over(link, block.positions, block.digests)
            self._look_at_block(seal, after, positions, block.digests)
            after, records = positions[-1], records + len(positions)
        if (link, number, records, after) != (seal.link, seal.last_block, seal.records, seal.last_position):
            self._find("seal", seal.number, None, "The digests of its records are not those that were sealed.")

    def _look_at_block(self, seal: AuditSeal, after: int, positions: list[int], digests: bytes) -> None:
        found = {int(row[0]): str(row[1]) for row in self._tx.rows(_BETWEEN, after=after, until=positions[-1])}
        for place, position in enumerate(positions):
            expected = digests[32 * place : 32 * place + 32]
            body = found.pop(position, None)
            self._records += 1
            if body is None:
                self._find("missing", seal.number, position, "The record was deleted.")
            elif (digest := seals.digest_of(body)) != expected:
                self._moved.append(_Moved(seal.number, position, expected, digest))
        for position in found:
            self._find("added", seal.number, position, "The record is not in the chain: it was put in later.")

    def _tell_moved(self) -> None:
        at = {moved.expected: moved.position for moved in self._moved}
        for moved in self._moved:
            origin = at.get(moved.found)
            if origin is None:
                self._find("changed", moved.seal, moved.position, "The record was changed.")
            else:
                self._find("reordered", moved.seal, moved.position, f"The record of position {origin} stands here.")

    def _look_at_unsealed(self, after: int) -> int:
        found = [int(row[0]) for row in self._tx.rows(_POSITIONS, after=after)]
        for position in self._gaps(after, found):
            self._find("missing", None, position, "The record was deleted before it was sealed.")
        return len(found)

    def _gaps(self, after: int, found: list[int]) -> Iterator[int]:
        if self._tx.connection.dialect.name != "sqlite":
            return
        given = self._tx.connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'audit_events'")
        newest = max(int(given.scalar() or 0), *found, after)
        there = set(found)
        yield from (position for position in range(after + 1, newest + 1) if position not in there)
