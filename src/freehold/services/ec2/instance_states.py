"""The states of an instance as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freehold.records.compute import InstanceState

STATE_CODES: Mapping[InstanceState, int] = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
}
"""https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceState.html"""

_SHOWN: Mapping[InstanceState, dict[str, Any]] = {
    name: {"Code": code, "Name": name} for name, code in STATE_CODES.items()
}


def shown(state: InstanceState) -> dict[str, Any]:
    """The InstanceState of a state."""
    return _SHOWN[state]
