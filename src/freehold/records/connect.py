"""Who may come in to an instance for a minute (EC2 Instance Connect), and to serial consoles."""

from __future__ import annotations

import datetime as dt

from freehold.records.ids import AccountId, InstanceId
from freehold.records.schema import Record, table


class ConnectKey(Record, frozen=True):
    """A public key, as OpenSSH writes it, that lets in `os_user` until `expires_at`. `id` is that of the request, and
    `caller_arn` is who sent it."""

    id: str
    account_id: AccountId
    region: str
    instance_id: InstanceId
    os_user: str
    public_key: str
    caller_arn: str
    expires_at: dt.datetime


class SerialConsoleAccess(Record, frozen=True):
    """The account has enabled serial consoles in the region; without this they are disabled."""

    account_id: AccountId
    region: str
    enabled_at: dt.datetime


connect_keys = table(
    "connect_keys", ConnectKey, key=("id",), indexes=(("instance_id",), ("account_id",), ("expires_at",))
)
serial_console_access = table("serial_console_access", SerialConsoleAccess, key=("account_id", "region"))
