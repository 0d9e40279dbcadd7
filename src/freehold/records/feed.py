"""The change feed: what changed, in the order it was committed.

An entry says only which thing changed (`topic`, `key`), never what it became: a follower reads the records
themselves, so it may merge, repeat or skip entries, and one code path serves start-up and every day after.
"""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa

from freehold.records.schema import Record, table
from freehold.records.store import Transaction


class Change(Record, frozen=True):
    """One feed entry. `position` grows with every commit."""

    position: int
    topic: str
    key: str
    at: dt.datetime


changes = table("changes", Change, key=("position",), autoincrement=True)

_ORDER_LOCK = 0x66656564  # any fixed number: PostgreSQL's advisory lock that orders publishers


def take_turn(tx: Transaction) -> None:
    """Wait for every transaction that has published to end; later ones wait for `tx`.

    For those who will publish and depend on what they read first; before they lock any row that others may lock too,
    or two could wait for each other. On SQLite all writers take turns anyway.
    """
    if tx.connection.dialect.name == "postgresql":
        tx.connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ORDER_LOCK)))


def publish(tx: Transaction, topic: str, key: str) -> None:
    """Append an entry: followers are woken when `tx` commits."""
    if not tx.woken:
        # Positions are handed out at insert, not at commit: without this a reader could pass over an entry that
        # was numbered earlier and commits later.
        take_turn(tx)
    tx.append(Change, topic=topic, key=key, at=tx.now)
    tx.woken.add(topic)


def position(tx: Transaction) -> int:
    """The newest position (0 on an empty feed)."""
    return tx.connection.execute(sa.select(sa.func.max(changes.c.position))).scalar_one() or 0


def since(tx: Transaction, after: int, topics: tuple[str, ...], limit: int = 1000) -> tuple[int, set[tuple[str, str]]]:
    """What changed after a position: (the position read up to, the distinct (topic, key) pairs)."""
    query = (
        sa.select(changes.c.position, changes.c.topic, changes.c.key)
        .where(changes.c.position > after)
        .order_by(changes.c.position)
        .limit(limit)
    )
    rows = tx.connection.execute(query).all()
    return (rows[-1].position if rows else after), {(r.topic, r.key) for r in rows if r.topic in topics}


def trim(tx: Transaction, before: dt.datetime) -> int:
    """Delete entries older than `before`; returns how many. A follower that was away longer starts from the records."""
    return tx.connection.execute(sa.delete(changes).where(changes.c.at < before)).rowcount
