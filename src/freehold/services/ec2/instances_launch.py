"""RunInstances."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from freehold.config import InstanceType
from freehold.instance_types import find, is_bare_metal
from freehold.records import ready_machines
from freehold.records.compute import (
    Host,
    Image,
    Instance,
    InstanceUserData,
    MetadataOptions,
    StateReason,
    instances,
)
from freehold.records.feed import publish, take_turn
from freehold.records.identities import InstanceProfile
from freehold.records.ids import InstanceId, new_id
from freehold.records.network import Subnet
from freehold.records.tags import put_tags
from freehold.services.ec2 import (
    credit_specifications,
    ebs_encryption,
    instance_profiles,
    launch_capacity,
    launch_from_template,
    launch_interface,
    launch_placement,
    launch_volumes,
    metadata_defaults,
    metadata_options,
    root_volumes,
    spot_market,
    storage_limits,
    user_data,
    vcpu_limits,
)
from freehold.services.ec2 import (
    hibernation as hibernation_options,
)
from freehold.services.ec2.addresses import allocate_auto
from freehold.services.ec2.compute_errors import (
    IdempotentInstanceTerminated,
    InstanceLimitExceeded,
    Unsupported,
)
from freehold.services.ec2.credit_specifications import CpuCredits
from freehold.services.ec2.ebs_encryption import VolumeEncryption
from freehold.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue, MissingParameter
from freehold.services.ec2.idempotency import claim
from freehold.services.ec2.image_errors import InvalidAMIIDUnavailable
from freehold.services.ec2.instance_options import cores
from freehold.services.ec2.instance_types import zones_of
from freehold.services.ec2.instances import reservations
from freehold.services.ec2.interfaces import create_primary_interface
from freehold.services.ec2.key_pairs import load_named
from freehold.services.ec2.launch_interface import PrimaryInterface
from freehold.services.ec2.launch_needs import check_chosen, needs
from freehold.services.ec2.launch_placement import Place, Seating, Wanted
from freehold.services.ec2.launch_volumes import Disk
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import IMAGE, INSTANCE, NETWORK_INTERFACE, SPOT_REQUEST, VOLUME
from freehold.services.ec2.spot_market import Market
from freehold.services.ec2.tags import check_metadata_keys, specified
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import RunInstancesRequestTypeDef

_COUNT_MAX = 1000
_TAGGED = tuple(kind.resource_type for kind in (INSTANCE, VOLUME, NETWORK_INTERFACE, SPOT_REQUEST))

HONOURED = {
    "BlockDeviceMappings.DeviceName",
    "BlockDeviceMappings.Ebs.DeleteOnTermination",
    "BlockDeviceMappings.Ebs.Encrypted",
    "BlockDeviceMappings.Ebs.Iops",
    "BlockDeviceMappings.Ebs.KmsKeyId",
    "BlockDeviceMappings.Ebs.SnapshotId",
    "BlockDeviceMappings.Ebs.Throughput",
    "BlockDeviceMappings.Ebs.VolumeSize",
    "BlockDeviceMappings.Ebs.VolumeType",
    "BlockDeviceMappings.NoDevice",
    "CapacityReservationSpecification.CapacityReservationPreference",
    "CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId",
    "ClientToken",
    "CpuOptions.CoreCount",
    "CreditSpecification.CpuCredits",
    "DisableApiStop",
    "DisableApiTermination",
    "EbsOptimized",
    "HibernationOptions.Configured",
    "IamInstanceProfile",
    "ImageId",
    "InstanceInitiatedShutdownBehavior",
    "InstanceMarketOptions.MarketType",
    "InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior",
    "InstanceMarketOptions.SpotOptions.MaxPrice",
    "InstanceMarketOptions.SpotOptions.SpotInstanceType",
    "InstanceMarketOptions.SpotOptions.ValidUntil",
    "InstanceType",
    "KeyName",
    "MaintenanceOptions.AutoRecovery",
    "MaxCount",
    "MetadataOptions.HttpEndpoint",
    "MetadataOptions.HttpPutResponseHopLimit",
    "MetadataOptions.HttpTokens",
    "MetadataOptions.InstanceMetadataTags",
    "MinCount",
    "Monitoring.Enabled",
    "NetworkInterfaces.AssociatePublicIpAddress",
    "NetworkInterfaces.Description",
    "NetworkInterfaces.DeviceIndex",
    "NetworkInterfaces.Groups",
    "NetworkInterfaces.PrivateIpAddress",
    "NetworkInterfaces.SubnetId",
    "Placement.AvailabilityZone",
    "Placement.AvailabilityZoneId",
    "Placement.GroupId",
    "Placement.GroupName",
    "Placement.PartitionNumber",
    "PrivateIpAddress",
    "SecurityGroupIds",
    "SecurityGroups",
    "SubnetId",
    "TagSpecifications",
    "UserData",
}
DEFAULTS = {
    "CpuOptions.AmdSevSnp": "disabled",
    "CpuOptions.NestedVirtualization": "disabled",
    "CpuOptions.ThreadsPerCore": 1,
    "EnablePrimaryIpv6": False,
    "EnclaveOptions.Enabled": False,
    "Ipv6AddressCount": 0,
    "MetadataOptions.HttpProtocolIpv6": "disabled",
    # An interface can not be without its instance here, so it can not be kept beyond it either.
    "NetworkInterfaces.DeleteOnTermination": True,
    "NetworkInterfaces.InterfaceType": "interface",
    "NetworkInterfaces.Ipv6AddressCount": 0,
    "NetworkInterfaces.NetworkCardIndex": 0,
    "NetworkInterfaces.SecondaryPrivateIpAddressCount": 0,
    "NetworkPerformanceOptions.BandwidthWeighting": "default",
    "Placement.Tenancy": "default",
    "PrivateDnsNameOptions.EnableResourceNameDnsAAAARecord": False,
    "PrivateDnsNameOptions.EnableResourceNameDnsARecord": False,
    "PrivateDnsNameOptions.HostnameType": "ip-name",
}


_ONCE = {"ClientToken", "InstanceMarketOptions", "MaxCount", "MinCount", "PrivateIpAddress"}
"""What a persistent spot request does not ask for again."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What every instance of the launch is to be like."""

    image: Image
    type_name: str
    instance_type: InstanceType
    core_count: int | None
    key_name: str | None
    root: Disk
    disks: Sequence[Disk]
    hibernation: bool
    interface: PrimaryInterface
    wanted: Wanted
    metadata: MetadataOptions
    cpu_credits: CpuCredits
    user_data: bytes | None
    profile: InstanceProfile | None
    tags: Mapping[str, Mapping[str, str]]
    market: Market | None


