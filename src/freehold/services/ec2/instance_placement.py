"""ModifyInstancePlacement: a stopped instance moves into another placement group, another partition, or out of one.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/change-instance-placement-group.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from freehold.records.feed import publish, take_turn
from freehold.records.placement import PlacementGroup
from freehold.services.ec2 import launch_placement
from freehold.services.ec2.compute_errors import IncorrectInstanceState
from freehold.services.ec2.errors import InvalidParameterCombination, MissingParameter
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.placement_groups import needed_named
from freehold.services.ec2.resources import INSTANCE
from freehold.services.errors import AwsError
from freehold.services.operation import Call, Needed, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import ModifyInstancePlacementRequestTypeDef


def _needed(call: Call, request: ModifyInstancePlacementRequestTypeDef) -> Iterator[Needed]:
    """The instance, and the group that it is to be in. What is wrong with the request the operation says."""
    yield INSTANCE.needed(call, request["InstanceId"])
    try:
        group = launch_placement.named(call, request)
    except AwsError:
        return
    if group is not None:
        yield needed_named(call, group.name)


@operation(resources=_needed)
def modify_instance_placement(call: Call, request: ModifyInstancePlacementRequestTypeDef) -> Response:
    """An empty GroupName takes the instance out of its group. Whether its host will do for the new one, the next start
    says. Raises IncorrectInstanceState, InvalidPlacementGroup.Unknown, InvalidPlacementGroup.InUse.
    """
    refuse_others(
        request,
        {"GroupId", "GroupName", "InstanceId", "PartitionNumber"},
        {"Affinity": "default", "Tenancy": "default"},
    )
    if not request.keys() - {"InstanceId", "DryRun"}:
        raise MissingParameter("GroupName")
    take_turn(call.tx)
    instance = INSTANCE.load(call, request["InstanceId"])
    if not request.keys() & {"GroupId", "GroupName", "PartitionNumber"}:
        return {"Return": True}
    if instance.state != "stopped":
        raise IncorrectInstanceState(f"The instance '{instance.id}' is not in the 'stopped' state.")
    if request.keys() & {"GroupId", "GroupName"}:
        placement = dict(request)
    else:  # another partition of the same group
        placement = {**request, "GroupId": instance.placement_group_id}
    if placement.get("GroupName") == "" and "PartitionNumber" in request:
        raise InvalidParameterCombination("The parameter PartitionNumber needs a placement group.")
    grouping = launch_placement.asked_for(call, placement, instance.instance_type)
    launch_placement.check_zone(call.tx, grouping, instance)
    group: PlacementGroup | None = grouping.group
    call.tx.update(
        instance,
        placement_group_id=group.id if group else None,
        placement_group_name=group.name if group else None,
        partition_number=grouping.partition,
        generation=instance.generation + 1,
    )
    publish(call.tx, "guest", instance.id)
    return {"Return": True}
