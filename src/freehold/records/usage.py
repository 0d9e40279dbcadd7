"""The usage ledger: what was held, by whom, from when to when.

An entry is an interval of holding `quantity` of an `item` (``instance:t3.micro``, ``volume:gp3``, ``address``,
``egress``): it is opened and closed in the transaction of the change that caused it, so that the bill cannot drift
from what happened. A resource holds an item at most once at a time. Counted things (bytes) are entries of one clock
hour whose quantity grows.
"""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa

from freehold.records.ids import AccountId
from freehold.records.schema import Record, table
from freehold.records.store import Transaction


class UsageEntry(Record, frozen=True):
    """`quantity` is in the item's unit: 1 instance, GiB of a volume, bytes of a snapshot, 1 address, bytes.

    `closed_at` None = held still.
    """

    id: int
    account_id: AccountId
    region: str
    resource_id: str
    item: str
    quantity: int
    opened_at: dt.datetime
    closed_at: dt.datetime | None


usage = table(
    "usage",
    UsageEntry,
    key=("id",),
    autoincrement=True,
    indexes=(("account_id", "opened_at"), ("resource_id", "item")),
)


def open_usage(
    tx: Transaction, account_id: AccountId, region: str, resource_id: str, item: str, quantity: int = 1
) -> None:
    """Begin holding. Opening what is already open changes nothing."""
    if tx.find(UsageEntry, resource_id=resource_id, item=item, closed_at=None) is None:
        tx.append(
            UsageEntry,
            account_id=account_id,
            region=region,
            resource_id=resource_id,
            item=item,
            quantity=quantity,
            opened_at=tx.now,
            closed_at=None,
        )


def close_usage(tx: Transaction, resource_id: str, item: str | None = None, at: dt.datetime | None = None) -> None:
    """Stop holding one item, or all items, of a resource at `at` (default: now; never before it was opened)."""
    moment = at or tx.now
    condition = [usage.c.resource_id == resource_id, usage.c.closed_at.is_(None)]
    if item is not None:
        condition.append(usage.c.item == item)
    bound = sa.literal(moment, type_=usage.c.opened_at.type)
    tx.connection.execute(
        sa.update(usage)
        .where(*condition)
        .values(closed_at=sa.case((usage.c.opened_at > bound, usage.c.opened_at), else_=bound))
    )


def count_usage(
    tx: Transaction, account_id: AccountId, region: str, resource_id: str, item: str, quantity: int
) -> None:
    """Add a counted quantity to this hour's entry."""
    hour = tx.now.replace(minute=0, second=0, microsecond=0)
    # An address may be one account's and then another's within the hour.
    row = (
        usage.c.account_id == account_id,
        usage.c.region == region,
        usage.c.resource_id == resource_id,
        usage.c.item == item,
        usage.c.opened_at == hour,
    )
    grown = tx.connection.execute(sa.update(usage).where(*row).values(quantity=usage.c.quantity + quantity)).rowcount
    if not grown:
        tx.append(
            UsageEntry,
            account_id=account_id,
            region=region,
            resource_id=resource_id,
            item=item,
            quantity=quantity,
            opened_at=hour,
            closed_at=hour + dt.timedelta(hours=1),
        )
