"""Options of an instance that are changed by operations of their own: ModifyInstanceCpuOptions,
ModifyInstanceMaintenanceOptions, ModifyInstanceNetworkPerformanceOptions, ModifyPrivateDnsNameOptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from freehold.records.feed import publish, take_turn
from freehold.services.ec2.condition_keys import written
from freehold.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue
from freehold.services.ec2.instance_states import check_stopped, modifiable
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import INSTANCE
from freehold.services.operation import Call, Needed, Resources, Response, Value, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        ModifyInstanceCpuOptionsRequestTypeDef,
        ModifyInstanceMaintenanceOptionsRequestTypeDef,
        ModifyInstanceNetworkPerformanceRequestTypeDef,
        ModifyPrivateDnsNameOptionsRequestTypeDef,
    )


def _changing(*members: str) -> Resources:
    """The instance, with each option that is to change."""

    def needed(call: Call, request: Mapping[str, Any]) -> list[Needed]:
        given = {name: request[name] for name in members if request.get(name) not in (None, "")}
        keys: dict[str, Value] = {f"ec2:Attribute/{name}": written(value) for name, value in given.items()}
        return [INSTANCE.needed(call, request["InstanceId"], keys=keys | {"ec2:Attribute": tuple(given)})]

    return needed


def cores(type_name: str, vcpus: int, asked: int | None) -> int | None:
    """How many of the vCPUs of its type, a core each, a guest has; None: all. Raises InvalidParameterValue."""
    if asked is not None and not 1 <= asked <= vcpus:
        raise InvalidParameterValue(
            f"Value ({asked}) for parameter CpuOptions.CoreCount is invalid. {type_name} has {vcpus} cores."
        )
    return None if asked == vcpus else asked


@operation(resources=_changing("CoreCount", "ThreadsPerCore", "NestedVirtualization"))
def modify_instance_cpu_options(call: Call, request: ModifyInstanceCpuOptionsRequestTypeDef) -> Response:
    """From its next start on the guest has so many vCPUs; the price stays that of its type, and so does what it holds
    of its host. A change of its type takes it back. Raises IncorrectInstanceState unless the instance is stopped."""
    refuse_others(request, {"InstanceId", "CoreCount"}, {"ThreadsPerCore": 1, "NestedVirtualization": "disabled"})
    if all(request.get(name) is None for name in ("CoreCount", "ThreadsPerCore", "NestedVirtualization")):
        raise InvalidParameterCombination("No CPU options specified.")
    take_turn(call.tx)
    instance = modifiable(call, request["InstanceId"])
    check_stopped(instance)
    if request.get("CoreCount") is not None:
        core_count = cores(instance.instance_type, instance.vcpus, request.get("CoreCount"))
        instance = call.tx.update(instance, core_count=core_count)
    return {
        "InstanceId": instance.id,
        "CoreCount": instance.core_count or instance.vcpus,
        "ThreadsPerCore": 1,
        "NestedVirtualization": "disabled",
    }


@operation(resources=_changing("AutoRecovery", "RebootMigration"))
def modify_instance_maintenance_options(
    call: Call, request: ModifyInstanceMaintenanceOptionsRequestTypeDef
) -> Response:
    """AutoRecovery is its host's to follow: whether an instance whose QEMU ended is started again (host/guest.py).

    RebootMigration is kept and shown: a reboot stays on its host anyway."""
    refuse_others(request, {"InstanceId", "AutoRecovery", "RebootMigration"})
    if not request.get("AutoRecovery") and not request.get("RebootMigration"):
        raise InvalidParameterCombination("No maintenance options specified.")
    take_turn(call.tx)
    instance = modifiable(call, request["InstanceId"])
    instance = call.tx.update(
        instance,
        auto_recovery=request.get("AutoRecovery") or instance.auto_recovery,
        reboot_migration=request.get("RebootMigration") or instance.reboot_migration,
    )
    publish(call.tx, "guest", instance.id)
    return {
        "InstanceId": instance.id,
        "AutoRecovery": instance.auto_recovery,
        "RebootMigration": instance.reboot_migration,
    }


@operation(resources=_changing("BandwidthWeighting"))
def modify_instance_network_performance_options(
    call: Call, request: ModifyInstanceNetworkPerformanceRequestTypeDef
) -> Response:
    """No type weighs its bandwidth otherwise than by default."""
    refuse_others(request, {"InstanceId"}, {"BandwidthWeighting": "default"})
    take_turn(call.tx)
    return {"InstanceId": modifiable(call, request["InstanceId"]).id, "BandwidthWeighting": "default"}


@operation(
    resources=_changing(
        "PrivateDnsHostnameType", "EnableResourceNameDnsARecord", "EnableResourceNameDnsAAAARecord"
    )
)  # fmt: skip
def modify_private_dns_name_options(call: Call, request: ModifyPrivateDnsNameOptionsRequestTypeDef) -> Response:
    """ "For IPv4 only subnets, an instance DNS name must be based on the instance IPv4 address": all are that here."""
    refuse_others(
        request,
        {"InstanceId"},
        {
            "PrivateDnsHostnameType": "ip-name",
            "EnableResourceNameDnsARecord": False,
            "EnableResourceNameDnsAAAARecord": False,
        },
    )
    take_turn(call.tx)
    modifiable(call, request["InstanceId"])
    return {"Return": True}
