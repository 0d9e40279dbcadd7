"""``freehold account``."""

from __future__ import annotations

import json
from pathlib import Path

from freehold.cli import fail
from freehold.cli.state import open_state
from freehold.control.accounts import close_account, create_account
from freehold.records.accounts import Account
from freehold.records.secrets import Sealer


def create(data_dir: Path, name: str) -> None:
    _config, store = open_state(data_dir)
    with store.write() as tx:
        account, key_id, secret = create_account(tx, Sealer.of(data_dir), name)
    store.close()
    print(json.dumps({"AccountId": account.id, "AccessKeyId": key_id, "SecretAccessKey": secret}, indent=2))


def delete(data_dir: Path, account_id: str) -> None:
    """Begin to close the account; the controllers finish it when its last server and disk are gone."""
    _config, store = open_state(data_dir)
    with store.write() as tx:
        account = tx.get(Account, account_id)
        if account is None:
            raise fail(f"There is no account {account_id}: `freehold status` lists them.")
        gone = close_account(tx, account)
    store.close()
    print(f"Account {account_id} {'is deleted' if gone else 'is being deleted'}; its keys no longer work.")
