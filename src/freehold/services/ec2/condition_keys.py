"""EC2's condition keys of what there is: ``ec2:InstanceType`` of an instance, ``ec2:Vpc`` of a subnet.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html#amazonec2-policy-keys
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from freehold.records.compute import Image, Instance, KeyPair, MetadataOptions, ProfileAssociation, Volume
from freehold.records.network import (
    Address,
    InternetGateway,
    NetworkInterface,
    RouteTable,
    SecurityGroup,
    Subnet,
    Vpc,
)
from freehold.records.placement import PlacementGroup
from freehold.records.schema import Record
from freehold.records.snapshots import Snapshot
from freehold.services.ec2.zones import zone_id
from freehold.services.operation import Call, Value

Keys = Mapping[str, Value]


def written(value: str | bool | int) -> str:
    """A text, a number or a truth as conditions compare it."""
    return value if isinstance(value, str) else str(value).lower()


def in_zone(region: str, zone: str) -> dict[str, Value]:
    return {"ec2:AvailabilityZone": zone, "ec2:AvailabilityZoneId": zone_id(region, zone)}


def in_vpc(call: Call, vpc_id: str) -> dict[str, Value]:
    return {"ec2:Vpc": call.arn(f"vpc/{vpc_id}")}


def in_placement_group(call: Call, name: str | None) -> dict[str, Value]:
    return {} if name is None else {"ec2:PlacementGroup": call.arn(f"placement-group/{name}")}


def in_subnet(call: Call, subnet_id: str) -> dict[str, Value]:
    return {"ec2:Subnet": call.arn(f"subnet/{subnet_id}")}


def of_metadata_options(options: MetadataOptions) -> dict[str, Value]:
    return {
        "ec2:InstanceMetadataTags": options.instance_metadata_tags,
        "ec2:MetadataHttpEndpoint": options.http_endpoint,
        "ec2:MetadataHttpPutResponseHopLimit": written(options.http_put_response_hop_limit),
        "ec2:MetadataHttpTokens": options.http_tokens,
    }


def of_any_instance(
    instance_type: str, *, ebs_optimized: bool, auto_recovery: str, spot: bool = False
) -> dict[str, Value]:
    """What is said of an instance before it is there as well."""
    return {
        "ec2:CpuOptionsAmdSevSnp": "disabled",
        "ec2:EbsOptimized": written(ebs_optimized),
        "ec2:InstanceAutoRecovery": auto_recovery,
        "ec2:InstanceBandwidthWeighting": "default",
        "ec2:InstanceMarketType": "spot" if spot else "on-demand",
        "ec2:InstanceType": instance_type,
        "ec2:RootDeviceType": "ebs",
        "ec2:Tenancy": "default",
    }


def of_any_volume(volume_type: str, size_gib: int, iops: int, throughput_mibps: int) -> dict[str, Value]:
    """What is said of a volume before it is there as well."""
    keys: dict[str, Value] = {
        "ec2:VolumeIops": written(iops),
        "ec2:VolumeSize": written(size_gib),
        "ec2:VolumeType": volume_type,
    }
    return keys | ({"ec2:VolumeThroughput": written(throughput_mibps)} if throughput_mibps else {})


def encrypted_under(encrypted: bool, kms_key_arn: str | None) -> dict[str, Value]:
    """What is said of a volume's encryption."""
    return {"ec2:Encrypted": written(encrypted), **({"ec2:KmsKeyId": kms_key_arn} if kms_key_arn else {})}


def _of_address(_call: Call, address: Address) -> Keys:
    return {
        "ec2:AllocationId": address.allocation_id,
        "ec2:Domain": "vpc",
        "ec2:PublicIpAddress": address.public_ip,
    }


def _of_image(_call: Call, image: Image) -> Keys:
    return {
        "ec2:ImageID": image.id,
        "ec2:ImageType": "machine",
        "ec2:Owner": image.owner_alias or image.owner_id,
        "ec2:Public": written(image.public),
        "ec2:RootDeviceType": "ebs",
    }


def _of_instance(call: Call, instance: Instance) -> Keys:
    profile = call.tx.find(ProfileAssociation, instance_id=instance.id)
    return {
        "ec2:InstanceID": instance.id,
        "ec2:InstanceProfile": profile.profile_arn if profile else None,
        **in_placement_group(call, instance.placement_group_name),
        **in_zone(instance.region, instance.zone),
        **of_any_instance(
            instance.instance_type,
            ebs_optimized=instance.ebs_optimized,
            auto_recovery=instance.auto_recovery,
            spot=instance.spot_request_id is not None,
        ),
        **of_metadata_options(instance.metadata_options),
    }


def _of_interface(call: Call, interface: NetworkInterface) -> Keys:
    return {
        "ec2:NetworkInterfaceID": interface.id,
        **in_zone(interface.region, interface.zone),
        **in_subnet(call, interface.subnet_id),
        **in_vpc(call, interface.vpc_id),
    }


def _of_key_pair(_call: Call, key: KeyPair) -> Keys:
    return {"ec2:KeyPairName": key.name, "ec2:KeyPairType": key.key_type}


def _of_placement_group(_call: Call, group: PlacementGroup) -> Keys:
    return {"ec2:PlacementGroupName": group.name, "ec2:PlacementGroupStrategy": group.strategy}


def _of_snapshot(call: Call, snapshot: Snapshot) -> Keys:
    return {
        "ec2:Encrypted": written(snapshot.encrypted),
        "ec2:Owner": snapshot.account_id,
        "ec2:ParentVolume": f"arn:aws:ec2:{snapshot.region}:{snapshot.account_id}:volume/{snapshot.volume_id}",
        "ec2:SnapshotID": snapshot.id,
        "ec2:SnapshotTime": snapshot.started_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "ec2:VolumeSize": written(snapshot.size_gib),
    }


def _of_subnet(call: Call, subnet: Subnet) -> Keys:
    return {"ec2:SubnetID": subnet.id, **in_zone(subnet.region, subnet.zone), **in_vpc(call, subnet.vpc_id)}


def _of_volume(_call: Call, volume: Volume) -> Keys:
    return {
        "ec2:VolumeID": volume.id,
        **in_zone(volume.region, volume.zone),
        **of_any_volume(volume.volume_type, volume.size_gib, volume.iops, volume.throughput_mibps),
        **encrypted_under(volume.encrypted, volume.kms_key_id),
    }


_OF: dict[type[Record], Callable[[Call, Any], Keys]] = {
    Address: _of_address,
    Image: _of_image,
    Instance: _of_instance,
    InternetGateway: lambda _call, gateway: {"ec2:InternetGatewayID": gateway.id},
    KeyPair: _of_key_pair,
    NetworkInterface: _of_interface,
    PlacementGroup: _of_placement_group,
    RouteTable: lambda call, table: {"ec2:RouteTableID": table.id, **in_vpc(call, table.vpc_id)},
    SecurityGroup: lambda call, group: {"ec2:SecurityGroupID": group.id, **in_vpc(call, group.vpc_id)},
    Snapshot: _of_snapshot,
    Subnet: _of_subnet,
    Volume: _of_volume,
    Vpc: lambda _call, vpc: {"ec2:Tenancy": "default", "ec2:VpcID": vpc.id},
}


def keys_of(call: Call, record: Record) -> Keys:
    """EC2's condition keys of a resource."""
    make = _OF.get(type(record))
    return {} if make is None else make(call, record)
