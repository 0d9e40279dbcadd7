"""Capacity reservations: create, describe, modify, cancel, and who uses them.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-capacity-reservations.html. What they hold is in
records/reservations.py; control/capacity.py ends those whose end date has come.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.instance_types import find, is_bare_metal
from freehold.records.feed import take_turn
from freehold.records.ids import new_id
from freehold.records.reservations import (
    CapacityReservation,
    absorb,
    end,
    grow,
    meter,
    reservations,
    shrink,
    unused_vcpus,
    used,
)
from freehold.records.tags import Tag, put_tags, tags_of
from freehold.services.ec2 import vcpu_limits
from freehold.services.ec2.capacity_errors import InvalidCapacityReservationState
from freehold.services.ec2.compute_errors import InsufficientInstanceCapacity, Unsupported
from freehold.services.ec2.condition_keys import in_zone, written
from freehold.services.ec2.errors import (
    InvalidNextToken,
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
)
from freehold.services.ec2.filters import Condition, absent, constant, moment, text
from freehold.services.ec2.idempotency import claim
from freehold.services.ec2.launch_interface import named_zone
from freehold.services.ec2.paging import described
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import CAPACITY_RESERVATION, made, named_by
from freehold.services.ec2.tags import specified, tag_list
from freehold.services.ec2.zones import zone_id
from freehold.services.errors import UnsupportedOperation
from freehold.services.operation import Call, Needed, Response, Value, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        CancelCapacityReservationRequestTypeDef,
        CreateCapacityReservationRequestTypeDef,
        DescribeCapacityReservationsRequestTypeDef,
        GetCapacityReservationUsageRequestTypeDef,
        ModifyCapacityReservationRequestTypeDef,
    )

_COUNT_MAX = 1000
_PLATFORM = "Linux/UNIX"

_END_DATE_TYPE = sa.case((reservations.c.ends_at.is_(None), "unlimited"), else_="limited")

_FILTERS: dict[str, Condition] = {
    "availability-zone": text(reservations.c.zone),
    "end-date": moment(reservations.c.ends_at),
    "end-date-type": text(_END_DATE_TYPE),
    "instance-match-criteria": text(reservations.c.match),
    "instance-platform": constant(_PLATFORM),
    "instance-type": text(reservations.c.instance_type),
    "outpost-arn": absent,
    "owner-id": text(reservations.c.account_id),
    "placement-group-arn": absent,
    "start-date": moment(reservations.c.created_at),
    "state": text(reservations.c.state),
    "tenancy": constant("default"),
}


def _created(call: Call, request: CreateCapacityReservationRequestTypeDef) -> Iterable[Needed]:
    ends = request.get("EndDate")
    keys: dict[str, Value] = {
        "ec2:EbsOptimized": written(request.get("EbsOptimized", False)),
        "ec2:EndDate": None if ends is None else f"{ends:%Y-%m-%dT%H:%M:%SZ}",
        "ec2:EndDateType": str(request.get("EndDateType") or "unlimited"),
        "ec2:EphemeralStorage": written(request.get("EphemeralStorage", False)),
        "ec2:InstanceCount": written(request["InstanceCount"]),
        "ec2:InstanceMatchCriteria": str(request.get("InstanceMatchCriteria") or "open"),
        "ec2:InstancePlatform": str(request["InstancePlatform"]),
        "ec2:InstanceType": request["InstanceType"],
        "ec2:Tenancy": str(request.get("Tenancy") or "default"),
    }
    if zone := request.get("AvailabilityZone"):
        keys |= in_zone(call.region, zone)
    return made(call, request, CAPACITY_RESERVATION, keys=lambda: keys)


@operation(resources=_created)
def create_capacity_reservation(call: Call, request: CreateCapacityReservationRequestTypeDef) -> Response:
    """Holds the room at once, first that of running instances which an open one fits. Raises
    InsufficientInstanceCapacity."""
    refuse_others(
        request,
        {
            "AvailabilityZone", "AvailabilityZoneId", "ClientToken", "EbsOptimized", "EndDate", "EndDateType",
            "InstanceCount", "InstanceMatchCriteria", "InstancePlatform", "InstanceType", "TagSpecifications",
        },
        {"EphemeralStorage": False, "Tenancy": "default"},
    )  # fmt: skip
    type_name = request["InstanceType"]
    instance_type = find(call.config, type_name)
    if instance_type is None:
        raise InvalidParameterValue(f"Invalid value '{type_name}' for InstanceType.")
    if is_bare_metal(type_name):
        raise Unsupported(type_name)
    if request["InstancePlatform"] != _PLATFORM:
        raise UnsupportedOperation(f"The instance platform {request['InstancePlatform']}")
    zone = named_zone(call, request)
    if zone is None:
        raise MissingParameter("AvailabilityZone")
    _check_count(request["InstanceCount"])
    ends_at = _end_date(call, request.get("EndDateType"), request.get("EndDate"))
    tags = specified(request.get("TagSpecifications"), CAPACITY_RESERVATION.resource_type)
    reservation_id = new_id(CAPACITY_RESERVATION.prefix)
    made_before = claim(call, request, reservation_id)
    if made_before is not None:
        return _answer(call, CAPACITY_RESERVATION.load(call, made_before))
    take_turn(call.tx)
    reservation = CapacityReservation(
        id=reservation_id,
        account_id=call.account_id,
        region=call.region,
        zone=zone,
        instance_type=type_name,
        vcpus=instance_type.vcpus,
        memory_mib=instance_type.memory_mib,
        match=_criteria(request) or "open",
        state="active",
        total=request["InstanceCount"],
        ebs_optimized=request.get("EbsOptimized", False),
        created_at=call.now,
        ends_at=ends_at,
    )
    taken = absorb(call.tx, reservation, reservation.total) if reservation.match == "open" else 0
    _grow(call, reservation, reservation.total - taken)
    call.tx.insert(reservation)
    meter(call.tx, reservation.id)
    pairs = tags[CAPACITY_RESERVATION.resource_type]
    put_tags(call.tx, call.account_id, call.region, CAPACITY_RESERVATION.resource_type, reservation.id, pairs)
    return _answer(call, reservation)


@operation()
def describe_capacity_reservations(call: Call, request: DescribeCapacityReservationsRequestTypeDef) -> Response:
    """Also those that ended within a day."""
    refuse_others(request, {"CapacityReservationIds", "Filters", "MaxResults", "NextToken"})
    found = described(call, CAPACITY_RESERVATION, request, "CapacityReservationIds", _FILTERS, smallest=1)
    ids = [reservation.id for reservation in found.rows]
    tags, in_use = tags_of(call.tx, ids), used(call.tx, ids)
    shown = [_described(call, each, in_use[each.id], tags[each.id]) for each in found.rows]
    return {"CapacityReservations": shown, **found.token}


def _modified(call: Call, request: ModifyCapacityReservationRequestTypeDef) -> Iterable[Needed]:
    changed = sorted(request.keys() - {"CapacityReservationId", "DryRun"})
    keys: dict[str, Value] = {"ec2:Attribute": changed}
    yield CAPACITY_RESERVATION.needed(call, request["CapacityReservationId"], keys=keys)


@operation(resources=_modified)
def modify_capacity_reservation(call: Call, request: ModifyCapacityReservationRequestTypeDef) -> Response:
    """Raises InvalidCapacityReservationState, InsufficientInstanceCapacity, and InvalidParameterValue for fewer
    instances than it has."""
    refuse_others(
        request, {"CapacityReservationId", "EndDate", "EndDateType", "InstanceCount", "InstanceMatchCriteria"}
    )
    if not request.keys() - {"CapacityReservationId", "DryRun"}:
        raise MissingParameter("InstanceCount")
    count = request.get("InstanceCount")
    if count is not None:
        _check_count(count)
    ends_at = _end_date(call, request.get("EndDateType"), request.get("EndDate"))
    match = _criteria(request)
    take_turn(call.tx)
    reservation = _load_active(call, request["CapacityReservationId"])
    if request.get("EndDateType"):
        reservation = call.tx.update(reservation, ends_at=ends_at)
    if match is not None:
        reservation = call.tx.update(reservation, match=match)
    total = reservation.total if count is None else count
    in_use = used(call.tx, [reservation.id])[reservation.id]
    if total < in_use:
        raise InvalidParameterValue(
            f"Value ({total}) for parameter instanceCount is invalid. The capacity reservation '{reservation.id}' has "
            f"{in_use} instances."
        )
    held = reservation.total
    if reservation.match == "open":  # what running instances bring along takes the place of what is empty
        held += absorb(call.tx, reservation, total - in_use)
    if total > held:
        _grow(call, reservation, total - held)
    else:
        shrink(call.tx, reservation, held - total)
    call.tx.update(reservation, total=total)
    meter(call.tx, reservation.id)
    return {"Return": True}


@operation(resources=named_by("CapacityReservationId", CAPACITY_RESERVATION))
def cancel_capacity_reservation(call: Call, request: CancelCapacityReservationRequestTypeDef) -> Response:
    """Its instances run on. Raises InvalidCapacityReservationState."""
    refuse_others(request, {"CapacityReservationId"})
    take_turn(call.tx)
    end(call.tx, _load_active(call, request["CapacityReservationId"]), "cancelled")
    return {"Return": True}


@operation(resources=named_by("CapacityReservationId", CAPACITY_RESERVATION))
def get_capacity_reservation_usage(call: Call, request: GetCapacityReservationUsageRequestTypeDef) -> Response:
    """One account's, since they can not be shared: there is never another page."""
    refuse_others(request, {"CapacityReservationId", "MaxResults", "NextToken"})
    if request.get("NextToken"):
        raise InvalidNextToken
    reservation = CAPACITY_RESERVATION.load(call, request["CapacityReservationId"])
    in_use = used(call.tx, [reservation.id])[reservation.id]
    active = reservation.state == "active"
    return {
        "CapacityReservationId": reservation.id,
        "InstanceType": reservation.instance_type,
        "State": reservation.state,
        "TotalInstanceCount": reservation.total,
        "AvailableInstanceCount": reservation.total - in_use if active else 0,
        "InstanceUsages": [{"AccountId": reservation.account_id, "UsedInstanceCount": in_use}] if in_use else [],
    }


