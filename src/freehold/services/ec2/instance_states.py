"""The states of an instance as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping

from freehold.records.compute import InstanceState
from freehold.services.operation import Shared

STATE_CODES: Mapping[InstanceState, int] = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
}
"""https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceState.html"""

_SHOWN: Mapping[InstanceState, Shared] = {name: Shared(Code=code, Name=name) for name, code in STATE_CODES.items()}


def shown(state: InstanceState) -> Shared:
    """The InstanceState of a state."""
    return _SHOWN[state]
