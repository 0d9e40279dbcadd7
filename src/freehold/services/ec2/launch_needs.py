"""What policies must allow for a launch: the image, what is made, and what it is put into or given.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ExamplePolicies_EC2.html#iam-example-runinstances and
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html (RunInstances)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from freehold.iam.policy import decide_on
from freehold.records.identities import InstanceProfile
from freehold.records.ids import is_ec2_id
from freehold.records.network import SecurityGroup, Subnet
from freehold.records.placement import PlacementGroup
from freehold.services.ec2 import (
    ebs_encryption,
    instance_profiles,
    key_pairs,
    launch_capacity,
    launch_from_template,
    launch_interface,
    launch_placement,
    launch_volumes,
    metadata_defaults,
    metadata_options,
    placement_groups,
    root_volumes,
)
from freehold.services.ec2.condition_keys import (
    encrypted_under,
    in_placement_group,
    in_subnet,
    in_vpc,
    in_zone,
    of_any_instance,
    of_any_volume,
    of_metadata_options,
    written,
)
from freehold.services.ec2.errors import UnauthorizedOperation
from freehold.services.ec2.launch_from_template import FromTemplate, under_template
from freehold.services.ec2.launch_interface import PrimaryInterface
from freehold.services.ec2.launch_volumes import Disk
from freehold.services.ec2.resources import (
    CAPACITY_RESERVATION,
    IMAGE,
    INSTANCE,
    LAUNCH_TEMPLATE,
    NETWORK_INTERFACE,
    SECURITY_GROUP,
    SNAPSHOT,
    SPOT_REQUEST,
    SUBNET,
    VOLUME,
    made,
)
from freehold.services.ec2.spot_market import is_spot
from freehold.services.errors import AwsError
from freehold.services.operation import Call, Needed, Value

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import RunInstancesRequestTypeDef


def needs(call: Call, request: RunInstancesRequestTypeDef) -> Iterator[Needed]:
    """One after the other: what follows one that is denied is not looked up. Of a request that is wrong in itself no
    more is needed: the operation looks up the same, and refuses it."""
    try:
        launch = launch_from_template.resolved(call, request)
    except AwsError:
        yield LAUNCH_TEMPLATE.needed(call, "*")
        return
    yield from of_launch(call, request, launch)


def check_chosen(call: Call, request: RunInstancesRequestTypeDef, launch: FromTemplate, subnet_id: str) -> None:
    """What a launch needs of the subnet that was chosen for it, and of what is in it, if there were others. Raises
    UnauthorizedOperation."""
    if _is_choice(call, launch.request):
        check_in(call, request, launch, subnet_id)


def check_in(call: Call, request: RunInstancesRequestTypeDef, launch: FromTemplate, subnet_id: str) -> None:
    """The same, whether there were others or not."""
    all_needed = under_template(call, request, launch, plain_launch(call, launch.request, SUBNET.load(call, subnet_id)))
    needed = filter(_depends_on_subnet, all_needed)
    decision = decide_on(call, "ec2:RunInstances", needed, request, encoded=True)
    if not decision.allowed:
        raise UnauthorizedOperation(decision.explanation)


def _is_choice(call: Call, request: RunInstancesRequestTypeDef) -> bool:
    try:
        return len(launch_interface.possible_subnets(call, launch_interface.asked_for(call, request))) > 1
    except AwsError:
        return False  # it is refused


def _depends_on_subnet(needed: Needed) -> bool:
    resource_type = needed.arn.rpartition(":")[2].partition("/")[0]
    return resource_type in {kind.resource_type for kind in (INSTANCE, NETWORK_INTERFACE, SUBNET, VOLUME)}


def of_launch(call: Call, request: RunInstancesRequestTypeDef, launch: FromTemplate) -> Iterator[Needed]:
    """The same of a launch that is meant as `launch`, where `request` says what it says itself. Where the cloud chooses
    the subnet, what depends on it is left to `check_chosen`."""
    chosen_later = _is_choice(call, launch.request)
    for needed in under_template(call, request, launch, plain_launch(call, launch.request)):
        if not (chosen_later and _depends_on_subnet(needed)):
            yield needed


def plain_launch(call: Call, request: RunInstancesRequestTypeDef, chosen: Subnet | None = None) -> Iterator[Needed]:
    """The same of a launch without a template, in any of the subnets that it may get unless one is `chosen`."""
    yield IMAGE.needed(call, request.get("ImageId") or "*")
    try:
        wanted = launch_interface.asked_for(call, request)
        subnets = [chosen] if chosen is not None else launch_interface.possible_subnets(call, wanted)
        groups = _groups(call, wanted, subnets[0].vpc_id)
        profile = instance_profiles.asked_for(call, request.get("IamInstanceProfile") or {})
        group = launch_placement.named(call, request.get("Placement") or {})
        image = IMAGE.find(call, request.get("ImageId", "")) if is_ec2_id("ami", request.get("ImageId", "")) else None
        mappings = request.get("BlockDeviceMappings") or ()
        root = root_volumes.asked_for(call, image, mappings) if image is not None else None
        disks = launch_volumes.asked_for(call, image, mappings) if image is not None else []
    except AwsError:
        yield INSTANCE.needed(call, "*")
        return
    zone = wanted.zone if chosen is None and wanted.subnet_id is None else subnets[0].zone
    placed: Mapping[str, Value] = {} if zone is None else in_zone(call.region, zone)
    yield from made(call, request, INSTANCE, keys=lambda: _instance(call, request, placed, profile, group))
    if is_spot(request):
        yield from made(call, request, SPOT_REQUEST, own=False)
    yield from made(call, request, VOLUME, keys=lambda: _volume(call, root, placed) if root is not None else {})
    for disk in disks:
        yield from made(call, request, VOLUME, keys=partial(_volume, call, disk, placed))
        if disk.snapshot is not None:
            yield SNAPSHOT.needed(call, disk.snapshot.id)
    yield from made(call, request, NETWORK_INTERFACE, keys=lambda: _interface(call, wanted, subnets[0]))
    for subnet in subnets:
        yield SUBNET.needed(call, subnet.id)
    for group_id in groups:
        yield SECURITY_GROUP.needed(call, group_id)
    if named := launch_capacity.target(request.get("CapacityReservationSpecification") or {}):
        yield CAPACITY_RESERVATION.needed(call, named)
    if group is not None:
        yield placement_groups.needed_named(call, group.name)
    if request.get("KeyName"):
        yield key_pairs.needed_named(call, request["KeyName"])
    if profile is not None:
        yield from instance_profiles.passed(call, profile)
    for encryption, snapshot in {(disk.encryption, disk.snapshot) for disk in (*([root] if root else ()), *disks)}:
        yield from ebs_encryption.to_create(call, encryption, snapshot)


def _instance(
    call: Call,
    request: RunInstancesRequestTypeDef,
    placed: Mapping[str, Value],
    profile: InstanceProfile | None,
    group: PlacementGroup | None,
) -> Mapping[str, Value]:
    options = metadata_options.changed(metadata_defaults.preferred(call), request.get("MetadataOptions", {}))
    return {
        "ec2:InstanceProfile": instance_profiles.arn_of(profile) if profile is not None else None,
        **placed,
        **in_placement_group(call, group.name if group else None),
        **of_any_instance(
            str(request.get("InstanceType", "")),
            ebs_optimized=request.get("EbsOptimized", False),
            auto_recovery=request.get("MaintenanceOptions", {}).get("AutoRecovery") or "default",
            spot=is_spot(request),
        ),
        **of_metadata_options(options),
    }


def _volume(call: Call, disk: Disk, placed: Mapping[str, Value]) -> Mapping[str, Value]:
    settings = disk.settings
    return {
        **placed,
        **of_any_volume(settings.volume_type, settings.size_gib, settings.iops, settings.throughput_mibps),
        **encrypted_under(disk.encryption.encrypted, ebs_encryption.arn_of(call, disk.encryption)),
    }


def _interface(call: Call, wanted: PrimaryInterface, subnet: Subnet) -> Mapping[str, Value]:
    public = subnet.map_public_ip_on_launch if wanted.public is None else wanted.public
    return {
        "ec2:AssociatePublicIpAddress": written(public),
        **in_zone(subnet.region, subnet.zone),
        **in_subnet(call, subnet.id),
        **in_vpc(call, subnet.vpc_id),
    }


def _groups(call: Call, wanted: PrimaryInterface, vpc_id: str) -> list[str]:
    """The security groups that are named, else the default one of the VPC."""
    named = launch_interface.group_ids(call, wanted, vpc_id)
    if named:
        return named
    default = call.tx.find(SecurityGroup, vpc_id=vpc_id, name="default")
    return [default.id] if default is not None else []
