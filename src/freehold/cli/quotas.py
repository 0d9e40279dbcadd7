"""``freehold quota``."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

from freehold.cli import fail
from freehold.cli.state import open_state
from freehold.cli.tables import print_table, table
from freehold.control import quotas
from freehold.control.quotas import NotPossible
from freehold.quotas import QUOTAS, SERVICES
from freehold.records.accounts import Account
from freehold.records.ids import AccountId
from freehold.records.quotas import QuotaRequest, value


def show(data_dir: Path, account_id: str | None, region: str | None, *, as_json: bool) -> None:
    """Print the quotas: those of an account in a region, or the defaults."""
    config, store = open_state(data_dir)
    where = region or config.region
    with closing(store), store.read() as tx:
        if account_id is not None and tx.get(Account, account_id) is None:
            raise fail(f"There is no account {account_id}: `freehold status` lists them.")
        values = {code: value(tx, config, AccountId(account_id or ""), where, code) for code in QUOTAS}
    if as_json:
        described = {code: {"Name": QUOTAS[code].name, "Value": found} for code, found in values.items()}
        print(json.dumps(described, indent=2))
        return
    shown = table("Code", "Service", "Quota", "Value")
    for quota in sorted(QUOTAS.values(), key=lambda quota: (quota.service, quota.name)):
        shown.add_row(quota.code, SERVICES[quota.service], quota.name, f"{values[quota.code]:.15g}")
    print_table(shown)


def show_requests(data_dir: Path, *, as_json: bool) -> None:
    """Print what accounts wait for."""
    _config, store = open_state(data_dir)
    with closing(store), store.read() as tx:
        found = quotas.open_requests(tx)
    if as_json:
        print(json.dumps([_described(request) for request in found], indent=2))
        return
    shown = table("Request", "Account", "Region", "Quota", "Wanted", "Asked at")
    for request in found:
        name = f"{QUOTAS[request.code].name} ({request.code})"
        asked_at = f"{request.created_at:%Y-%m-%d %H:%M:%S}"
        shown.add_row(request.id, request.account_id, request.region, name, f"{request.desired_value:.15g}", asked_at)
    print_table(shown)


def decide(data_dir: Path, request_id: str, *, approve: bool) -> None:
    _config, store = open_state(data_dir)
    try:
        with closing(store), store.write() as tx:
            request = quotas.approve(tx, request_id) if approve else quotas.deny(tx, request_id)
    except NotPossible as error:
        raise fail(str(error)) from None
    done, name = request.status.capitalize(), QUOTAS[request.code].name
    print(f"{done}: {name}, account {request.account_id}, {request.region}.")


def set_value(data_dir: Path, account_id: str, code: str, wanted: float | None, region: str | None) -> None:
    config, store = open_state(data_dir)
    where = region or config.region
    try:
        with closing(store), store.write() as tx:
            quotas.set_value(tx, account_id, where, code, wanted)
            now = value(tx, config, AccountId(account_id), where, code)
    except NotPossible as error:
        raise fail(str(error)) from None
    print(f"{QUOTAS[code].name}, account {account_id}, {where}: {now:.15g}.")


def _described(request: QuotaRequest) -> dict[str, str | float]:
    return {
        "Id": request.id,
        "AccountId": request.account_id,
        "Region": request.region,
        "QuotaCode": request.code,
        "DesiredValue": request.desired_value,
        "Requester": request.requester,
        "Created": request.created_at.isoformat(),
    }