@operation(resources=needs, resource_policies=True)
def run_instances(call: Call, request: RunInstancesRequestTypeDef) -> Response:
    """As many as fit of MinCount to MaxCount instances, in one subnet; none at all if MinCount do not fit."""
    asked = request
    template = launch_from_template.resolved(call, asked)
    request = template.request
    refuse_others(request, HONOURED, DEFAULTS)
    _check_counts(request)
    launch = launch_of(call, request)
    reservation_id = new_id("r")
    made_before = claim(call, asked, reservation_id)
    if made_before is not None:
        earlier = _instances_of(call, made_before, request.get("ClientToken", ""))
        check_chosen(call, asked, template, earlier[0].subnet_id)
        return _answer(call, earlier)
    take_turn(call.tx)
    made = launch_all(call, request, launch, reservation_id)
    check_chosen(call, asked, template, made[0].subnet_id)
    for instance in made:
        put_tags(call.tx, call.account_id, call.region, INSTANCE.resource_type, instance.id, template.tags)
    return _answer(call, made)


def launch_all(call: Call, request: RunInstancesRequestTypeDef, launch: Launch, reservation_id: str) -> list[Instance]:
    """MinCount to MaxCount instances. Raises as `_reserve` does, what is wrong with the network that it is in, and the
    codes of quotas."""
    low, high, vcpus = request["MinCount"], request["MaxCount"], launch.instance_type.vcpus
    most = vcpu_limits.allowed(call, vcpus, low, high, spot=launch.market is not None)
    subnet, places = _reserve(call, launch, low, most)
    _check_storage(call, launch, len(places))
    _note_launch(call, launch.image)
    groups = launch_interface.group_ids(call, launch.interface, subnet.vpc_id)
    encryptions = [ebs_encryption.resolved(call, disk.encryption) for disk in (launch.root, *launch.disks)]
    made = [
        _make(call, request, launch, encryptions, subnet, groups, reservation_id, index, place)
        for index, place in enumerate(places)
    ]
    publish(call.tx, "vpc", subnet.vpc_id)
    return made


