"""The cloud that a command talks to, and the default account's keys to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold import config as configuration
from freehold.cli import fail
from freehold.paths import Paths
from freehold.supervisor_status import read_status


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
    keys = json.loads(keys_file(paths).read_text())
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


def keys_file(paths: Paths) -> Path:
    """The default account and its root keys, for commands."""
    return paths.keys / "default-account.json"
