"""The credit option for CPU usage of burstable instances: DescribeInstanceCreditSpecifications,
ModifyInstanceCreditSpecification, and what an account prefers by family: {Get,Modify}DefaultCreditSpecification.

Its host keeps the account of its credits and enforces it (host/credits). https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/burstable-performance-instances.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from freehold.instance_types import is_burstable, offered
from freehold.records.compute import DefaultCredits, instances
from freehold.records.feed import publish, take_turn
from freehold.services.ec2.compute_errors import (
    IncorrectInstanceState,
    InstanceCreditSpecificationNotSupported,
    InvalidCpuCreditsMalformed,
)
from freehold.services.ec2.errors import (
    InvalidInstanceIDMalformed,
    InvalidInstanceIDNotFound,
    InvalidParameterValue,
    MissingParameter,
)
from freehold.services.ec2.filters import Condition, text
from freehold.services.ec2.paging import described, not_with_ids
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import INSTANCE
from freehold.services.errors import AwsError
from freehold.services.operation import Call, Needed, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        DescribeInstanceCreditSpecificationsRequestTypeDef,
        GetDefaultCreditSpecificationRequestTypeDef,
        ModifyDefaultCreditSpecificationRequestTypeDef,
        ModifyInstanceCreditSpecificationRequestTypeDef,
    )

CpuCredits = Literal["standard", "unlimited"]

_FILTERS: dict[str, Condition] = {"instance-id": text(instances.c.id)}


def default(call: Call, instance_type: str) -> CpuCredits:
    """What an instance has that was launched without a word of it."""
    if not is_burstable(call.config, instance_type):
        return "standard"
    return _of_family(call, instance_type.partition(".")[0])


def _of_family(call: Call, family: str) -> CpuCredits:
    kept = call.tx.get(DefaultCredits, call.account_id, call.region, family)
    return kept.cpu_credits if kept is not None else "standard" if family == "t2" else "unlimited"


def _family(call: Call, request: Mapping[str, Any]) -> str:
    """InstanceFamily. Raises InvalidParameterValue for one that has no burstable type here."""
    family: str = request["InstanceFamily"]
    if not any(name.startswith(f"{family}.") and is_burstable(call.config, name) for name in offered(call.config)):
        raise InvalidParameterValue(f"Value ({family}) for parameter InstanceFamily is invalid. It is not burstable.")
    return family


@operation()
def get_default_credit_specification(call: Call, request: GetDefaultCreditSpecificationRequestTypeDef) -> Response:
    """Of instances of the family that are launched without a word of it."""
    refuse_others(request, {"InstanceFamily"})
    family = _family(call, request)
    shown = {"InstanceFamily": family, "CpuCredits": _of_family(call, family)}
    return {"InstanceFamilyCreditSpecification": shown}


@operation()
def modify_default_credit_specification(
    call: Call, request: ModifyDefaultCreditSpecificationRequestTypeDef
) -> Response:
    """At once, in all zones of the region. Raises InvalidCpuCredits.Malformed."""
    refuse_others(request, {"CpuCredits", "InstanceFamily"})
    cpu_credits = _checked(request["CpuCredits"])
    family = _family(call, request)
    take_turn(call.tx)
    call.tx.put(DefaultCredits(call.account_id, call.region, family, cpu_credits))
    return {"InstanceFamilyCreditSpecification": {"InstanceFamily": family, "CpuCredits": cpu_credits}}


def asked_for(call: Call, instance_type: str, given: Mapping[str, Any]) -> CpuCredits:
    """The option of a launch, of its CreditSpecification. Raises InstanceCreditSpecification.NotSupported for a type
    that is not burstable, InvalidCpuCredits.Malformed."""
    if not given.get("CpuCredits"):
        return default(call, instance_type)
    if not is_burstable(call.config, instance_type):
        raise InstanceCreditSpecificationNotSupported(
            f"The {instance_type} instance type does not support T2 Unlimited."
        )
    return _checked(given["CpuCredits"])


@operation()
def describe_instance_credit_specifications(
    call: Call, request: DescribeInstanceCreditSpecificationsRequestTypeDef
) -> Response:
    """Of the instances that are named, else of those with ``unlimited``."""
    refuse_others(request, {"Filters", "InstanceIds", "MaxResults", "NextToken"})
    not_with_ids(request, "InstanceIds")
    where = [] if request.get("InstanceIds") else [instances.c.cpu_credits == "unlimited"]
    page = described(call, INSTANCE, request, "InstanceIds", _FILTERS, *where)
    shown = [{"InstanceId": instance.id, "CpuCredits": instance.cpu_credits} for instance in page.rows]
    return {"InstanceCreditSpecifications": shown, **page.token}


_CHANGED = {"ec2:Attribute": "CreditSpecification"}


def _named(call: Call, request: ModifyInstanceCreditSpecificationRequestTypeDef) -> list[str | Needed]:
    given = request.get("InstanceCreditSpecifications") or ()
    return [INSTANCE.needed(call, each.get("InstanceId") or "*", keys=_CHANGED) for each in given] or ["*"]


@operation(resources=_named)
def modify_instance_credit_specification(
    call: Call, request: ModifyInstanceCreditSpecificationRequestTypeDef
) -> Response:
    """Changes those that it can, and says of each other why not. ClientToken makes no difference: the same request
    once more changes nothing."""
    refuse_others(request, {"ClientToken", "InstanceCreditSpecifications"})
    given: Sequence[Mapping[str, Any]] = request["InstanceCreditSpecifications"]
    if not given:
        raise MissingParameter("InstanceCreditSpecification")
    take_turn(call.tx)
    done: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for each in given:
        instance_id = each.get("InstanceId", "")
        try:
            _modify(call, instance_id, each.get("CpuCredits", ""))
        except (
            IncorrectInstanceState,
            InstanceCreditSpecificationNotSupported,
            InvalidInstanceIDMalformed,
            InvalidInstanceIDNotFound,
        ) as error:
            failed.append({"InstanceId": instance_id, "Error": _error(error)})
        else:
            done.append({"InstanceId": instance_id})
    return {"SuccessfulInstanceCreditSpecifications": done, "UnsuccessfulInstanceCreditSpecifications": failed}


def _modify(call: Call, instance_id: str, value: str) -> None:
    cpu_credits = _checked(value)
    instance = INSTANCE.load(call, instance_id)
    if not is_burstable(call.config, instance.instance_type):
        raise InstanceCreditSpecificationNotSupported(
            f"The instance '{instance.id}' is of the type {instance.instance_type}, which has no CPU credits."
        )
    if instance.state not in ("running", "stopped"):
        raise IncorrectInstanceState(
            f"The instance '{instance.id}' is {instance.state}: it must be running or stopped."
        )
    if cpu_credits != instance.cpu_credits:
        call.tx.update(instance, cpu_credits=cpu_credits)
        publish(call.tx, "guest", instance.id)


def _checked(value: str) -> CpuCredits:
    match value:
        case "standard" | "unlimited":
            return value
    raise InvalidCpuCreditsMalformed(value)


def _error(error: AwsError) -> dict[str, str]:
    return {"Code": error.code, "Message": error.message}
