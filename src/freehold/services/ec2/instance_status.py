"""DescribeInstanceStatus, ReportInstanceStatus.

Three checks (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-system-instance-status-check.html): the
system status is the host's: it is linked, reports, and runs the guest; the instance status is the guest's own: it
answers its host by ARP on its private address; the attached EBS status: its disks can be written. What a host that is
silent would say of guests is not known: ``insufficient-data``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import sqlalchemy as sa

from freehold.records.compute import Instance, hosts, instances
from freehold.records.events import StatusReport, instance_events
from freehold.services.ec2.compute_errors import IncorrectInstanceState
from freehold.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue
from freehold.services.ec2.filters import Condition, absent, any_row, matching, moment, text
from freehold.services.ec2.instance_events import events_of, shown_description, still_shown
from freehold.services.ec2.instance_filters import STATUS_FILTERS
from freehold.services.ec2.instance_states import shown
from freehold.services.ec2.paging import described, not_with_ids
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import INSTANCE, named_by
from freehold.services.ec2.zones import zone_id
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import DescribeInstanceStatusRequestTypeDef, ReportInstanceStatusRequestTypeDef

_DESCRIPTION_MAX = 1000

# A host reports at least every 10 s; one that has not for this long is silent.
_SILENCE = dt.timedelta(seconds=60)
_REACHABILITY = {
    "ok": "passed",
    "impaired": "failed",
    "insufficient-data": "insufficient-data",
    "initializing": "initializing",
}


def _silent_host(call: Call) -> sa.ColumnElement[bool]:
    quiet = hosts.c.reported_at < sa.literal(call.now - _SILENCE, hosts.c.reported_at.type)
    return sa.exists().where(hosts.c.id == instances.c.host_id, quiet)


def _lost_host(call: Call) -> sa.ColumnElement[bool]:
    """Its link is down, and long since. A host that is linked and yet silent may be well: its link is at fault."""
    return sa.and_(_silent_host(call), sa.exists().where(hosts.c.id == instances.c.host_id, ~hosts.c.connected))


def _instance_status(call: Call) -> sa.ColumnElement[str]:
    return sa.case(
        (instances.c.state != "running", "not-applicable"),
        (_silent_host(call), "insufficient-data"),
        (instances.c.system_impaired_since.is_not(None), "impaired"),
        (instances.c.reachability == "failed", "impaired"),
        (instances.c.reachability == "passed", "ok"),
        else_="initializing",
    )


def _system_status(call: Call) -> sa.ColumnElement[str]:
    return sa.case(
        (instances.c.state != "running", "not-applicable"),
        (_lost_host(call), "impaired"),
        (_silent_host(call), "insufficient-data"),
        (instances.c.system_impaired_since.is_not(None), "impaired"),
        else_="ok",
    )


def _ebs_status(call: Call) -> sa.ColumnElement[str]:
    return sa.case(
        (instances.c.state != "running", "not-applicable"),
        (_silent_host(call), "insufficient-data"),
        (instances.c.disks_impaired_since.is_not(None), "impaired"),
        else_="ok",
    )


def _reachability(status: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    return sa.case(*((status == name, shown_as) for name, shown_as in _REACHABILITY.items()))


def _event(that: Condition) -> Condition:
    return lambda call, values: any_row(
        instance_events, instance_events.c.instance_id == instances.c.id, *still_shown(call), that=that
    )(call, values)


_FILTERS: dict[str, Condition] = {
    **STATUS_FILTERS,
    "application-status.status": absent,
    "attached-ebs-status.status": lambda call, values: matching(_ebs_status(call), values),
    "event.code": _event(text(instance_events.c.code)),
    "event.description": _event(text(shown_description)),
    "event.instance-event-id": _event(text(instance_events.c.id)),
    "event.not-after": _event(moment(instance_events.c.not_after)),
    "event.not-before": _event(moment(instance_events.c.not_before)),
    "event.not-before-deadline": _event(moment(instance_events.c.not_before_deadline)),
    "instance-status.reachability": lambda call, values: matching(_reachability(_instance_status(call)), values),
    "instance-status.status": lambda call, values: matching(_instance_status(call), values),
    "system-status.reachability": lambda call, values: matching(_reachability(_system_status(call)), values),
    "system-status.status": lambda call, values: matching(_system_status(call), values),
}


class _Statuses(NamedTuple):
    """The three of an instance, and when its host last reported."""

    instance: str
    system: str
    ebs: str
    reported_at: dt.datetime | None


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
    ids = [instance.id for instance in page.rows]
    events = events_of(call, ids)
    reported_at = sa.select(hosts.c.reported_at).where(hosts.c.id == instances.c.host_id).scalar_subquery()
    query = sa.select(instances.c.id, _instance_status(call), _system_status(call), _ebs_status(call), reported_at)
    statuses = {
        instance_id: _Statuses(*row)
        for instance_id, *row in call.tx.connection.execute(query.where(instances.c.id.in_(ids)))
    }
    return {
        "InstanceStatuses": [_shown(each, statuses[each.id], events[each.id]) for each in page.rows],
        **page.token,
    }


def _shown(instance: Instance, statuses: _Statuses, events: Sequence[Response]) -> Response:
    lost_since = instance.system_impaired_since or statuses.reported_at
    return {
        "InstanceId": instance.id,
        "AvailabilityZone": instance.zone,
        "AvailabilityZoneId": zone_id(instance.region, instance.zone),
        "InstanceState": shown(instance.state),
        "InstanceStatus": _status(statuses.instance, instance.unreachable_since or lost_since),
        "SystemStatus": _status(statuses.system, lost_since),
        "AttachedEbsStatus": _status(statuses.ebs, instance.disks_impaired_since),
        "Events": events,
        "Operator": {"Managed": False},
    }


def _status(status: str, impaired_since: dt.datetime | None) -> Response:
    if status == "not-applicable":
        return {"Status": status, "Details": []}
    detail: dict[str, Any] = {"Name": "reachability", "Status": _REACHABILITY[status]}
    if status == "impaired" and impaired_since is not None:
        detail["ImpairedSince"] = impaired_since
    return {"Status": status, "Details": [detail]}


@operation(resources=named_by("Instances", INSTANCE))
def report_instance_status(call: Call, request: ReportInstanceStatusRequestTypeDef) -> Response:
    """Feedback for the operator (`freehold event reports`), the last one of each instance; it "does not change the
    value returned by DescribeInstanceStatus". Raises IncorrectInstanceState for an instance that does not run.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ReportInstanceStatus.html
    """
    refuse_others(request, {"Instances", "Status", "StartTime", "EndTime", "ReasonCodes", "Description"})
    start = cast("dt.datetime | None", request.get("StartTime"))
    end = cast("dt.datetime | None", request.get("EndTime"))
    if start is not None and end is not None and end < start:
        raise InvalidParameterCombination("The parameter EndTime may not be before the parameter StartTime")
    if len(request.get("Description", "")) > _DESCRIPTION_MAX:
        raise InvalidParameterValue(f"The parameter Description has more than {_DESCRIPTION_MAX} characters.")
    for instance in INSTANCE.load_all(call, request["Instances"]):
        if instance.state != "running":
            raise IncorrectInstanceState(f"The instance '{instance.id}' is not in the 'running' state.")
        call.tx.put(
            StatusReport(
                instance_id=instance.id,
                account_id=instance.account_id,
                region=instance.region,
                reported_at=call.now,
                status=request["Status"],
                reason_codes=tuple(request["ReasonCodes"]),
                description=request.get("Description", ""),
                start_time=start,
                end_time=end,
            )
        )
    return {}
