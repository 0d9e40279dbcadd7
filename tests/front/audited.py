"""Reading the audit trail of a front door under test."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from freehold.records.audit import AuditEvent
from freehold.records.store import Store
from tests.cloudapi import ApiServer


def written(store: Store) -> list[dict[str, Any]]:
    """All records, in their order."""
    with store.read() as tx:
        return [json.loads(event.body) for event in tx.select(AuditEvent)]


def records(api: ApiServer, name: str, number: int = 1, *, of: str = "") -> list[dict[str, Any]]:
    """The records of an operation that have the text `of`, once there are `number` of them: those of reads and refusals
    come a moment later."""
    for _ in range(200):
        found = [record for record in written(api.store) if record["eventName"] == name and of in json.dumps(record)]
        if len(found) >= number:
            return found
        time.sleep(0.05)
    pytest.fail(f"{name} is not recorded")


def recorded(api: ApiServer, request_id: str) -> dict[str, Any]:
    """The record of a request in the trail; those of calls that read come a moment later."""
    for _ in range(200):
        for record in written(api.store):
            if record["requestID"] == request_id:
                return record
        time.sleep(0.05)
    pytest.fail(f"{request_id} is not in the trail")
