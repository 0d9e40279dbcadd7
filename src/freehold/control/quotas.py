"""What the owner of the cloud does with quotas: give an account its own, approve and deny what accounts ask for.

Each is an event in the trail of the account.
"""

from __future__ import annotations

from typing import Any

from freehold.quotas import QUOTAS
from freehold.records import audit
from freehold.records.accounts import Account
from freehold.records.audit import service_event
from freehold.records.feed import take_turn
from freehold.records.ids import AccountId
from freehold.records.quotas import AppliedQuota, QuotaRequest, quota_requests
from freehold.records.store import Transaction


class NotPossible(Exception):
    """There is no such account, quota or open request; the message says which."""


def set_value(tx: Transaction, account_id: str, region: str, code: str, value: float | None) -> None:
    """Give the account a value of its own in the region; None takes it back. Raises NotPossible."""
    take_turn(tx)
    account = tx.get(Account, account_id)
    if account is None:
        raise NotPossible(f"There is no account {account_id}: `freehold status` lists them.")
    if code not in QUOTAS:
        raise NotPossible(f"There is no quota {code}: `freehold quota list` shows them.")
    if value is None:
        tx.delete_where(AppliedQuota, account_id=account.id, region=region, code=code)
    else:
        tx.put(AppliedQuota(account.id, region, code, value))
    _record(tx, account.id, region, "SetServiceQuota", code, value)


def open_requests(tx: Transaction) -> list[QuotaRequest]:
    """What accounts wait for, the oldest first."""
    order = (quota_requests.c.created_at, quota_requests.c.id)
    return tx.select(QuotaRequest, order_by=order, status="PENDING")


def approve(tx: Transaction, request_id: str) -> QuotaRequest:
    """The account has what it asked for from now on. Raises NotPossible."""
    request = _open(tx, request_id)
    tx.put(AppliedQuota(request.account_id, request.region, request.code, request.desired_value))
    _record(tx, request.account_id, request.region, "ApproveServiceQuotaIncrease", request.code, request.desired_value)
    return tx.update(request, status="APPROVED", updated_at=tx.now)


def deny(tx: Transaction, request_id: str) -> QuotaRequest:
    """The account keeps what it has. Raises NotPossible."""
    request = _open(tx, request_id)
    _record(tx, request.account_id, request.region, "DenyServiceQuotaIncrease", request.code, request.desired_value)
    return tx.update(request, status="DENIED", updated_at=tx.now)


def _open(tx: Transaction, request_id: str) -> QuotaRequest:
    take_turn(tx)
    found = tx.get(QuotaRequest, request_id)
    if found is None or found.status != "PENDING":
        raise NotPossible(f"No open request {request_id}: `freehold quota requests` lists them.")
    return found


def _record(tx: Transaction, account_id: AccountId, region: str, name: str, code: str, value: float | None) -> None:
    parameters: dict[str, Any] = {"serviceCode": QUOTAS[code].service, "quotaCode": code, "value": value}
    audit.record(tx, service_event(tx.now, account_id, region, "servicequotas", name, parameters=parameters))
