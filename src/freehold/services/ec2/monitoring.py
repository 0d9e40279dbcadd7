"""MonitorInstances and UnmonitorInstances: whether an instance is to be watched by the minute (detailed monitoring)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from freehold.records.feed import take_turn
from freehold.services.ec2.compute_errors import IncorrectInstanceState
from freehold.services.ec2.errors import MissingParameter
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import INSTANCE, named_by
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import MonitorInstancesRequestTypeDef, UnmonitorInstancesRequestTypeDef


@operation(resources=named_by("InstanceIds", INSTANCE))
def monitor_instances(call: Call, request: MonitorInstancesRequestTypeDef) -> Response:
    """The answer says ``pending`` of what was not monitored before, as AWS's does; DescribeInstances says ``enabled``.

    Raises IncorrectInstanceState for an instance that is going."""
    refuse_others(request, {"InstanceIds"})
    return _monitorings(call, request["InstanceIds"], wanted=True, changing="pending")


@operation(resources=named_by("InstanceIds", INSTANCE))
def unmonitor_instances(call: Call, request: UnmonitorInstancesRequestTypeDef) -> Response:
    """The answer says ``disabling`` of what was monitored before; raises what MonitorInstances does."""
    refuse_others(request, {"InstanceIds"})
    return _monitorings(call, request["InstanceIds"], wanted=False, changing="disabling")


def _monitorings(call: Call, instance_ids: Sequence[str], *, wanted: bool, changing: str) -> Response:
    if not instance_ids:
        raise MissingParameter("InstanceId")
    take_turn(call.tx)
    result = []
    for instance in INSTANCE.load_all(call, instance_ids):
        if instance.state in ("shutting-down", "terminated"):
            raise IncorrectInstanceState(f"The instance '{instance.id}' is {instance.state}: it can not be modified.")
        state = "enabled" if wanted else "disabled"
        if instance.monitoring != wanted:
            call.tx.update(instance, monitoring=wanted)
            state = changing
        result.append({"InstanceId": instance.id, "Monitoring": {"State": state}})
    return {"InstanceMonitorings": result}
