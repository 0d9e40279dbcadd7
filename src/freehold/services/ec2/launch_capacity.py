"""CapacityReservationSpecification: which capacity reservations instances may run in.

RunInstances takes it, and ModifyInstanceCapacityReservationAttributes for an instance that is stopped.
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CapacityReservationSpecification.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from freehold.records.compute import CapacitySpecification
from freehold.records.feed import take_turn
from freehold.services.ec2.capacity_errors import InvalidCapacityReservationState
from freehold.services.ec2.compute_errors import IncorrectInstanceState
from freehold.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue, MissingParameter
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import CAPACITY_RESERVATION, INSTANCE
from freehold.services.operation import Call, Needed, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import ModifyInstanceCapacityReservationAttributesRequestTypeDef

_PREFERENCES = ("capacity-reservations-only", "none", "open")
_HONOURED = {
    "CapacityReservationSpecification.CapacityReservationPreference",
    "CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId",
    "InstanceId",
}


def target(specification: Mapping[str, Any]) -> str | None:
    """The id of the reservation that is named."""
    return (specification.get("CapacityReservationTarget") or {}).get("CapacityReservationId") or None


def asked_for(call: Call, specification: Mapping[str, Any], type_name: str) -> CapacitySpecification:
    """Raises InvalidCapacityReservationId.NotFound and InvalidCapacityReservationState for a target that can not be
    used, InvalidParameterCombination for one that does not go with the preference or the instance type."""
    preference, named = specification.get("CapacityReservationPreference") or None, target(specification)
    if preference not in (None, *_PREFERENCES):
        raise InvalidParameterValue(
            f"Value ({preference}) for parameter capacityReservationPreference is invalid. Valid values: "
            f"{', '.join(_PREFERENCES)}."
        )
    if named is None:
        return CapacitySpecification(cast("Any", preference) or "open")
    if preference in ("none", "open"):
        raise InvalidParameterCombination(
            "The parameter CapacityReservationTarget cannot be used with the CapacityReservationPreference "
            f"'{preference}'."
        )
    reservation = CAPACITY_RESERVATION.load(call, named)
    if reservation.state != "active":
        raise InvalidCapacityReservationState(reservation.id, reservation.state)
    if reservation.instance_type != type_name:
        raise InvalidParameterCombination(
            f"The capacity reservation '{reservation.id}' is for {reservation.instance_type} instances, and not for "
            f"{type_name}."
        )
    return CapacitySpecification(cast("Any", preference), named)


def shown(capacity: CapacitySpecification) -> dict[str, Any]:
    """The CapacityReservationSpecification of an answer."""
    specification: dict[str, Any] = {}
    if capacity.preference is not None:
        specification["CapacityReservationPreference"] = capacity.preference
    if capacity.target is not None:
        specification["CapacityReservationTarget"] = {"CapacityReservationId": capacity.target}
    return specification


def _needed(call: Call, request: ModifyInstanceCapacityReservationAttributesRequestTypeDef) -> Iterator[Needed]:
    yield INSTANCE.needed(call, request["InstanceId"])
    if named := target(request["CapacityReservationSpecification"]):
        yield CAPACITY_RESERVATION.needed(call, named)


@operation(resources=_needed)
def modify_instance_capacity_reservation_attributes(
    call: Call, request: ModifyInstanceCapacityReservationAttributesRequestTypeDef
) -> Response:
    """Of a stopped instance: its next start looks for room accordingly. Raises IncorrectInstanceState, and what
    `asked_for` does."""
    refuse_others(request, _HONOURED)
    specification = request["CapacityReservationSpecification"]
    if not specification:
        raise MissingParameter("CapacityReservationSpecification")
    take_turn(call.tx)
    instance = INSTANCE.load(call, request["InstanceId"])
    if instance.state != "stopped":
        raise IncorrectInstanceState(f"The instance '{instance.id}' is not in the 'stopped' state.")
    call.tx.update(instance, capacity=asked_for(call, specification, instance.instance_type))
    return {"Return": True}
