"""DescribeInstanceStatus.

The system status is the host's: it runs the guest, or has said that it can not. The instance status is the guest's own:
``initializing`` until its kernel has written to the console, or, for a guest with a silent console, for a minute.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.records.compute import console_outputs, instances
from freehold.services.ec2.filters import Condition, absent, matching
from freehold.services.ec2.instance_filters import STATUS_FILTERS
from freehold.services.ec2.instance_states import shown
from freehold.services.ec2.paging import described, not_with_ids
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import INSTANCE
from freehold.services.ec2.zones import zone_id
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import DescribeInstanceStatusRequestTypeDef

_SILENT = dt.timedelta(minutes=1)
_REACHABILITY = {"ok": "passed", "impaired": "failed", "initializing": "initializing"}


def _instance_status(call: Call) -> sa.ColumnElement[str]:
    has_written = sa.exists().where(
        console_outputs.c.instance_id == instances.c.id, console_outputs.c.at >= instances.c.launched_at
    )
    return sa.case(
        (instances.c.state != "running", "not-applicable"),
        (instances.c.system_impaired, "impaired"),
        (has_written, "ok"),
        (instances.c.launched_at <= sa.literal(call.now - _SILENT, instances.c.launched_at.type), "ok"),
        else_="initializing",
    )


def _system_status(_call: Call) -> sa.ColumnElement[str]:
    return sa.case(
        (instances.c.state != "running", "not-applicable"),
        (instances.c.system_impaired, "impaired"),
        else_="ok",
    )


def _reachability(status: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    return sa.case(*((status == name, shown_as) for name, shown_as in _REACHABILITY.items()))


_FILTERS: dict[str, Condition] = {
    **STATUS_FILTERS,
    **{f"event.{name}": absent for name in (
        "code", "description", "instance-event-id", "not-after", "not-before", "not-before-deadline"
    )},
    "application-status.status": absent,
    "attached-ebs-status.status": lambda call, values: matching(_system_status(call), values),
    "instance-status.reachability": lambda call, values: matching(_reachability(_instance_status(call)), values),
    "instance-status.status": lambda call, values: matching(_instance_status(call), values),
    "system-status.reachability": lambda call, values: matching(_reachability(_system_status(call)), values),
    "system-status.status": lambda call, values: matching(_system_status(call), values),
}  # fmt: skip


@operation()
def describe_instance_status(call: Call, request: DescribeInstanceStatusRequestTypeDef) -> Response:
    """Running instances, unless IncludeAllInstances."""
    refuse_others(
        request,
        {"Filters", "IncludeAllInstances", "InstanceIds", "MaxResults", "NextToken"},
        {"IncludeManagedResources": False},
    )
    not_with_ids(request, "InstanceIds")
    where = [] if request.get("IncludeAllInstances") else [instances.c.state == "running"]
    page = described(call, INSTANCE, request, "InstanceIds", _FILTERS, *where)
    statuses = {
        instance_id: (instance_status, system_status)
        for instance_id, instance_status, system_status in call.tx.connection.execute(
            sa.select(instances.c.id, _instance_status(call), _system_status(call)).where(
                instances.c.id.in_([instance.id for instance in page.rows])
            )
        )
    }
    return {
        "InstanceStatuses": [
            {
                "InstanceId": instance.id,
                "AvailabilityZone": instance.zone,
                "AvailabilityZoneId": zone_id(instance.region, instance.zone),
                "InstanceState": shown(instance.state),
                "InstanceStatus": _status(statuses[instance.id][0]),
                "SystemStatus": _status(statuses[instance.id][1]),
                "AttachedEbsStatus": _status(statuses[instance.id][1]),
                "Events": [],
                "Operator": {"Managed": False},
            }
            for instance in page.rows
        ],
        **page.token,
    }


def _status(status: str) -> dict[str, Any]:
    reachability = _REACHABILITY.get(status)
    return {"Status": status, "Details": [{"Name": "reachability", "Status": reachability}] if reachability else []}
