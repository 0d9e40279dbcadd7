"""The cloud that a command talks to, and the default account's keys to it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold import config as configuration
from freehold.cli import fail
from freehold.paths import Paths
from freehold.records.accounts import AccessKey, Account, access_keys, accounts
from freehold.records.secrets import ACCESS_KEY, Sealer
from freehold.records.store import Store
from freehold.supervisor import read_status

_DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Endpoint:
    url: str
    region: str
    account_id: str
    access_key_id: str
    secret_access_key: str

    def environment(self) -> dict[str, str]:
        """The variables that AWS's own tools read."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
        }


def cloud_paths(data_dir: Path) -> Paths:
    """The layout of a data directory that has a cloud; else the command ends with a sentence."""
    paths = Paths(data_dir.absolute())
    try:
        present = paths.keys.is_dir()
    except PermissionError:
        raise fail(f"{data_dir} is another user's: run this as root, for example with sudo.") from None
    if not present:
        raise fail(f"There is no cloud in {data_dir}: `freehold up` makes one, --data-dir names another.")
    return paths


def running_endpoint(data_dir: Path) -> Endpoint:
    """The endpoint of a cloud that runs; else the command ends with a sentence."""
    paths = cloud_paths(data_dir)
    status = read_status(paths.run)
    if status is None:
        raise fail(f"The cloud in {data_dir} does not run: `freehold up` starts it.")
    keys = json.loads(_keys_file(paths).read_text())
    return Endpoint(
        url=f"http://127.0.0.1:{status['port']}",
        region=configuration.load(data_dir).region,
        account_id=keys["AccountId"],
        access_key_id=keys["AccessKeyId"],
        secret_access_key=keys["SecretAccessKey"],
    )


# The variables and files that would have botocore call another endpoint, or with other settings.
_UNSET: dict[str, Any] = dict.fromkeys(("profile", "config_file", "credentials_file"), (None, None, None, None))


def client(endpoint: Endpoint, service: str) -> Any:
    """A botocore client of a service, with the default account's keys; to be closed."""
    from botocore.config import Config
    from botocore.session import Session

    return Session(_UNSET).create_client(
        service,
        endpoint_url=endpoint.url,
        region_name=endpoint.region,
        aws_access_key_id=endpoint.access_key_id,
        aws_secret_access_key=endpoint.secret_access_key,
        config=Config(proxies={}),
    )


def ensure_default_account(paths: Paths, store: Store) -> str:
    """Have the default account, and its root keys in ``keys/default-account.json``; returns its id."""
    from freehold.control.accounts import create_access_key, create_account

    sealer = Sealer.of(paths.data_dir)
    with store.write() as tx:
        account = tx.find(Account, accounts.c.name == _DEFAULT, accounts.c.closing_at.is_(None))
        if account is None:
            account, key_id, secret = create_account(tx, sealer, _DEFAULT)
        elif key := tx.find(AccessKey, access_keys.c.account_id == account.id, access_keys.c.user_id.is_(None)):
            key_id, secret = key.id, sealer.open(ACCESS_KEY, key.id, key.sealed_secret).decode()
        else:
            key_id, secret = create_access_key(tx, sealer, account.id, user_id=None)
    keys = {"AccountId": account.id, "AccessKeyId": key_id, "SecretAccessKey": secret}
    temporary = _keys_file(paths).with_suffix(".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(keys, file, indent=2)
    temporary.rename(_keys_file(paths))
    return account.id


def _keys_file(paths: Paths) -> Path:
    return paths.keys / "default-account.json"
