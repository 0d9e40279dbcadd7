"""CreateVolume, and the record of every new volume.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from freehold.records.capacity import host_for_volume
from freehold.records.compute import Volume, VolumeState
from freehold.records.feed import publish, take_turn
from freehold.records.ids import HostId, ImageId, VolumeId, new_id
from freehold.records.snapshots import Snapshot
from freehold.records.tags import put_tags
from freehold.records.volumes import meter
from freehold.services.ec2 import ebs_encryption, storage_limits, volume_settings, volume_sources
from freehold.services.ec2.condition_keys import encrypted_under, in_zone, of_any_volume
from freehold.services.ec2.ebs_encryption import Asked, VolumeEncryption
from freehold.services.ec2.errors import InvalidParameterCombination, MissingParameter
from freehold.services.ec2.idempotency import claim
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import SNAPSHOT, VOLUME, made
from freehold.services.ec2.tags import specified
from freehold.services.ec2.volume_errors import InsufficientVolumeCapacity, InvalidZoneNotFound
from freehold.services.ec2.volume_settings import Settings
from freehold.services.ec2.volumes import descriptions
from freehold.services.ec2.zones import zone_id
from freehold.services.errors import AwsError
from freehold.services.operation import Call, Needed, Response, Value, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import CreateVolumeRequestTypeDef

_HONOURED = {
    "AvailabilityZone",
    "AvailabilityZoneId",
    "ClientToken",
    "Encrypted",
    "Iops",
    "KmsKeyId",
    "MultiAttachEnabled",
    "Size",
    "SnapshotId",
    "TagSpecifications",
    "Throughput",
    "VolumeType",
}
_DEFAULT_TYPE = "gp2"


def _needs(call: Call, request: CreateVolumeRequestTypeDef) -> Iterator[Needed]:
    """The volume, and its KMS key. Of a request that is wrong in itself no more is needed: the operation refuses it."""
    try:
        snapshot = volume_sources.named(call, request)
        keys = _condition_keys(call, request, snapshot)
        of_key = ebs_encryption.to_create(call, volume_sources.encryption(call, request, snapshot), snapshot)
    except AwsError:
        yield VOLUME.needed(call, "*")
        return
    yield from made(call, request, VOLUME, keys=lambda: keys)
    if snapshot is not None:
        yield SNAPSHOT.needed(call, snapshot.id)
    yield from of_key


@operation(resources=_needs, resource_policies=True)
def create_volume(call: Call, request: CreateVolumeRequestTypeDef) -> Response:
    """An empty volume on a host of the zone, or one with the data of a snapshot, on the snapshot's.

    Raises MissingParameter, InvalidParameterCombination, InvalidZone.NotFound, InsufficientVolumeCapacity, what is
    wrong with the settings (`volume_settings.checked`), IdempotentParameterMismatch.
    """
    refuse_others(request, _HONOURED)
    tags = specified(request.get("TagSpecifications"), VOLUME.resource_type)[VOLUME.resource_type]
    take_turn(call.tx)
    snapshot = volume_sources.named(call, request)
    settings, zone = settings_of(request, snapshot), _zone(call, request)
    asked = volume_sources.encryption(call, request, snapshot)
    volume_id = VolumeId(new_id("vol"))
    made_before = claim(call, request, volume_id)
    if made_before is not None:
        return descriptions(call, [VOLUME.load(call, made_before)])[0]
    host_id = volume_sources.host_in(call, snapshot, zone) if snapshot else host_for_volume(call.tx, zone)
    if host_id is None:
        raise InsufficientVolumeCapacity(zone)
    encryption = ebs_encryption.resolved(call, asked)
    storage_limits.check(call, settings.volume_type, settings.size_gib, settings.iops)
    volume = insert(
        *(call, settings, encryption, zone, host_id, tags),
        state="creating",
        volume_id=volume_id,
        snapshot=snapshot,
        multi_attach_enabled=request.get("MultiAttachEnabled", False),
    )
    publish(call.tx, "volume", volume.id)
    return descriptions(call, [volume])[0]


def insert(
    call: Call,
    settings: Settings,
    encryption: VolumeEncryption,
    zone: str,
    host_id: HostId,
    tags: Mapping[str, str],
    *,
    state: VolumeState,
    volume_id: VolumeId | None = None,
    image_id: ImageId | None = None,
    kernel_image_id: ImageId | None = None,
    snapshot: Snapshot | None = None,
    source_volume_id: VolumeId | None = None,
    multi_attach_enabled: bool = False,
) -> Volume:
    """Insert a volume with its key and tags, and begin to meter it. Quotas are the caller's to check."""
    volume = Volume(
        id=volume_id or VolumeId(new_id("vol")),
        account_id=call.account_id,
        region=call.region,
        zone=zone,
        size_gib=settings.size_gib,
        volume_type=settings.volume_type,
        iops=settings.iops,
        throughput_mibps=settings.throughput_mibps,
        image_id=image_id,
        state=state,
        host_id=host_id,
        created_at=call.now,
        encrypted=encryption.arn is not None,
        kms_key_id=encryption.arn,
        snapshot_id=snapshot.id if snapshot else None,
        kernel_image_id=kernel_image_id,
        multi_attach_enabled=multi_attach_enabled,
        source_volume_id=source_volume_id,
    )
    call.tx.insert(volume)
    ebs_encryption.give_key(call, volume, snapshot, encryption)
    put_tags(call.tx, call.account_id, call.region, VOLUME.resource_type, volume.id, tags)
    meter(call.tx, volume)
    return volume


def settings_of(request: Mapping[str, Any], source: Snapshot | Volume | None) -> Settings:
    """What a new volume over a snapshot, or a copy of a volume, is to be like. Raises as `volume_settings.checked`."""
    size_gib = volume_sources.size_gib(request, source)
    if size_gib is None:
        raise MissingParameter("size/snapshot")
    volume_type = str(request.get("VolumeType") or _DEFAULT_TYPE)
    if request.get("MultiAttachEnabled"):
        volume_settings.check_multi_attach(volume_type)
    return volume_settings.checked(volume_type, size_gib, request.get("Iops"), request.get("Throughput"))


def _zone(call: Call, request: CreateVolumeRequestTypeDef) -> str:
    zones = call.config.zone_names(call.region)
    named, its_id = request.get("AvailabilityZone"), request.get("AvailabilityZoneId")
    if named and its_id:
        raise InvalidParameterCombination("Give either AvailabilityZone or AvailabilityZoneId, not both.")
    if not named and not its_id:
        raise MissingParameter("AvailabilityZone")
    for zone in zones:
        if zone == named or zone_id(call.region, zone) == its_id:
            return zone
    raise InvalidZoneNotFound(named or its_id or "")


def _condition_keys(call: Call, request: CreateVolumeRequestTypeDef, snapshot: Snapshot | None) -> Mapping[str, Value]:
    asked = volume_sources.encryption(call, request, snapshot)
    return {
        **({"ec2:ParentSnapshot": SNAPSHOT.arn(call, snapshot.id)} if snapshot else {}),
        **condition_keys(call, settings_of(request, snapshot), _zone(call, request), asked),
    }


def condition_keys(call: Call, settings: Settings, zone: str, asked: Asked) -> Mapping[str, Value]:
    """Those of a new volume."""
    return {
        **in_zone(call.region, zone),
        **of_any_volume(settings.volume_type, settings.size_gib, settings.iops, settings.throughput_mibps),
        **encrypted_under(asked.encrypted, ebs_encryption.arn_of(call, asked)),
    }
