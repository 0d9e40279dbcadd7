"""The chain of the audit trail: what makes it show when a record is changed, taken away or moved.

    records     1 2 3 … 500 │ 501 … 812 │ 813 …        in the order of their positions
    blocks      digests     │ digests   │              what has been chained, some records at a time
    seals       ───────── seal 1 ───────┼─ seal 2 …    an hour of blocks, signed; each names the one before

A block keeps the positions of its records and their digests, the SHA-256 of their texts as they are stored, so that a
record can be told to be changed, missing or in another's place. A link is SHA-256 over the link before and a block. A
seal has the link of its last block and is signed: the last one anew with each block, all others when their hour ended.
It also hashes the seal before it, so none can be taken out. The signing key lies in the database, sealed under the
cloud's root key: who can write to the database and has not that key can not make a chain that holds.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from array import array
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from freehold.records.audit import audit_events
from freehold.records.schema import Record, table
from freehold.records.secrets import Sealer
from freehold.records.store import Transaction

FIRST_LINK = bytes(32)
AUDIT_KEY = "audit-key"  # the purpose that the signing key is sealed for, its owner being the key's id


class AuditBlock(Record, frozen=True):
    """Records that were chained together. `positions` are 64-bit integers and `digests` 32 bytes each, in order."""

    number: int
    seal: int
    positions: bytes
    digests: bytes


class AuditSeal(Record, frozen=True):
    """An hour of the chain. `link` is that of its last block, `last_position` its last record, `previous` the hash of
    the seal before; `ended_at` None = it is the last one, and grows. `pruned_at`: its records are no longer kept, which
    is signed as well."""

    number: int
    records: int
    last_block: int
    last_position: int
    link: bytes
    previous: bytes
    began_at: dt.datetime
    ended_at: dt.datetime | None
    key_id: str
    signature: bytes
    pruned_at: dt.datetime | None = None
    pruned_key_id: str | None = None
    pruned_signature: bytes | None = None


class AuditKey(Record, frozen=True):
    """A key that seals are signed with: an Ed25519 private key of 32 bytes, sealed; the newest is used."""

    id: str
    sealed_key: bytes
    created_at: dt.datetime


audit_blocks = table("audit_blocks", AuditBlock, key=("number",), indexes=(("seal",),))
audit_seals = table("audit_seals", AuditSeal, key=("number",))
audit_keys = table("audit_keys", AuditKey, key=("id",))


def digest_of(body: str) -> bytes:
    return hashlib.sha256(body.encode()).digest()


def link_over(link: bytes, positions: bytes, digests: bytes) -> bytes:
    """The link after a block, which follows the one that has `link`."""
    return hashlib.sha256(link + positions + digests).digest()


def packed(positions: Sequence[int]) -> bytes:
    return array("q", positions).tobytes()


def unpacked(positions: bytes) -> list[int]:
    return list(array("q", positions[: len(positions) // 8 * 8]))


_BODIES = (
    sa.select(audit_events.c.body)
    .where(
        audit_events.c.position >= sa.bindparam("first", type_=sa.BigInteger()),
        audit_events.c.position <= sa.bindparam("last", type_=sa.BigInteger()),
    )
    .order_by(audit_events.c.position)
)


def bodies_of(tx: Transaction, block: AuditBlock) -> list[str]:
    """The texts of a block's records, in their order."""
    positions = unpacked(block.positions)
    return [row[0] for row in tx.rows(_BODIES, first=positions[0], last=positions[-1])]


def statement(seal: AuditSeal) -> bytes:
    """What a seal's signature is made over: all that it says, in one form."""
    return msgspec.json.encode(
        [
            "seal",
            seal.number,
            seal.records,
            seal.last_block,
            seal.last_position,
            seal.link.hex(),
            seal.previous.hex(),
            seal.began_at,
            seal.ended_at,
            seal.key_id,
        ]
    )


def prune_statement(seal: AuditSeal, at: dt.datetime, key_id: str) -> bytes:
    """What says, signed, that the records of a seal were deleted because they were old."""
    return msgspec.json.encode(["pruned", seal.number, seal_hash(seal).hex(), at, key_id])


def seal_hash(seal: AuditSeal) -> bytes:
    """What the next seal names as its `previous`."""
    return hashlib.sha256(statement(seal) + seal.signature).digest()


class SigningKey:
    """The key that signs seals."""

    def __init__(self, key_id: str, private: bytes) -> None:
        self.id = key_id
        self._private = Ed25519PrivateKey.from_private_bytes(private)

    def sign(self, what: bytes) -> bytes:
        return self._private.sign(what)

    def public_key(self) -> Ed25519PublicKey:
        return self._private.public_key()


def signed_by(key: Ed25519PublicKey, signature: bytes, what: bytes) -> bool:
    try:
        key.verify(signature, what)
    except InvalidSignature:
        return False
    return True


_NEWEST_KEY = (audit_keys.c.created_at.desc(),)


def signing_key(tx: Transaction, sealer: Sealer, known: SigningKey | None = None) -> SigningKey | None:
    """The newest key, `known` if it is that; None when none was made yet. Raises SealError."""
    found = tx.select(AuditKey, order_by=_NEWEST_KEY, limit=1)
    if not found:
        return None
    if known is not None and known.id == found[0].id:
        return known
    return SigningKey(found[0].id, sealer.open(AUDIT_KEY, found[0].id, found[0].sealed_key))


def new_signing_key(tx: Transaction, sealer: Sealer) -> SigningKey:
    """A new key: what is signed from here on is signed by it."""
    private = Ed25519PrivateKey.generate()
    key_id = hashlib.sha256(private.public_key().public_bytes_raw()).hexdigest()[:16]
    sealed = sealer.seal(AUDIT_KEY, key_id, private.private_bytes_raw())
    tx.insert(AuditKey(key_id, sealed, tx.now))
    return SigningKey(key_id, private.private_bytes_raw())


_NEWEST_SEAL = (audit_seals.c.number.desc(),)


def newest_seal(tx: Transaction) -> AuditSeal | None:
    found = tx.select(AuditSeal, order_by=_NEWEST_SEAL, limit=1)
    return found[0] if found else None


_CHAIN_LOCK = 0x6368616E  # any fixed number: PostgreSQL's advisory lock of who lengthens the chain
_ALONE = sa.select(sa.func.pg_advisory_xact_lock(_CHAIN_LOCK))


def take_chain(tx: Transaction) -> None:
    """Be the only one that lengthens the chain until `tx` ends. (On SQLite all writers take turns anyway.)"""
    if tx.connection.dialect.name == "postgresql":
        tx.rows(_ALONE)