def _load_active(call: Call, reservation_id: str) -> CapacityReservation:
    reservation = CAPACITY_RESERVATION.load(call, reservation_id)
    if reservation.state != "active":
        raise InvalidCapacityReservationState(reservation.id, reservation.state)
    return reservation


def _grow(call: Call, reservation: CapacityReservation, count: int) -> None:
    reserved = unused_vcpus(call.tx, call.account_id, call.region)
    vcpu_limits.allowed(call, reservation.vcpus, count, count, reserved=reserved)
    if not grow(call.tx, reservation, count, call.config.spot_notice):
        raise InsufficientInstanceCapacity(reservation.instance_type, reservation.zone)


def _check_count(count: int) -> None:
    if not 1 <= count <= _COUNT_MAX:
        raise InvalidParameterValue(
            f"Value ({count}) for parameter instanceCount is invalid. Expecting 1 to {_COUNT_MAX}."
        )


def _criteria(request: Mapping[str, Any]) -> Any:
    criteria = request.get("InstanceMatchCriteria") or None
    if criteria not in (None, "open", "targeted"):
        raise InvalidParameterValue(
            f"Value ({criteria}) for parameter instanceMatchCriteria is invalid. Valid values: open, targeted."
        )
    return criteria


def _end_date(call: Call, kind: str | None, given: Any) -> dt.datetime | None:
    """When it ends; None = never. Raises InvalidParameterCombination unless a ``limited`` one, and no other, has an end
    date, and InvalidParameterValue for one that is past."""
    if kind not in (None, "limited", "unlimited"):
        raise InvalidParameterValue(
            f"Value ({kind}) for parameter endDateType is invalid. Valid values: limited, unlimited."
        )
    if (kind == "limited") != (given is not None):
        raise InvalidParameterCombination(
            "The parameter EndDate is required if the EndDateType is 'limited', and not allowed otherwise."
        )
    if given is None:
        return None
    ends_at: dt.datetime = given if given.tzinfo is not None else given.replace(tzinfo=dt.UTC)
    if ends_at <= call.now:
        raise InvalidParameterValue("The parameter EndDate must be in the future.")
    return ends_at