def _note_launch(call: Call, image: Image) -> None:
    """When an image was last launched, to the day; not of the cloud's own, whose rows all accounts share.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-last-launched-time.html
    """
    last = image.last_launched_at
    if image.region is not None and (last is None or call.now - last >= dt.timedelta(days=1)):
        call.tx.update(image, last_launched_at=call.now)


def _check_storage(call: Call, launch: Launch, count: int) -> None:
    sizes: Counter[str] = Counter()
    iops: Counter[str] = Counter()
    for disk in (launch.root, *launch.disks):
        sizes[disk.settings.volume_type] += disk.settings.size_gib
        iops[disk.settings.volume_type] += disk.settings.iops
    for volume_type, size_gib in sizes.items():
        storage_limits.check(call, volume_type, size_gib * count, iops[volume_type] * count)


def _check_counts(request: RunInstancesRequestTypeDef) -> None:
    low, high = request["MinCount"], request["MaxCount"]
    for name, count in (("minCount", low), ("maxCount", high)):
        if count < 1:
            raise InvalidParameterValue(f"Value ({count}) for parameter {name} is invalid. It must be at least 1.")
    if low > high:
        raise InvalidParameterValue(f"Value ({low}) for parameter minCount is greater than maxCount ({high}).")
    if high > _COUNT_MAX:
        raise InstanceLimitExceeded(high, _COUNT_MAX)


def launch_of(call: Call, request: RunInstancesRequestTypeDef, market: Market | None = None) -> Launch:
    """The launch that the request asks for, everything checked that does not depend on where it will be. `market` is
    that of a spot instance request that there is already."""
    for name in ("ImageId", "InstanceType"):
        if not request.get(name):
            raise MissingParameter(name)
    tags = specified(request.get("TagSpecifications"), *_TAGGED)
    metadata = metadata_options.changed(metadata_defaults.preferred(call), request.get("MetadataOptions", {}))
    metadata_defaults.check(call, metadata)
    if metadata.instance_metadata_tags == "enabled":
        check_metadata_keys(tags[INSTANCE.resource_type])
    data = user_data.decoded(request.get("UserData", ""))
    interface = launch_interface.asked_for(call, request)
    type_name = str(request.get("InstanceType", ""))
    instance_type = find(call.config, type_name)
    if instance_type is None:
        raise InvalidParameterValue(f"Invalid value '{type_name}' for InstanceType.")
    if is_bare_metal(type_name):
        raise Unsupported(type_name)
    cpu_credits = credit_specifications.asked_for(call, type_name, request.get("CreditSpecification", {}))
    grouping = launch_placement.asked_for(call, request.get("Placement") or {}, type_name)
    core_count = cores(type_name, instance_type.vcpus, request.get("CpuOptions", {}).get("CoreCount"))
    capacity = launch_capacity.asked_for(call, request.get("CapacityReservationSpecification") or {}, type_name)
    market = market or spot_market.of_launch(call, request, instance_type, grouping)
    size = (instance_type.vcpus, instance_type.memory_mib)
    wanted = Wanted(type_name, *size, capacity, grouping, spot=market is not None)
    image = IMAGE.load(call, request.get("ImageId", ""))
    if image.state != "available":
        raise InvalidAMIIDUnavailable(image.id)
    if instance_type.memory_mib < image.minimum_memory_mib:
        raise InvalidParameterCombination(
            f"The image '{image.id}' needs an instance type with at least {image.minimum_memory_mib} MiB of memory; "
            f"{type_name} has {instance_type.memory_mib} MiB."
        )
    root = root_volumes.asked_for(call, image, request.get("BlockDeviceMappings") or ())
    disks = launch_volumes.asked_for(call, image, request.get("BlockDeviceMappings") or ())
    hibernates: Any = request.get("HibernationOptions", {})
    if market is not None and market.interruption == "hibernate":
        hibernates = {"Configured": True}
    hibernation = hibernation_options.asked_for(hibernates, type_name, instance_type, root)
    key_name = request.get("KeyName") or None
    if key_name is not None:
        load_named(call, key_name)
    profile = instance_profiles.asked_for(call, request.get("IamInstanceProfile") or {})
    return Launch(
        image,
        type_name,
        instance_type,
        core_count,
        key_name,
        root,
        disks,
        hibernation,
        interface,
        wanted,
        metadata,
        cpu_credits,
        data,
        profile,
        tags,
        market,
    )


