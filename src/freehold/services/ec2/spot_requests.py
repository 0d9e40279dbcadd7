"""Spot instance requests: RequestSpotInstances, DescribeSpotInstanceRequests, CancelSpotInstanceRequests.

A request is written here, and fulfilled by the controllers when there is room (`fulfil`, called by control/spot.py); a
launch by RunInstances makes one that is fulfilled.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-requests.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from freehold.instance_types import find, is_bare_metal
from freehold.records.compute import Instance
from freehold.records.feed import publish, take_turn
from freehold.records.ids import new_id
from freehold.records.instances import send_down
from freehold.records.network import SecurityGroup
from freehold.records.spot import TERMINATED, SpotRequest, cancel, turn
from freehold.records.tags import Tag, tags_of
from freehold.services.ec2 import launch_interface, launch_needs, launch_placement, spot_market, vcpu_limits
from freehold.services.ec2.compute_errors import InstanceLimitExceeded, Unsupported
from freehold.services.ec2.errors import InvalidParameterValue, MissingParameter
from freehold.services.ec2.idempotency import claim
from freehold.services.ec2.instances_launch import DEFAULTS, HONOURED, Launch, launch_all, launch_of
from freehold.services.ec2.paging import described
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import SPOT_REQUEST, made, named_by
from freehold.services.ec2.spot_filters import FILTERS
from freehold.services.ec2.spot_market import Market
from freehold.services.ec2.spot_statuses import MESSAGES
from freehold.services.ec2.tags import specified, tag_list
from freehold.services.ec2.zones import zone_id
from freehold.services.operation import Call, Needed, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        CancelSpotInstanceRequestsRequestTypeDef,
        DescribeSpotInstanceRequestsRequestTypeDef,
        RequestSpotInstancesRequestTypeDef,
        RunInstancesRequestTypeDef,
    )

_COUNT_MAX = 1000
_MEMBERS = (
    "BlockDeviceMappings", "EbsOptimized", "IamInstanceProfile", "ImageId", "InstanceType", "KeyName", "Monitoring",
    "NetworkInterfaces", "Placement.AvailabilityZone", "Placement.AvailabilityZoneId", "Placement.GroupName",
    "SecurityGroupIds", "SecurityGroups", "SubnetId", "UserData",
)  # fmt: skip
"""What a launch specification has in common with RunInstances, which says what of it is honoured."""

_IN_SPECIFICATION = {
    f"LaunchSpecification.{path}"
    for path in HONOURED
    if any(path == member or path.startswith(f"{member}.") for member in _MEMBERS)
}
_DEFAULTS = {f"LaunchSpecification.{path}": value for path, value in DEFAULTS.items()}
_OWN = {
    "ClientToken", "InstanceCount", "InstanceInterruptionBehavior", "SpotPrice", "TagSpecifications", "Type",
    "ValidFrom", "ValidUntil",
}  # fmt: skip
_NOT_MADE_YET = ("instance", "network-interface", "volume")


def _needed(call: Call, request: RequestSpotInstancesRequestTypeDef) -> Iterator[Needed]:
    """The request, and what its launches will use; what they make is not asked for here."""
    yield from made(call, request, SPOT_REQUEST)
    for needed in launch_needs.plain_launch(call, _launch_request(request)):
        if needed.arn.split(":")[5].partition("/")[0] not in _NOT_MADE_YET:
            yield needed


def _launch_request(request: Mapping[str, Any]) -> RunInstancesRequestTypeDef:
    specification = request.get("LaunchSpecification") or {}
    return cast("RunInstancesRequestTypeDef", {**specification, "MinCount": 1, "MaxCount": 1})


@operation(resources=_needed, resource_policies=True)
def request_spot_instances(call: Call, request: RequestSpotInstancesRequestTypeDef) -> Response:
    """A request for each of InstanceCount instances, all pending evaluation."""
    refuse_others(request, _OWN | _IN_SPECIFICATION, _DEFAULTS)
    count = request.get("InstanceCount", 1)
    if count < 1:
        raise InvalidParameterValue(f"Value ({count}) for parameter instanceCount is invalid. It must be at least 1.")
    if count > _COUNT_MAX:
        raise InstanceLimitExceeded(count, _COUNT_MAX)
    tags = specified(request.get("TagSpecifications"), SPOT_REQUEST.resource_type)[SPOT_REQUEST.resource_type]
    launch = _launch_request(request)
    market = _market(call, request, launch)
    asked = launch_of(call, launch, market)
    _check_network(call, asked)
    first = new_id(SPOT_REQUEST.prefix)
    made_before = claim(call, request, first)
    if made_before is not None:
        return _answer(call, _of_token(call, made_before))
    take_turn(call.tx)
    vcpu_limits.allowed(call, asked.instance_type.vcpus, count, count, spot=True)
    plain = {name: value for name, value in launch.items() if name not in ("MinCount", "MaxCount")}
    requests = [
        spot_market.requested(call, market, plain, tags, "open", "pending-evaluation", token_id=first)
        for _ in range(count)
    ]
    for each in requests:
        publish(call.tx, "spot", each.id)
    return _answer(call, requests)


def _market(call: Call, request: Mapping[str, Any], launch: Mapping[str, Any]) -> Market:
    type_name = launch.get("InstanceType") or ""
    if not type_name:
        raise MissingParameter("LaunchSpecification.InstanceType")
    instance_type = find(call.config, type_name)
    if instance_type is None:
        raise InvalidParameterValue(f"Invalid value '{type_name}' for InstanceType.")
    if is_bare_metal(type_name):
        raise Unsupported(type_name)
    return spot_market.asked_for(
        call,
        instance_type,
        launch_placement.asked_for(call, launch.get("Placement") or {}, type_name),
        kind=request.get("Type"),
        interruption=request.get("InstanceInterruptionBehavior"),
        max_price=request.get("SpotPrice"),
        valid_from=request.get("ValidFrom"),
        valid_until=request.get("ValidUntil"),
    )


def _check_network(call: Call, launch: Launch) -> None:
    """Raises what is wrong with the subnet or the names of groups."""
    subnet, *_ = launch_interface.possible_subnets(call, launch.interface)
    launch_interface.group_ids(call, launch.interface, subnet.vpc_id)


def _of_token(call: Call, token_id: str) -> list[SpotRequest]:
    return call.tx.select(SpotRequest, **SPOT_REQUEST.owner(call), token_id=token_id)


@operation()
def describe_spot_instance_requests(call: Call, request: DescribeSpotInstanceRequestsRequestTypeDef) -> Response:
    """Also those that ended within a day."""
    refuse_others(request, {"Filters", "MaxResults", "NextToken", "SpotInstanceRequestIds"})
    found = described(call, SPOT_REQUEST, request, "SpotInstanceRequestIds", FILTERS)
    return {**_answer(call, found.rows), **found.token}


@operation(resources=named_by("SpotInstanceRequestIds", SPOT_REQUEST))
def cancel_spot_instance_requests(call: Call, request: CancelSpotInstanceRequestsRequestTypeDef) -> Response:
    """Instances that run run on. "If you cancel … a stopped Spot Instance … Amazon EC2 Spot terminates" it."""
    refuse_others(request, {"SpotInstanceRequestIds"})
    if not request["SpotInstanceRequestIds"]:
        raise MissingParameter("SpotInstanceRequestId")
    take_turn(call.tx)
    answers = [_cancel(call, each) for each in SPOT_REQUEST.load_all(call, request["SpotInstanceRequestIds"])]
    return {
        "CancelledSpotInstanceRequests": [
            {"SpotInstanceRequestId": each.id, "State": "cancelled" if each.state == "failed" else each.state}
            for each in answers
        ]
    }


def _cancel(call: Call, request: SpotRequest) -> SpotRequest:
    if request.state not in ("open", "active", "disabled"):
        return request
    cancelled = cancel(call.tx, request)
    instance = call.tx.get(Instance, request.instance_id) if request.instance_id is not None else None
    if request.state == "disabled" and instance is not None and instance.state in ("stopping", "stopped"):
        send_down(call.tx, instance, "shutting-down", TERMINATED, TERMINATED.code)
    return cancelled


def fulfil(call: Call, request: SpotRequest) -> Instance:
    """Launch the instance of an open request. Raises what a launch does."""
    market = Market(request.kind, request.interruption, request.highest_price, request_id=request.id)
    asked = cast("RunInstancesRequestTypeDef", {**request.launch, "MinCount": 1, "MaxCount": 1})
    (instance,) = launch_all(call, asked, launch_of(call, asked, market), new_id("r"))
    turn(call.tx, request, "active", "fulfilled", instance_id=instance.id, zone=instance.zone, fault=None)
    return instance


def _answer(call: Call, requests: Sequence[SpotRequest]) -> Response:
    tags = tags_of(call.tx, [request.id for request in requests])
    return {"SpotInstanceRequests": [_described(call, request, tags[request.id]) for request in requests]}


def _described(call: Call, request: SpotRequest, tags: Sequence[Tag]) -> dict[str, Any]:
    description: dict[str, Any] = {
        "CreateTime": request.created_at,
        "InstanceInterruptionBehavior": request.interruption,
        "LaunchSpecification": _specification(call, request),
        "ProductDescription": "Linux/UNIX",
        "SpotInstanceRequestId": request.id,
        "SpotPrice": request.max_price,
        "State": request.state,
        "Status": {
            "Code": request.status,
            "Message": MESSAGES[request.status],
            "UpdateTime": request.status_at,
        },
        "Tags": tag_list(tags),
        "Type": request.kind,
    }
    if request.fault is not None:
        description["Fault"] = {"Code": request.fault.code, "Message": request.fault.message}
    if request.instance_id is not None:
        description["InstanceId"] = request.instance_id
    if request.zone is not None:
        description["LaunchedAvailabilityZone"] = request.zone
        description["LaunchedAvailabilityZoneId"] = zone_id(request.region, request.zone)
    if request.valid_from is not None:
        description["ValidFrom"] = request.valid_from
    if request.valid_until is not None:
        description["ValidUntil"] = request.valid_until
    return description


def _specification(call: Call, request: SpotRequest) -> dict[str, Any]:
    """The launch specification of an answer: without user data, its groups with their names."""
    launch = request.launch
    shown = {
        name: launch[name]
        for name in (
            "BlockDeviceMappings", "EbsOptimized", "IamInstanceProfile", "ImageId", "InstanceType", "KeyName",
            "Monitoring", "NetworkInterfaces", "SubnetId",
        )
        if launch.get(name)
    }  # fmt: skip
    placement = launch.get("Placement") or {}
    members = ("AvailabilityZone", "AvailabilityZoneId", "GroupName", "Tenancy")
    shown["Placement"] = {name: placement[name] for name in members if placement.get(name)}
    shown.setdefault("Monitoring", {"Enabled": False})
    ids = list(launch.get("SecurityGroupIds") or ())
    names = {group.id: group.name for group in call.tx.select(SecurityGroup, id=ids, account_id=call.account_id)}
    shown["SecurityGroups"] = [
        *({"GroupId": group_id, "GroupName": names.get(group_id, "")} for group_id in ids),
        *({"GroupName": name} for name in launch.get("SecurityGroups") or ()),
    ]
    return shown