def _answer(call: Call, reservation: CapacityReservation) -> Response:
    tags = tags_of(call.tx, [reservation.id])[reservation.id]
    in_use = used(call.tx, [reservation.id])[reservation.id]
    return {"CapacityReservation": _described(call, reservation, in_use, tags)}


def _described(call: Call, reservation: CapacityReservation, in_use: int, tags: Sequence[Tag]) -> dict[str, Any]:
    description: dict[str, Any] = {
        "AvailabilityZone": reservation.zone,
        "AvailabilityZoneId": zone_id(reservation.region, reservation.zone),
        "AvailableInstanceCount": reservation.total - in_use if reservation.state == "active" else 0,
        "CapacityAllocations": [{"AllocationType": "used", "Count": in_use}] if in_use else [],
        "CapacityReservationArn": call.arn(f"capacity-reservation/{reservation.id}"),
        "CapacityReservationId": reservation.id,
        "CreateDate": reservation.created_at,
        "EbsOptimized": reservation.ebs_optimized,
        "EndDateType": "unlimited" if reservation.ends_at is None else "limited",
        "EphemeralStorage": False,
        "InstanceMatchCriteria": reservation.match,
        "InstancePlatform": _PLATFORM,
        "InstanceType": reservation.instance_type,
        "OwnerId": reservation.account_id,
        "ReservationType": "default",
        "StartDate": reservation.created_at,
        "State": reservation.state,
        "Tags": tag_list(tags),
        "Tenancy": "default",
        "TotalInstanceCount": reservation.total,
    }
    if reservation.ends_at is not None:
        description["EndDate"] = reservation.ends_at
    return description
