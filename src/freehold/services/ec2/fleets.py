"""Fleets of type ``instant``: CreateFleet, DescribeFleets, DescribeFleetInstances, DeleteFleets.

An instant fleet is what one call launches, at once, from several launch templates, instance types and zones. The types
that AWS goes on working for, ``request`` and ``maintain``, are refused.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instant-fleet.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from freehold.records.compute import Instance, StateReason, instances
from freehold.records.feed import take_turn
from freehold.records.fleets import Fleet
from freehold.records.ids import new_id
from freehold.records.instances import send_down
from freehold.records.tags import Tag, put_tags, tags_of
from freehold.services.ec2 import fleet_filling, fleet_pools, instance_requirements, launch_needs
from freehold.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue, MissingParameter
from freehold.services.ec2.filters import satisfied
from freehold.services.ec2.fleet_errors import InvalidFleetIdMalformed, InvalidFleetIdNotFound
from freehold.services.ec2.fleet_filling import Filled
from freehold.services.ec2.fleet_pools import Lifecycle, Pool
from freehold.services.ec2.idempotency import claim
from freehold.services.ec2.instance_types import page_of
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import FLEET, INSTANCE, LAUNCH_TEMPLATE, MAX_IDS, made, named_by
from freehold.services.ec2.tags import specified, tag_list
from freehold.services.errors import AwsError, UnsupportedOperation
from freehold.services.operation import Call, Needed, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        CreateFleetRequestTypeDef,
        DeleteFleetsRequestTypeDef,
        DescribeFleetInstancesRequestTypeDef,
        DescribeFleetsRequestTypeDef,
    )

_TAGGED = ("fleet", "instance", "network-interface", "volume")
_TARGET_MAX = 10_000
_DELETIONS_MAX = 25
_OVERRIDES = "LaunchTemplateConfigs.Overrides"

_HONOURED = {
    "ClientToken",
    "LaunchTemplateConfigs.LaunchTemplateSpecification",
    *(
        f"{_OVERRIDES}.{name}"
        for name in (
            "AvailabilityZone",
            "AvailabilityZoneId",
            "BlockDeviceMappings",
            "IamInstanceProfile",
            "ImageId",
            "InstanceType",
            "KeyName",
            "MaxPrice",
            "MetadataOptions",
            "Placement",
            "Priority",
            "SubnetId",
            "WeightedCapacity",
        )
    ),
    *(f"{_OVERRIDES}.{name}" for name in instance_requirements.HONOURED),
    f"{_OVERRIDES}.InstanceRequirements.OnDemandMaxPricePercentageOverLowestPrice",
    f"{_OVERRIDES}.InstanceRequirements.SpotMaxPricePercentageOverLowestPrice",
    "OnDemandOptions.AllocationStrategy",
    "OnDemandOptions.MaxTotalPrice",
    "OnDemandOptions.MinTargetCapacity",
    "OnDemandOptions.SingleAvailabilityZone",
    "OnDemandOptions.SingleInstanceType",
    "SpotOptions.AllocationStrategy",
    "SpotOptions.InstanceInterruptionBehavior",
    "SpotOptions.MaxTotalPrice",
    "SpotOptions.MinTargetCapacity",
    "SpotOptions.SingleAvailabilityZone",
    "SpotOptions.SingleInstanceType",
    "TagSpecifications",
    "TargetCapacitySpecification",
}
_DEFAULTS = {
    "ExcessCapacityTerminationPolicy": "termination",
    # Launches take what open reservations hold first anyway.
    "OnDemandOptions.CapacityReservationOptions.UsageStrategy": "use-capacity-reservations-first",
    "ReplaceUnhealthyInstances": False,
    "TerminateInstancesWithExpiration": False,
    "Type": "instant",
}
_DELETED = StateReason("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown")


def _needed(call: Call, request: Mapping[str, Any]) -> Iterator[Needed]:
    """The fleet, the templates, and all that RunInstances would need for any of the pools."""
    yield from made(call, request, FLEET)
    yield INSTANCE.needed(call, "*")
    try:
        pools = fleet_pools.of(call, request)
    except AwsError:
        return
    for template_id in dict.fromkeys(pool.launch.template_id for pool in pools):
        yield LAUNCH_TEMPLATE.needed(call, template_id)
    for pool in pools:
        for needed in launch_needs.of_launch(call, pool.asked, pool.launch):
            yield replace(needed, action=needed.action or "ec2:RunInstances")


@operation(resources=_needed, resource_policies=True)
def create_fleet(call: Call, request: CreateFleetRequestTypeDef) -> Response:
    """What could not be launched is among the errors of the answer. A target that no type of capacity is named for is
    launched on demand. Those from spare capacity are one-time spot instances.

    Raises UnsupportedOperation for another type than ``instant``, and what is wrong with the request as a whole.
    """
    refuse_others(request, _HONOURED, _DEFAULTS)
    if not request.get("Type"):
        raise UnsupportedOperation("The fleet type 'maintain', which is the default of Type,")
    tags = specified(request.get("TagSpecifications"), *_TAGGED)
    target = _target(request["TargetCapacitySpecification"])
    pools = fleet_pools.of(call, request)
    fleet_id = new_id(FLEET.prefix)
    made_before = claim(call, request, fleet_id)
    if made_before is not None:
        return _created(FLEET.load(call, made_before))
    take_turn(call.tx)
    filled: dict[Lifecycle, Filled] = {
        "on-demand": fleet_filling.fill(
            call,
            fleet_id,
            fleet_pools.protected(pools, "on-demand"),
            target["OnDemandTargetCapacity"],
            "on-demand",
            request.get("OnDemandOptions") or {},
        ),
        "spot": fleet_filling.fill(
            call,
            fleet_id,
            fleet_pools.protected(pools, "spot"),
            target["SpotTargetCapacity"],
            "spot",
            request.get("SpotOptions") or {},
        ),
    }
    fleet = Fleet(
        id=fleet_id,
        account_id=call.account_id,
        region=call.region,
        state="active",
        request=msgspec.to_builtins({name: value for name, value in request.items() if name != "DryRun"}),
        target=target,
        launched=[_launched(*each, lifecycle) for lifecycle, found in filled.items() for each in found.launched],
        errors=[_error(*each, lifecycle) for lifecycle, found in filled.items() for each in found.errors],
        fulfilled=sum(found.units for found in filled.values()),
        fulfilled_on_demand=filled["on-demand"].units,
        created_at=call.now,
    )
    call.tx.insert(fleet)
    put_tags(call.tx, call.account_id, call.region, FLEET.resource_type, fleet_id, tags[FLEET.resource_type])
    return _created(fleet)


@operation(resources=named_by("FleetIds", FLEET))
def describe_fleets(call: Call, request: DescribeFleetsRequestTypeDef) -> Response:
    """By their ids alone: AWS lists no instant fleets either."""
    refuse_others(request, {"Filters", "FleetIds", "MaxResults", "NextToken"})
    ids = request.get("FleetIds") or ()
    found = FLEET.load_all(call, ids) if ids else []
    tags = tags_of(call.tx, [fleet.id for fleet in found])
    shown = [_described(call, fleet, tags[fleet.id]) for fleet in found]
    filters = request.get("Filters", ())
    meeting = [fleet for fleet in shown if satisfied(filters, _attributes(fleet))]
    return page_of(meeting, lambda fleet: (fleet["FleetId"],), request, "Fleets", MAX_IDS)


@operation(resources=named_by("FleetId", FLEET))
def describe_fleet_instances(call: Call, request: DescribeFleetInstancesRequestTypeDef) -> Response:
    """ "Currently, DescribeFleetInstances does not support fleets of type instant": DescribeFleets shows theirs."""
    refuse_others(request, {"FleetId"})
    FLEET.load(call, request["FleetId"])
    raise UnsupportedOperation("DescribeFleetInstances of a fleet of type instant (DescribeFleets shows its instances)")


@operation(resources=named_by("FleetIds", FLEET))
def delete_fleets(call: Call, request: DeleteFleetsRequestTypeDef) -> Response:
    """With their instances, but for those that are protected from termination: an instant fleet can not go without
    them. Says of each fleet whether it could be."""
    refuse_others(request, {"FleetIds", "TerminateInstances"})
    if not request["FleetIds"]:
        raise MissingParameter("FleetIds")
    if len(request["FleetIds"]) > _DELETIONS_MAX:
        raise InvalidParameterValue(f"At most {_DELETIONS_MAX} instant fleets may be deleted in a request.")
    if not request["TerminateInstances"]:
        raise InvalidParameterCombination("A fleet of type instant can not be deleted without its instances.")
    take_turn(call.tx)
    done: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for fleet_id in dict.fromkeys(request["FleetIds"]):
        try:
            fleet = FLEET.load(call, fleet_id)
        except (InvalidFleetIdMalformed, InvalidFleetIdNotFound) as error:
            code = "fleetIdMalformed" if isinstance(error, InvalidFleetIdMalformed) else "fleetIdDoesNotExist"
            failed.append({"FleetId": fleet_id, "Error": {"Code": code, "Message": error.message}})
            continue
        before = _state(call, fleet)
        if before == "active":
            call.tx.update(fleet, state="deleted_terminating", deleted_at=call.now)
            for instance in _alive(call, fleet):
                if not (instance.disable_api_termination or instance.disable_api_stop):
                    reason = f"User initiated ({call.now:%Y-%m-%d %H:%M:%S} GMT)"
                    send_down(call.tx, instance, "shutting-down", _DELETED, reason, force_stop=False)
        after = "deleted_terminating" if before == "active" else before
        done.append({"FleetId": fleet_id, "CurrentFleetState": after, "PreviousFleetState": before})
    return {"SuccessfulFleetDeletions": done, "UnsuccessfulFleetDeletions": failed}


def _target(given: Mapping[str, Any]) -> dict[str, Any]:
    """The TargetCapacitySpecification with both parts of the total: what neither names is of the default type."""
    total, on_demand, spot = (
        given.get(f"{name}TargetCapacity", 0) for name in ("Total", "OnDemand", "Spot")
    )  # fmt: skip
    kind = given.get("DefaultTargetCapacityType") or "on-demand"
    if kind not in ("on-demand", "spot"):
        raise UnsupportedOperation(f"The target capacity type {kind}")
    if not 1 <= total <= _TARGET_MAX:
        raise InvalidParameterValue(f"Value ({total}) for TotalTargetCapacity is invalid. 1 to {_TARGET_MAX}.")
    if min(on_demand, spot) < 0 or on_demand + spot > total:
        raise InvalidParameterValue("OnDemandTargetCapacity and SpotTargetCapacity are more than TotalTargetCapacity.")
    rest = total - on_demand - spot
    on_demand, spot = (on_demand + rest, spot) if kind == "on-demand" else (on_demand, spot + rest)
    return {
        "TotalTargetCapacity": total,
        "OnDemandTargetCapacity": on_demand,
        "SpotTargetCapacity": spot,
        "DefaultTargetCapacityType": kind,
        "TargetCapacityUnitType": given.get("TargetCapacityUnitType") or "units",
    }


def _launched(pool: Pool, found: Sequence[Instance], lifecycle: Lifecycle) -> dict[str, Any]:
    return {
        **_origin(pool, lifecycle),
        "InstanceIds": [instance.id for instance in found],
        "InstanceType": pool.type_name,
    }


def _error(pool: Pool, error: AwsError, lifecycle: Lifecycle) -> dict[str, Any]:
    return {**_origin(pool, lifecycle), "ErrorCode": error.code, "ErrorMessage": error.message}


def _origin(pool: Pool, lifecycle: Lifecycle) -> dict[str, Any]:
    overrides = {name: value for name, value in pool.override.items() if name in _SHOWN_OVERRIDES}
    used = {"LaunchTemplateSpecification": dict(pool.template), "Overrides": msgspec.to_builtins(overrides)}
    return {"LaunchTemplateAndOverrides": used, "Lifecycle": lifecycle}


_SHOWN_OVERRIDES = (
    "AvailabilityZone", "AvailabilityZoneId", "ImageId", "InstanceRequirements", "InstanceType", "MaxPrice",
    "Placement", "Priority", "SubnetId", "WeightedCapacity",
)  # fmt: skip


def _created(fleet: Fleet) -> Response:
    return {"FleetId": fleet.id, "Instances": fleet.launched, "Errors": fleet.errors}


def _alive(call: Call, fleet: Fleet) -> list[Instance]:
    ids = [instance_id for each in fleet.launched for instance_id in each["InstanceIds"]]
    if not ids:
        return []
    alive = instances.c.state.not_in(("shutting-down", "terminated"))
    return call.tx.select(Instance, alive, id=ids, account_id=call.account_id)


def _state(call: Call, fleet: Fleet) -> str:
    if fleet.state == "active":
        return "active"
    ids = [instance_id for each in fleet.launched for instance_id in each["InstanceIds"]]
    left = bool(ids) and call.tx.count(Instance, instances.c.state != "terminated", id=ids) > 0
    return "deleted_terminating" if left else "deleted"


def _described(call: Call, fleet: Fleet, tags: Sequence[Tag]) -> dict[str, Any]:
    given = fleet.request
    configs = [
        {
            "LaunchTemplateSpecification": {
                name: value
                for name, value in config["LaunchTemplateSpecification"].items()
                if name != "LaunchTemplateSpecificationUserData"
            },
            "Overrides": [
                {name: value for name, value in override.items() if name in _SHOWN_OVERRIDES}
                for override in config.get("Overrides") or ()
            ],
        }
        for config in given["LaunchTemplateConfigs"]
    ]
    return {
        "FleetId": fleet.id,
        "FleetState": _state(call, fleet),
        "ActivityStatus": "fulfilled",
        "CreateTime": fleet.created_at,
        "Type": "instant",
        "ClientToken": given.get("ClientToken", ""),
        "ExcessCapacityTerminationPolicy": "termination",
        "FulfilledCapacity": fleet.fulfilled,
        "FulfilledOnDemandCapacity": fleet.fulfilled_on_demand,
        "LaunchTemplateConfigs": configs,
        "TargetCapacitySpecification": fleet.target,
        "TerminateInstancesWithExpiration": False,
        "ReplaceUnhealthyInstances": False,
        "OnDemandOptions": {"AllocationStrategy": "lowest-price", **given.get("OnDemandOptions", {})},
        "SpotOptions": {
            "AllocationStrategy": "lowest-price",
            "InstanceInterruptionBehavior": "terminate",
            **given.get("SpotOptions", {}),
        },
        "Tags": tag_list(tags),
        "Errors": fleet.errors,
        "Instances": fleet.launched,
    }


def _attributes(fleet: Mapping[str, Any]) -> dict[str, list[str]]:
    """What each filter looks at."""
    return {
        "activity-status": [fleet["ActivityStatus"]],
        "excess-capacity-termination-policy": [fleet["ExcessCapacityTerminationPolicy"]],
        "fleet-state": [fleet["FleetState"]],
        "replace-unhealthy-instances": [str(fleet["ReplaceUnhealthyInstances"]).lower()],
        "type": [fleet["Type"]],
    }
