"""What becomes of held capacity with time: reservations end when their end date has come."""

from __future__ import annotations

from freehold.records.feed import take_turn
from freehold.records.reservations import CapacityReservation, end, reservations
from freehold.records.store import Store, Transaction


def end_reservations(store: Store) -> None:
    """End those whose end date has come. "… it expires within an hour from the specified time": here at once."""
    with store.read() as tx:
        if not _ended(tx):
            return
    with store.write() as tx:
        take_turn(tx)
        for reservation in _ended(tx):
            end(tx, reservation, "expired")


def _ended(tx: Transaction) -> list[CapacityReservation]:
    return tx.select(CapacityReservation, reservations.c.state == "active", reservations.c.ends_at <= tx.now)
