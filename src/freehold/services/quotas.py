"""The quotas of the caller, for the operations that keep them."""

from __future__ import annotations

from typing import Any

from freehold.records import quotas
from freehold.records.schema import Record
from freehold.services.operation import Call


def limit(call: Call, code: str) -> int:
    """How many of what the quota counts the account may hold in the region."""
    return int(quotas.value(call.tx, call.config, call.account_id, call.region, code))


def limit_and_count(call: Call, code: str, kind: type[Record], **equal: Any) -> tuple[int, int]:
    """`limit`, and how many records of `kind` there are with these values of their columns."""
    most, held = quotas.value_and_count(call.tx, call.config, call.account_id, call.region, code, kind, equal)
    return int(most), held
