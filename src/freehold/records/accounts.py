"""Accounts, IAM users and access keys."""

from __future__ import annotations

import datetime as dt

from freehold.records.ids import AccountId
from freehold.records.schema import Record, table


class Account(Record, frozen=True):
    """A customer of the cloud: the owner of resources and the payer of a bill. `closing_at` = it is being deleted."""

    id: AccountId
    name: str
    created_at: dt.datetime
    closing_at: dt.datetime | None = None


class User(Record, frozen=True):
    """An IAM user. `id` is its unique id (``AIDA…``); `folded`: see records/identities."""

    id: str
    account_id: AccountId
    name: str
    folded: str
    path: str
    created_at: dt.datetime
    boundary_arn: str | None = None
    password_used_at: dt.datetime | None = None


class AccessKey(Record, frozen=True):
    """A key pair that signs requests until it is deleted. `user_id` None = the account's root. `sealed_secret` opens
    with the cloud's key. (Temporary credentials are no records: see records/sessions.)"""

    id: str
    account_id: AccountId
    user_id: str | None
    sealed_secret: bytes
    active: bool
    created_at: dt.datetime


class AccessKeyUse(Record, frozen=True):
    """When and for what a key last signed (GetAccessKeyLastUsed); written behind the calls, in batches."""

    key_id: str
    account_id: AccountId
    used_at: dt.datetime
    region: str
    service: str


class OpenedRegion(Record, frozen=True):
    """A region that an account has used: its default VPC has been made there."""

    account_id: AccountId
    region: str
    opened_at: dt.datetime


accounts = table("accounts", Account, key=("id",), indexes=(("name",),))
users = table("users", User, key=("id",), unique=(("account_id", "folded"),))
access_keys = table("access_keys", AccessKey, key=("id",), indexes=(("account_id",),))
access_key_uses = table("access_key_uses", AccessKeyUse, key=("key_id",), indexes=(("account_id",),))
opened_regions = table("opened_regions", OpenedRegion, key=("account_id", "region"))