def _instances_of(call: Call, reservation_id: str, token: str) -> list[Instance]:
    """The instances that the client token made. Raises IdempotentInstanceTerminated when none of them is left."""
    found = call.tx.select(Instance, instances.c.reservation_id == reservation_id, order_by=(instances.c.launch_index,))
    if all(instance.state == "terminated" for instance in found):
        raise IdempotentInstanceTerminated(token)
    return found


def _reserve(call: Call, launch: Launch, low: int, high: int) -> tuple[Subnet, list[Place]]:
    """Room for `low` to `high` instances in the first of the possible subnets whose zone has it: a place for each.

    Raises InsufficientInstanceCapacity, which names the last zone tried, or ReservationCapacityExceeded; Unsupported
    where there never will be room; InvalidPlacementGroup.InUse.
    """
    candidates = launch_interface.possible_subnets(call, launch.interface)
    if zone := launch_placement.zone_of_cluster(call.tx, launch.wanted.grouping):
        candidates = [subnet for subnet in candidates if subnet.zone == zone] or candidates
    # Spot instances are interrupted only if it fits nowhere else, and for no more than must be.
    for notice in (None, call.config.spot_notice) if launch.wanted.may_reclaim else (None,):
        for subnet in candidates:
            places, acts = list[Place](), len(call.tx.acts)
            attempt = call.tx.connection.begin_nested()
            seating = Seating(call.tx, call.account_id, launch.wanted, subnet.zone)
            while len(places) < high:
                place = seating.reserve(reclaiming=notice if len(places) < low else None)
                if place is None:
                    break
                places.append(place)
            if len(places) >= low:
                attempt.commit()
                return subnet, places
            attempt.rollback()
            del call.tx.acts[acts:]
    zone = candidates[-1].zone
    holding = zones_of(call)[launch.type_name]
    if call.tx.select(Host, limit=1) and not {subnet.zone for subnet in candidates} & set(holding):
        raise Unsupported(launch.type_name, zone, holding)
    raise launch_placement.no_room(launch.wanted, zone)


