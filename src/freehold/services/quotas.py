"""The quotas of the caller, for the operations that keep them."""

from __future__ import annotations

from freehold.records import quotas
from freehold.services.operation import Call


def limit(call: Call, code: str) -> int:
    """How many of what the quota counts the account may hold in the region."""
    return int(quotas.value(call.tx, call.config, call.account_id, call.region, code))
