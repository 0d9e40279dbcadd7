"""Volumes: DescribeVolumes, and DeleteVolume of those that outlived their instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.records.compute import Volume, volumes
from freehold.records.feed import take_turn
from freehold.records.tags import Tag, tags_of
from freehold.records.volumes import begin_deleting
from freehold.services.ec2.compute_errors import VolumeInUse
from freehold.services.ec2.filters import Condition, constant, flag, moment, number, text
from freehold.services.ec2.paging import described, not_with_ids
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.regions import zone_id_filter
from freehold.services.ec2.resources import VOLUME, named_by
from freehold.services.ec2.tags import tag_list
from freehold.services.ec2.zones import zone_id
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import DeleteVolumeRequestTypeDef, DescribeVolumesRequestTypeDef

_FILTERS: dict[str, Condition] = {
    "attachment.attach-time": moment(volumes.c.attached_at),
    "attachment.delete-on-termination": lambda call, values: (
        volumes.c.instance_id.is_not(None) & flag(volumes.c.delete_on_termination)(call, values)
    ),
    "attachment.device": text(volumes.c.device),
    "attachment.instance-id": text(volumes.c.instance_id),
    "attachment.status": lambda call, values: (
        volumes.c.instance_id.is_not(None) & constant("attached")(call, values)
    ),
    "availability-zone": text(volumes.c.zone),
    "availability-zone-id": zone_id_filter(volumes.c.zone),
    "create-time": moment(volumes.c.created_at),
    "encrypted": flag(volumes.c.encrypted),
    "fast-restored": constant("false"),
    "multi-attach-enabled": constant("false"),
    "operator.managed": constant("false"),
    "size": number(volumes.c.size_gib),
    "snapshot-id": text(sa.func.coalesce(volumes.c.snapshot_id, "")),
    "status": text(volumes.c.state),
    "volume-id": text(volumes.c.id),
    "volume-type": text(volumes.c.volume_type),
}  # fmt: skip


@operation()
def describe_volumes(call: Call, request: DescribeVolumesRequestTypeDef) -> Response:
    """Root volumes of instances: no others can be made yet."""
    refuse_others(request, {"Filters", "MaxResults", "NextToken", "VolumeIds"}, {"IncludeManagedResources": False})
    not_with_ids(request, "VolumeIds")
    page = described(call, VOLUME, request, "VolumeIds", _FILTERS)
    tags = tags_of(call.tx, [volume.id for volume in page.rows])
    return {"Volumes": [_described(volume, tags[volume.id]) for volume in page.rows], **page.token}


@operation(resources=named_by("VolumeId", VOLUME))
def delete_volume(call: Call, request: DeleteVolumeRequestTypeDef) -> Response:
    """Nobody pays for it from here on; its host deletes it. Raises VolumeInUse."""
    refuse_others(request, {"VolumeId"})
    take_turn(call.tx)
    volume = VOLUME.load(call, request["VolumeId"])
    if volume.instance_id is not None:
        raise VolumeInUse(volume.id, volume.instance_id)
    if volume.state != "deleting":
        begin_deleting(call.tx, volume)
    return {}


def _described(volume: Volume, tags: list[Tag]) -> dict[str, Any]:
    attachments = []
    if volume.instance_id is not None:
        attachments.append(
            {
                "VolumeId": volume.id,
                "InstanceId": volume.instance_id,
                "Device": volume.device,
                "State": "attached",
                "AttachTime": volume.attached_at,
                "DeleteOnTermination": volume.delete_on_termination,
            }
        )
    return {
        "VolumeId": volume.id,
        "Size": volume.size_gib,
        "VolumeType": volume.volume_type,
        "Iops": volume.iops,
        **({"Throughput": volume.throughput_mibps} if volume.throughput_mibps else {}),
        "SnapshotId": volume.snapshot_id or "",
        "AvailabilityZone": volume.zone,
        "AvailabilityZoneId": zone_id(volume.region, volume.zone),
        "State": volume.state,
        "CreateTime": volume.created_at,
        "Attachments": attachments,
        "Encrypted": volume.encrypted,
        **({"KmsKeyId": volume.kms_key_id} if volume.kms_key_id else {}),
        "MultiAttachEnabled": False,
        "Operator": {"Managed": False},
        "Tags": tag_list(tags),
    }