def _make(
    call: Call,
    request: RunInstancesRequestTypeDef,
    launch: Launch,
    encryptions: Sequence[VolumeEncryption],
    subnet: Subnet,
    groups: list[str],
    reservation_id: str,
    index: int,
    place: Place,
) -> Instance:
    """Write one instance with its interface, volumes, tags and usage."""
    cores_given = launch.core_count or launch.instance_type.vcpus
    like = (launch.image.kernel_image_id, launch.type_name, cores_given, launch.instance_type.memory_mib)
    instance_id = ready_machines.take(call.tx, place.host_id, *like) or InstanceId(new_id("i"))
    wanted = launch.interface
    interface = create_primary_interface(
        call, subnet, instance_id, group_ids=groups, private_ip=wanted.private_ip, description=wanted.description
    )
    public = subnet.map_public_ip_on_launch if wanted.public is None else wanted.public
    interface = call.tx.update(interface, host_id=place.host_id, auto_public_ip=public)
    where = (instance_id, subnet.zone, place.host_id, launch.tags[VOLUME.resource_type])
    launch_volumes.create(call, launch.root, encryptions[0], *where, root_of=launch.image)
    for disk, encryption in zip(launch.disks, encryptions[1:], strict=True):
        launch_volumes.create(call, disk, encryption, *where)
    group = launch.wanted.grouping.group
    instance = Instance(
        id=instance_id,
        account_id=call.account_id,
        region=call.region,
        zone=subnet.zone,
        vpc_id=subnet.vpc_id,
        subnet_id=subnet.id,
        private_ip=interface.private_ip,
        reservation_id=reservation_id,
        launch_index=index,
        image_id=launch.image.id,
        instance_type=launch.type_name,
        vcpus=launch.instance_type.vcpus,
        memory_mib=launch.instance_type.memory_mib,
        key_name=launch.key_name,
        client_token=request.get("ClientToken") or None,
        state="pending",
        state_reason=StateReason("pending", "pending"),
        state_transition_reason="",
        shutdown_behavior=request.get("InstanceInitiatedShutdownBehavior") or _shutdown_behavior(launch.market),
        disable_api_termination=request.get("DisableApiTermination", False),
        disable_api_stop=request.get("DisableApiStop", False),
        ebs_optimized=request.get("EbsOptimized", False),
        monitoring=request.get("Monitoring", {}).get("Enabled", False),
        root_device_name=launch.image.root_device_name,
        metadata_options=launch.metadata,
        host_id=place.host_id,
        generation=1,
        reboots=0,
        launched_at=call.now,
        terminated_at=None,
        holds_capacity=True,
        cpu_credits=launch.cpu_credits,
        placement_group_id=group.id if group else None,
        placement_group_name=group.name if group else None,
        partition_number=place.partition,
        core_count=launch.core_count,
        hibernation_configured=launch.hibernation,
        auto_recovery=request.get("MaintenanceOptions", {}).get("AutoRecovery") or "default",
        capacity=launch.wanted.capacity,
        capacity_reservation_id=place.capacity_reservation_id,
        boot_mode="legacy-bios" if launch.image.boot_mode == "legacy-bios" else "uefi",
        kernel_image_id=launch.image.kernel_image_id,
        spot_request_id=_spot_request(call, request, launch, instance_id, subnet.zone),
    )
    call.tx.insert(instance)
    if launch.user_data is not None:
        call.tx.insert(InstanceUserData(instance_id, launch.user_data))
    if launch.profile is not None:
        call.tx.insert(instance_profiles.association(call, instance_id, launch.profile))
    for resource_id, kind in ((instance_id, INSTANCE), (interface.id, NETWORK_INTERFACE)):
        pairs = launch.tags[kind.resource_type]
        put_tags(call.tx, call.account_id, call.region, kind.resource_type, resource_id, pairs)
    if public:
        allocate_auto(call, interface)
    publish(call.tx, "guest", instance_id)
    return instance


def _shutdown_behavior(market: Market | None) -> Literal["stop", "terminate"]:
    """What it is if the request does not say. A one-time spot instance can not be stopped."""
    return "terminate" if market is not None and market.kind == "one-time" else "stop"


def _spot_request(
    call: Call, request: RunInstancesRequestTypeDef, launch: Launch, instance_id: InstanceId, zone: str
) -> str | None:
    """The id of the spot instance's request, which is made here unless it is there; None = it is on demand."""
    if launch.market is None or launch.market.request_id is not None:
        return launch.market.request_id if launch.market is not None else None
    again = {name: value for name, value in request.items() if name not in _ONCE}
    tags = launch.tags[SPOT_REQUEST.resource_type]
    fulfilled = spot_market.requested(
        call, launch.market, again, tags, "active", "fulfilled", instance_id=instance_id, zone=zone
    )
    return fulfilled.id


def _answer(call: Call, made: list[Instance]) -> Response:
    (reservation,) = reservations(call, made)
    return reservation
