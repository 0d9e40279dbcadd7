"""DescribeVolumeStatus, EnableVolumeIO, DescribeVolumeAttribute, ModifyVolumeAttribute.

A volume's I/O fails where its host can not write it; nothing then has to be enabled again, so that AutoEnableIO is kept
and makes no difference.

https://docs.aws.amazon.com/ebs/latest/userguide/monitoring-volume-status.html
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.records.compute import Instance, Volume, VolumeAttachment, instances, volume_attachments, volumes
from freehold.records.feed import take_turn
from freehold.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue
from freehold.services.ec2.filters import Condition, absent, constant, text
from freehold.services.ec2.paging import described, not_with_ids
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.regions import zone_id_filter
from freehold.services.ec2.resources import VOLUME, named_by
from freehold.services.ec2.zones import zone_id
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        DescribeVolumeAttributeRequestTypeDef,
        DescribeVolumeStatusRequestTypeDef,
        EnableVolumeIORequestTypeDef,
        ModifyVolumeAttributeRequestTypeDef,
    )

_FAILING = sa.exists().where(
    volume_attachments.c.volume_id == volumes.c.id,
    volume_attachments.c.instance_id == instances.c.id,
    instances.c.disks_impaired_since.is_not(None),
)
_FILTERS: dict[str, Condition] = {
    **dict.fromkeys(
        (
            "action.code",
            "action.description",
            "action.event-id",
            "event.description",
            "event.event-id",
            "event.event-type",
            "event.not-after",
            "event.not-before",
        ),
        absent,
    ),
    "availability-zone": text(volumes.c.zone),
    "availability-zone-id": zone_id_filter(volumes.c.zone),
    "operator.managed": constant("false"),
    "operator.principal": absent,
    "volume-status.details-name": lambda call, values: sa.or_(
        *(constant(name)(call, values) for name in ("io-enabled", "io-performance"))
    ),
    "volume-status.details-status": lambda call, values: sa.or_(
        constant("not-applicable")(call, values), text(sa.case((_FAILING, "failed"), else_="passed"))(call, values)
    ),
    "volume-status.status": text(sa.case((_FAILING, "impaired"), else_="ok")),
}


@operation()
def describe_volume_status(call: Call, request: DescribeVolumeStatusRequestTypeDef) -> Response:
    """``impaired`` while an instance is paused because its host can not write its disks."""
    refuse_others(request, {"Filters", "MaxResults", "NextToken", "VolumeIds"}, {"IncludeManagedResources": False})
    not_with_ids(request, "VolumeIds")
    page = described(call, VOLUME, request, "VolumeIds", _FILTERS)
    attached: dict[str, list[str]] = defaultdict(list)
    for attachment in call.tx.select(VolumeAttachment, volume_id=[volume.id for volume in page.rows]):
        attached[attachment.volume_id].append(attachment.instance_id)
    ids = {instance_id for ids in attached.values() for instance_id in ids}
    failing = {instance.id for instance in call.tx.select(Instance, id=list(ids)) if instance.disks_impaired_since}
    statuses = [
        _shown(volume, attached[volume.id], not failing.isdisjoint(attached[volume.id])) for volume in page.rows
    ]
    return {"VolumeStatuses": statuses, **page.token}


@operation(resources=named_by("VolumeId", VOLUME))
def enable_volume_io(call: Call, request: EnableVolumeIORequestTypeDef) -> Response:
    """No volume here has its I/O disabled: there is nothing to do."""
    refuse_others(request, {"VolumeId"})
    VOLUME.load(call, request["VolumeId"])
    return {}


@operation(resources=named_by("VolumeId", VOLUME))
def describe_volume_attribute(call: Call, request: DescribeVolumeAttributeRequestTypeDef) -> Response:
    """One attribute. No volume has product codes."""
    refuse_others(request, {"Attribute", "VolumeId"})
    volume = VOLUME.load(call, request["VolumeId"])
    match request["Attribute"]:
        case "autoEnableIO":
            return {"VolumeId": volume.id, "AutoEnableIO": {"Value": volume.auto_enable_io}}
        case "productCodes":
            return {"VolumeId": volume.id, "ProductCodes": []}
    raise InvalidParameterValue(
        f"Value ({request['Attribute']}) for parameter attribute is invalid. Unknown attribute."
    )


@operation(resources=named_by("VolumeId", VOLUME))
def modify_volume_attribute(call: Call, request: ModifyVolumeAttributeRequestTypeDef) -> Response:
    """Raises InvalidParameterCombination for no attribute."""
    refuse_others(request, {"AutoEnableIO", "VolumeId"})
    value = request.get("AutoEnableIO", {}).get("Value")
    if value is None:
        raise InvalidParameterCombination("No attributes specified.")
    take_turn(call.tx)
    call.tx.update(VOLUME.load(call, request["VolumeId"]), auto_enable_io=value)
    return {}


def _shown(volume: Volume, instance_ids: list[str], failing: bool) -> dict[str, Any]:
    return {
        "VolumeId": volume.id,
        "AvailabilityZone": volume.zone,
        "AvailabilityZoneId": zone_id(volume.region, volume.zone),
        "Actions": [],
        "Events": [],
        "Operator": {"Managed": False},
        "VolumeStatus": {
            "Status": "impaired" if failing else "ok",
            "Details": [
                {"Name": "io-enabled", "Status": "failed" if failing else "passed"},
                {"Name": "io-performance", "Status": "not-applicable"},
            ],
        },
        "AttachmentStatuses": [{"InstanceId": each, "IoPerformance": "not-applicable"} for each in instance_ids],
    }
