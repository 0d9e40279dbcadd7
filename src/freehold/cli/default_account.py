"""The account that `freehold env`, `freehold aws` and the other commands use."""

from __future__ import annotations

import json
import os

from freehold.cli.endpoint import keys_file
from freehold.control.accounts import create_account
from freehold.paths import Paths
from freehold.records.access_keys import create_access_key
from freehold.records.accounts import AccessKey, Account, access_keys, accounts
from freehold.records.secrets import ACCESS_KEY, Sealer
from freehold.records.store import Store

_DEFAULT = "default"


def ensure_default_account(paths: Paths, store: Store) -> str:
    """Have the default account, and its root keys in `keys_file`; returns its id."""
    sealer = Sealer.of(paths.data_dir)
    with store.write() as tx:
        account = tx.find(Account, accounts.c.name == _DEFAULT, accounts.c.closing_at.is_(None))
        if account is None:
            account, key_id, secret = create_account(tx, sealer, _DEFAULT)
        elif held := tx.find(AccessKey, access_keys.c.account_id == account.id, access_keys.c.user_id.is_(None)):
            key_id, secret = held.id, sealer.open(ACCESS_KEY, held.id, held.sealed_secret).decode()
        else:
            key, secret = create_access_key(tx, sealer, account.id, user_id=None)
            key_id = key.id
    keys = {"AccountId": account.id, "AccessKeyId": key_id, "SecretAccessKey": secret}
    temporary = keys_file(paths).with_suffix(".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(keys, file, indent=2)
    temporary.rename(keys_file(paths))
    return account.id
