"""Quotas of accounts: values of their own, and what they ask for."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping
from typing import Any, Literal

import sqlalchemy as sa

from freehold.config import Config
from freehold.quotas import default
from freehold.records import statements
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


@functools.cache
def _own_value_and_count(kind: type[Record], of: statements.Shape) -> sa.Select[Any]:
    columns = applied_quotas.c
    key = (columns[name] == sa.bindparam(name, type_=columns[name].type) for name in ("account_id", "region", "code"))
    own, held = sa.select(columns.value).where(*key), statements.count(kind, of)
    return sa.select(own.scalar_subquery(), held.scalar_subquery())


def value(tx: Transaction, config: Config, account_id: AccountId, region: str, code: str) -> float:
    """How much of what the quota counts an account may hold in a region."""
    own = tx.get(AppliedQuota, account_id, region, code)
    return own.value if own is not None else default(config.quotas, code)


def value_and_count(
    tx: Transaction,
    config: Config,
    account_id: AccountId,
    region: str,
    code: str,
    kind: type[Record],
    equal: Mapping[str, Any],
) -> tuple[float, int]:
    """`value`, and how many records of `kind` have these values of their columns: read in one statement."""
    query = _own_value_and_count(kind, statements.shape(equal))
    ((own, held),) = tx.rows(query, **{**equal, "account_id": account_id, "region": region, "code": code})
    return (own if own is not None else default(config.quotas, code)), held
