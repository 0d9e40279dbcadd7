"""The bill: the usage ledger rated by the price book, in decimal arithmetic.

Time is billed by the second; a month of a volume is 730 hours and a GB of traffic 10⁹ bytes, as AWS counts them
(https://aws.amazon.com/ebs/pricing/, https://aws.amazon.com/ec2/pricing/on-demand/). Amounts are exact: nothing is
rounded before it is printed.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import msgspec

from freehold.config import Config
from freehold.instance_types import offered, spot_price
from freehold.records.ids import AccountId
from freehold.records.store import Transaction
from freehold.records.usage import UsageEntry, usage

_HOUR = Decimal(3600)
_MONTH = 730 * _HOUR
_GB = Decimal(10**9)
_GIB = Decimal(1 << 30)
_VCPU_HOUR = Decimal(60 * 1000)  # in thousandths of a CPU credit


class BillLine(msgspec.Struct, frozen=True):
    """What one resource used of one item. `quantity` is in `unit`; `rate` is the price of one `unit`."""

    account_id: AccountId
    region: str
    resource_id: str
    item: str
    seconds: int | None
    quantity: Decimal
    unit: str
    rate: Decimal
    cost: Decimal
    running: bool


class NoPrice(Exception):
    """The price book has no price for an item that was used."""

    def __init__(self, item: str) -> None:
        super().__init__(f"There is no price for {item}: give one in freehold.toml (docs/configuration.md).")


def rates(config: Config) -> dict[str, tuple[Decimal, str]]:
    """The price book: for each item the price of one unit, and the unit."""
    prices, types = config.prices, offered(config)
    return (
        {f"instance:{name}": (kind.price_per_hour, "hour") for name, kind in types.items()}
        | {f"reserved:{name}": (kind.price_per_hour, "hour") for name, kind in types.items()}
        | {f"spot:{name}": (spot_price(config, kind), "hour") for name, kind in types.items()}
        | {f"volume:{name}": (price, "GiB-month") for name, price in prices.volume_gib_month.items()}
        | {"snapshot": (prices.snapshot_gib_month, "GiB-month")}
        | {"cpu-credits": (prices.surplus_vcpu_hour, "vCPU-hour")}
        | {f"volume-iops:{name}": (price, "IOPS-month") for name, price in prices.volume_iops_month.items()}
        | {f"volume-throughput:{name}": (price, "MiBps-month") for name, price in prices.volume_mibps_month.items()}
        | {"address": (prices.address_hour, "hour"), "egress": (prices.egress_gb, "GB")}
    )


def bill(
    tx: Transaction, config: Config, account_id: AccountId, start: dt.datetime, end: dt.datetime
) -> list[BillLine]:
    """The lines of an account's bill for usage from `start` up to `end`, by resource and item in order of first use.

    Raises NoPrice.
    """
    entries = tx.select(
        UsageEntry,
        usage.c.account_id == account_id,
        usage.c.opened_at < end,
        usage.c.closed_at.is_(None) | (usage.c.closed_at > start),
        order_by=(usage.c.opened_at, usage.c.id),
    )
    grouped: dict[tuple[str, str, str], list[UsageEntry]] = {}
    for entry in entries:
        grouped.setdefault((entry.region, entry.resource_id, entry.item), []).append(entry)
    book = rates(config)
    return [_line(book, held, start, min(end, tx.now)) for held in grouped.values()]


def _line(
    book: dict[str, tuple[Decimal, str]], held: list[UsageEntry], start: dt.datetime, end: dt.datetime
) -> BillLine:
    first = held[0]
    if first.item not in book:
        raise NoPrice(first.item)
    rate, unit = book[first.item]
    seconds: int | None = None
    if unit == "GB":
        quantity = Decimal(sum(entry.quantity for entry in held)) / _GB
    elif unit == "vCPU-hour":
        quantity = Decimal(sum(entry.quantity for entry in held)) / _VCPU_HOUR
    else:
        spans = [_seconds(entry, start, end) for entry in held]
        seconds = sum(spans)
        unit_seconds = _HOUR if unit == "hour" else _MONTH
        quantity = (
            sum((entry.quantity * span for entry, span in zip(held, spans, strict=True)), start=Decimal(0))
            / unit_seconds
        )
        if first.item == "snapshot":  # counted in bytes
            quantity /= _GIB
    return BillLine(
        account_id=first.account_id,
        region=first.region,
        resource_id=first.resource_id,
        item=first.item,
        seconds=seconds,
        quantity=quantity,
        unit=unit,
        rate=rate,
        cost=quantity * rate,
        running=any(entry.closed_at is None for entry in held),
    )


def _seconds(entry: UsageEntry, start: dt.datetime, end: dt.datetime) -> int:
    """Whole seconds of the entry within the period, to the nearest."""
    span = min(entry.closed_at or end, end) - max(entry.opened_at, start)
    return max(0, round(span.total_seconds()))
