"""The states of an instance as the API shows them, and which of them let it be modified."""

from __future__ import annotations

from collections.abc import Mapping

from freehold.records.compute import Instance, InstanceState
from freehold.services.ec2.compute_errors import IncorrectInstanceState
from freehold.services.ec2.resources import INSTANCE
from freehold.services.operation import Call, Shared

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


def modifiable(call: Call, instance_id: str) -> Instance:
    """The instance with this id. Raises the codes of a wrong id, IncorrectInstanceState for one that is going."""
    instance = INSTANCE.load(call, instance_id)
    if instance.state in ("shutting-down", "terminated"):
        raise IncorrectInstanceState(f"The instance '{instance.id}' is {instance.state}: it can not be modified.")
    return instance


def check_stopped(instance: Instance) -> None:
    if instance.state != "stopped":
        raise IncorrectInstanceState(f"The instance '{instance.id}' is not in the 'stopped' state.")
