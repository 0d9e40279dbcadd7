"""StartInstances, StopInstances, RebootInstances, TerminateInstances.

::

    running ──stop──► stopping ──► stopped ──start──► pending ──► running
    any ──terminate──► shutting-down ──► terminated

A call does what it says with all the instances that it names or, when one of them can not, with none (but see
TerminateInstances). It writes where
they are to go and ends at once what is paid for; what their host reports finishes it (control/reports.py). The calls
take their turn before they read, so that on PostgreSQL too none decides on a state that another is changing.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from freehold.records.compute import Instance, StateReason, VolumeAttachment
from freehold.records.feed import publish, take_turn
from freehold.records.instances import BY_USER, UNKNOWN_STATUS, reboot, send_down
from freehold.records.network import NetworkInterface, network_interfaces
from freehold.services.ec2 import ebs_encryption, hibernation, spot_starting, vcpu_limits
from freehold.services.ec2.addresses import allocate_auto
from freehold.services.ec2.compute_errors import (
    IncorrectInstanceState,
    OperationNotPermitted,
)
from freehold.services.ec2.errors import InvalidParameterValue, MissingParameter
from freehold.services.ec2.instance_states import shown
from freehold.services.ec2.launch_placement import Seating, no_room, to_start
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import INSTANCE, named_by
from freehold.services.errors import PartlyDone
from freehold.services.operation import Call, Needed, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        RebootInstancesRequestTypeDef,
        StartInstancesRequestTypeDef,
        StopInstancesRequestTypeDef,
        TerminateInstancesRequestTypeDef,
    )


def _to_start(call: Call, request: StartInstancesRequestTypeDef) -> Iterator[str | Needed]:
    yield from named_by("InstanceIds", INSTANCE)(call, request)
    yield from ebs_encryption.to_start(call, request["InstanceIds"])


@operation(resources=_to_start, resource_policies=True)
def start_instances(call: Call, request: StartInstancesRequestTypeDef) -> Response:
    """Raises IncorrectInstanceState for an instance that is not stopped yet or will never be, and
    InsufficientInstanceCapacity."""
    refuse_others(request, {"InstanceIds"})
    before = _named(call, request["InstanceIds"])
    return {"StartingInstances": [_change(instance, start(call, instance)) for instance in before]}


@operation(resources=named_by("InstanceIds", INSTANCE))
def stop_instances(call: Call, request: StopInstancesRequestTypeDef) -> Response:
    """Force and SkipOsShutdown both let the guest have no time to shut down, also when it is stopping already.

    Raises IncorrectInstanceState for an instance that does not run, OperationNotPermitted,
    UnsupportedHibernationConfiguration.
    """
    refuse_others(request, {"InstanceIds", "Force", "Hibernate", "SkipOsShutdown"})
    at_once = bool(request.get("Force") or request.get("SkipOsShutdown"))
    hibernate = bool(request.get("Hibernate"))
    before = _named(call, request["InstanceIds"])
    if hibernate:
        for instance in before:
            hibernation.check(instance, at_once=at_once)
    changes = [_change(each, _stop(call, each, at_once=at_once, hibernate=hibernate)) for each in before]
    return {"StoppingInstances": changes}


@operation(resources=named_by("InstanceIds", INSTANCE))
def reboot_instances(call: Call, request: RebootInstancesRequestTypeDef) -> Response:
    """ "Requests to reboot terminated instances are ignored"
    (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RebootInstances.html)."""
    refuse_others(request, {"InstanceIds"})
    for instance in _named(call, request["InstanceIds"]):
        if instance.state in ("shutting-down", "terminated"):
            continue
        if instance.state not in ("pending", "running"):
            raise IncorrectInstanceState(
                f"The instance '{instance.id}' is not in a state from which it can be rebooted."
            )
        reboot(call.tx, instance)
    return {}


@operation(resources=named_by("InstanceIds", INSTANCE))
def terminate_instances(call: Call, request: TerminateInstancesRequestTypeDef) -> Response:
    """One protected instance keeps all of the call that are in its zone: the call fails, and yet those in other zones
    go (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_TerminateInstances.html).

    Force makes no difference: a guest that does not shut down in its time never keeps its instance here. Raises
    OperationNotPermitted.
    """
    refuse_others(request, {"InstanceIds", "Force", "SkipOsShutdown"})
    at_once = bool(request.get("SkipOsShutdown"))
    before = _named(call, request["InstanceIds"])
    kept: dict[str, OperationNotPermitted] = {}
    for instance in before:
        if refusal := _protection(instance):
            kept.setdefault(instance.zone, refusal)
    changes = [
        _change(instance, _terminate(call, instance, at_once=at_once))
        for instance in before
        if instance.zone not in kept
    ]
    for refusal in kept.values():
        raise PartlyDone(refusal) if changes else refusal
    return {"TerminatingInstances": changes}


def _named(call: Call, instance_ids: Sequence[str]) -> list[Instance]:
    if not instance_ids:
        raise MissingParameter("InstanceId")
    take_turn(call.tx)
    return INSTANCE.load_all(call, instance_ids)


def _change(before: Instance, after: Instance) -> dict[str, Any]:
    """The InstanceStateChange."""
    return {"InstanceId": after.id, "PreviousState": shown(before.state), "CurrentState": shown(after.state)}


def start(call: Call, instance: Instance, *, by_service: bool = False) -> Instance:
    """`by_service`: a spot instance that was interrupted. Raises IncorrectInstanceState, IncorrectSpotRequestState and
    InsufficientInstanceCapacity."""
    if instance.state in ("pending", "running"):
        return instance
    if instance.state != "stopped":
        raise IncorrectInstanceState(f"The instance '{instance.id}' is not in a state from which it can be started.")
    if not call.tx.count(VolumeAttachment, instance_id=instance.id, device=instance.root_device_name):
        raise InvalidParameterValue(
            f"Invalid value '{instance.id}' for instanceId. Instance does not have a volume attached at root "
            f"({instance.root_device_name})"
        )
    spot_starting.check(call, instance, by_service=by_service)
    vcpu_limits.allowed(call, instance.vcpus, 1, 1, spot=instance.spot_request_id is not None)
    # Its disks are on that host and nowhere else.
    wanted = to_start(call.tx, instance)
    seating = Seating(call.tx, call.account_id, wanted, instance.zone, instance.id)
    place = seating.reserve(instance.host_id, reclaiming=call.config.spot_notice)
    if place is None:
        raise no_room(wanted, instance.zone)
    started = call.tx.update(
        instance,
        state="pending",
        state_reason=StateReason("pending", "pending"),
        state_transition_reason="",
        force_stop=False,
        **UNKNOWN_STATUS,
        holds_capacity=True,
        interruption=None,
        partition_number=place.partition,
        capacity_reservation_id=place.capacity_reservation_id,
        generation=instance.generation + 1,
        launched_at=call.now,
    )
    for interface in call.tx.select(NetworkInterface, network_interfaces.c.instance_id == instance.id):
        if interface.auto_public_ip:
            allocate_auto(call, interface)
    publish(call.tx, "guest", instance.id)
    spot_starting.starts(call, started)
    return started


def _stop(call: Call, instance: Instance, *, at_once: bool, hibernate: bool) -> Instance:
    match instance.state:
        case "running":
            if instance.disable_api_stop:
                raise OperationNotPermitted(instance.id, "stopped", "disableApiStop")
            spot_starting.check_stop(call, instance)
            return _shut_down(call, instance, "stopping", at_once=at_once, hibernate=hibernate)
        case "stopping":
            return _hurried(call, instance) if at_once else instance
        case "stopped":
            return instance
        case _:
            raise IncorrectInstanceState(
                f"This instance '{instance.id}' is not in a state from which it can be stopped."
            )


def _protection(instance: Instance) -> OperationNotPermitted | None:
    """What keeps an instance from being terminated. Stop protection does too:
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-stop-protection.html"""
    if instance.state in ("shutting-down", "terminated"):
        return None
    for protected, attribute in (
        (instance.disable_api_termination, "disableApiTermination"),
        (instance.disable_api_stop, "disableApiStop"),
    ):
        if protected:
            return OperationNotPermitted(instance.id, "terminated", attribute)
    return None


def _terminate(call: Call, instance: Instance, *, at_once: bool) -> Instance:
    if instance.state in ("shutting-down", "terminated"):
        return _hurried(call, instance) if at_once and instance.state == "shutting-down" else instance
    return _shut_down(call, instance, "shutting-down", at_once=at_once or instance.force_stop)


def _shut_down(
    call: Call,
    instance: Instance,
    state: Literal["stopping", "shutting-down"],
    *,
    at_once: bool,
    hibernate: bool = False,
) -> Instance:
    when = f"User initiated ({call.now:%Y-%m-%d %H:%M:%S} GMT)"
    reason = hibernation.BY_USER if hibernate else BY_USER
    return send_down(call.tx, instance, state, reason, when, force_stop=at_once, hibernate=hibernate)


def _hurried(call: Call, instance: Instance) -> Instance:
    """An instance on its way down, from now on by force."""
    if instance.force_stop:
        return instance
    hurried = call.tx.update(instance, force_stop=True, generation=instance.generation + 1)
    publish(call.tx, "guest", instance.id)
    return hurried
