"""``freehold bill``."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import msgspec
from rich.table import Table

from freehold.cli import fail
from freehold.cli.state import open_state
from freehold.cli.tables import print_table, table
from freehold.control.billing import BillLine, NoPrice, bill
from freehold.records.accounts import Account
from freehold.records.ids import AccountId


def show(data_dir: Path, account_id: str | None, *, as_json: bool, by_item: bool = False) -> None:
    """Print the bill of this month. `by_item`: one line for all resources that used the same item."""
    config, store = open_state(data_dir)
    with store.read() as tx:
        month = tx.now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        wanted = [AccountId(account_id)] if account_id else [account.id for account in tx.select(Account)]
        try:
            lines = [line for one in wanted for line in bill(tx, config, one, month, tx.now)]
        except NoPrice as error:
            raise fail(str(error)) from None
        end = tx.now
    store.close()
    if by_item:
        lines = _by_item(lines)
    if as_json:
        print(msgspec.json.encode({"from": month, "to": end, "lines": lines, "total": _total(lines)}).decode())
    else:
        print_table(_table(lines, month, end, config.prices.currency))


def _by_item(lines: list[BillLine]) -> list[BillLine]:
    grouped: dict[tuple[str, str, str], list[BillLine]] = {}
    for line in lines:
        grouped.setdefault((line.account_id, line.region, line.item), []).append(line)
    return [
        msgspec.structs.replace(
            held[0],
            resource_id=f"{len(held)} resources",
            seconds=None if held[0].seconds is None else sum(line.seconds or 0 for line in held),
            quantity=sum((line.quantity for line in held), start=Decimal(0)),
            cost=_total(held),
            running=any(line.running for line in held),
        )
        for held in grouped.values()
    ]


def _total(lines: list[BillLine]) -> Decimal:
    return sum((line.cost for line in lines), start=Decimal(0))


def _table(lines: list[BillLine], start: dt.datetime, end: dt.datetime, currency: str) -> Table:
    title = f"Usage from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
    shown = table("Account", "Resource", "Item", title=title, show_footer=True)
    shown.add_column("Time", justify="right")
    shown.add_column("Usage", justify="right")
    shown.add_column("Rate", justify="right", footer="Total")
    shown.add_column(f"Cost ({currency})", justify="right", footer=f"{_total(lines):.6f}")
    for line in lines:
        time = "" if line.seconds is None else str(dt.timedelta(seconds=line.seconds))
        usage = f"{line.quantity:.6f} {line.unit}"
        held = f"{time} …" if line.running else time
        shown.add_row(line.account_id, line.resource_id, line.item, held, usage, str(line.rate), f"{line.cost:.6f}")
    return shown
