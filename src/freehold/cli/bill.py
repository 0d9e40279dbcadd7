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


def show(data_dir: Path, account_id: str | None, *, as_json: bool) -> None:
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
    if as_json:
        print(msgspec.json.encode({"from": month, "to": end, "lines": lines, "total": _total(lines)}).decode())
    else:
        print_table(_table(lines, month, end, config.prices.currency))


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
