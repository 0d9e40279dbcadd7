"""Quotas of accounts: values of their own, and what they ask for."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from freehold.config import Config
from freehold.quotas import default
from freehold.records.ids import AccountId
from freehold.records.schema import Record, table
from freehold.records.store import Transaction

RequestStatus = Literal["PENDING", "APPROVED", "DENIED"]


class AppliedQuota(Record, frozen=True):
    """The value that an account has in a region in the place of the default."""

    account_id: AccountId
    region: str
    code: str
    value: float


class QuotaRequest(Record, frozen=True):
    """An account asks for more. The owner of the cloud approves or denies it, once. `requester` is the caller's ARN."""

    id: str
    account_id: AccountId
    region: str
    code: str
    desired_value: float
    status: RequestStatus
    requester: str
    created_at: dt.datetime
    updated_at: dt.datetime


applied_quotas = table("applied_quotas", AppliedQuota, key=("account_id", "region", "code"))
quota_requests = table(
    "quota_requests",
    QuotaRequest,
    key=("id",),
    indexes=(("account_id", "region", "id"), ("status", "created_at")),
)


def value(tx: Transaction, config: Config, account_id: AccountId, region: str, code: str) -> float:
    """How much of what the quota counts an account may hold in a region."""
    own = tx.get(AppliedQuota, account_id, region, code)
    return own.value if own is not None else default(config.quotas, code)
