"""Volumes: DescribeVolumes, and DeleteVolume of those that outlived their instance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.records.compute import Volume, VolumeAttachment, volume_attachments, volumes
from freehold.records.feed import take_turn
from freehold.records.tags import Tag, tags_of
from freehold.records.volumes import begin_deleting
from freehold.services.ec2.compute_errors import VolumeInUse
from freehold.services.ec2.filters import Condition, absent, any_row, constant, flag, moment, number, text
from freehold.services.ec2.paging import described, not_with_ids
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.regions import zone_id_filter
from freehold.services.ec2.resources import VOLUME, named_by
from freehold.services.ec2.tags import tag_list
from freehold.services.ec2.zones import zone_id
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import DeleteVolumeRequestTypeDef, DescribeVolumesRequestTypeDef


def _attachment(that: Condition) -> Condition:
    return any_row(volume_attachments, volume_attachments.c.volume_id == volumes.c.id, that=that)


_FILTERS: dict[str, Condition] = {
    "attachment.attach-time": _attachment(moment(volume_attachments.c.attached_at)),
    "attachment.delete-on-termination": _attachment(flag(volume_attachments.c.delete_on_termination)),
    "attachment.device": _attachment(text(volume_attachments.c.device)),
    "attachment.instance-id": _attachment(text(volume_attachments.c.instance_id)),
    "attachment.status": _attachment(text(volume_attachments.c.state)),
    "availability-zone": text(volumes.c.zone),
    "availability-zone-id": zone_id_filter(volumes.c.zone),
    "create-time": moment(volumes.c.created_at),
    "encrypted": flag(volumes.c.encrypted),
    "fast-restored": constant("false"),
    "multi-attach-enabled": flag(volumes.c.multi_attach_enabled),
    "operator.managed": constant("false"),
    "operator.principal": absent,
    "size": number(volumes.c.size_gib),
    "snapshot-id": text(sa.func.coalesce(sa.case((volumes.c.source_volume_id.is_(None), volumes.c.snapshot_id)), "")),
    "status": text(volumes.c.state),
    "volume-id": text(volumes.c.id),
    "volume-type": text(volumes.c.volume_type),
}  # fmt: skip


@operation()
def describe_volumes(call: Call, request: DescribeVolumesRequestTypeDef) -> Response:
    """With the instances that have them, or are about to have or lose them."""
    refuse_others(request, {"Filters", "MaxResults", "NextToken", "VolumeIds"}, {"IncludeManagedResources": False})
    not_with_ids(request, "VolumeIds")
    page = described(call, VOLUME, request, "VolumeIds", _FILTERS)
    return {"Volumes": descriptions(call, page.rows), **page.token}


@operation(resources=named_by("VolumeId", VOLUME))
def delete_volume(call: Call, request: DeleteVolumeRequestTypeDef) -> Response:
    """Nobody pays for it from here on; its host deletes it. Raises VolumeInUse."""
    refuse_others(request, {"VolumeId"})
    take_turn(call.tx)
    volume = VOLUME.load(call, request["VolumeId"])
    attached = call.tx.select(VolumeAttachment, volume_id=volume.id)
    if attached:
        raise VolumeInUse(volume.id, *(attachment.instance_id for attachment in attached))
    if volume.state != "deleting":
        begin_deleting(call.tx, volume)
    return {}


def descriptions(call: Call, rows: Sequence[Volume]) -> list[dict[str, Any]]:
    """The Volume structure of each."""
    ids = [volume.id for volume in rows]
    tags = tags_of(call.tx, ids)
    attached: dict[str, list[VolumeAttachment]] = defaultdict(list)
    for attachment in call.tx.select(VolumeAttachment, volume_id=ids, order_by=(volume_attachments.c.attached_at,)):
        attached[attachment.volume_id].append(attachment)
    return [_described(volume, attached[volume.id], tags[volume.id]) for volume in rows]


def shown_attachment(attachment: VolumeAttachment) -> dict[str, Any]:
    """The VolumeAttachment structure."""
    return {
        "VolumeId": attachment.volume_id,
        "InstanceId": attachment.instance_id,
        "Device": attachment.device,
        "State": attachment.state,
        "AttachTime": attachment.attached_at,
        "DeleteOnTermination": attachment.delete_on_termination,
    }


def _described(volume: Volume, attached: Sequence[VolumeAttachment], tags: list[Tag]) -> dict[str, Any]:
    return {
        "VolumeId": volume.id,
        "Size": volume.size_gib,
        "VolumeType": volume.volume_type,
        **({"Iops": volume.iops} if volume.iops else {}),
        **({"Throughput": volume.throughput_mibps} if volume.throughput_mibps else {}),
        "SnapshotId": volume.snapshot_id or "" if volume.source_volume_id is None else "",
        **({"SourceVolumeId": volume.source_volume_id} if volume.source_volume_id else {}),
        "AvailabilityZone": volume.zone,
        "AvailabilityZoneId": zone_id(volume.region, volume.zone),
        "State": volume.state,
        "CreateTime": volume.created_at,
        "Attachments": [shown_attachment(attachment) for attachment in attached],
        "Encrypted": volume.encrypted,
        **({"KmsKeyId": volume.kms_key_id} if volume.kms_key_id else {}),
        "MultiAttachEnabled": volume.multi_attach_enabled,
        "Operator": {"Managed": False},
        "Tags": tag_list(tags),
    }
