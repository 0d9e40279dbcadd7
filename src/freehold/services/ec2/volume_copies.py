"""CopyVolumes: a volume that has what another one holds when the call is answered, beside it on its host.

It lies on a snapshot that nobody sees (`Snapshot.copy_id`). That is taken as any is, while guests go on with what they
write, and is gone when the copy is there: what the two then share, neither pays for twice.

https://docs.aws.amazon.com/ebs/latest/userguide/ebs-copying-volume.html
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from freehold.questions import Taken
from freehold.records.compute import IdempotencyToken, Volume
from freehold.records.feed import take_turn
from freehold.records.ids import VolumeId, new_id
from freehold.records.snapshots import Snapshot
from freehold.records.store import Transaction
from freehold.records.volumes import begin_deleting
from freehold.services.ec2 import ebs_encryption, storage_limits, volume_sources
from freehold.services.ec2.idempotency import claim
from freehold.services.ec2.new_volumes import condition_keys, insert, settings_of
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import VOLUME, made
from freehold.services.ec2.snapshot_errors import ServiceUnavailable
from freehold.services.ec2.snapshots import insert_pending
from freehold.services.ec2.tags import specified
from freehold.services.ec2.volumes import descriptions
from freehold.services.errors import AwsError
from freehold.services.operation import Awaited, Call, Needed, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import CopyVolumesRequestTypeDef

_HONOURED = {
    "ClientToken",
    "Encrypted",
    "Iops",
    "KmsKeyId",
    "MultiAttachEnabled",
    "Size",
    "SourceVolumeId",
    "TagSpecifications",
    "Throughput",
    "VolumeType",
}


def _needs(call: Call, request: CopyVolumesRequestTypeDef) -> Iterator[Needed]:
    """The source, the copy, and the copy's KMS key. Of a request that is wrong in itself no more is needed than the
    source: the operation refuses it."""
    yield VOLUME.needed(call, request["SourceVolumeId"])
    source = VOLUME.find(call, request["SourceVolumeId"])
    if source is None:
        return
    try:
        asked = volume_sources.encryption(call, request, source)
        keys = condition_keys(call, settings_of(request, source), source.zone, asked)
        of_key = ebs_encryption.to_create(call, asked, source)
    except AwsError:
        return
    yield from made(call, request, VOLUME, keys=lambda: keys)
    yield from of_key


@operation(resources=_needs, resource_policies=True)
def copy_volumes(call: Call, request: CopyVolumesRequestTypeDef) -> Response:
    """One of an attached volume or a free one. Raises IncorrectState, ConcurrentSnapshotLimitExceeded, what is wrong
    with the settings (`volume_settings.checked`), IdempotentParameterMismatch."""
    refuse_others(request, _HONOURED)
    tags = specified(request.get("TagSpecifications"), VOLUME.resource_type)[VOLUME.resource_type]
    take_turn(call.tx)
    source = VOLUME.load(call, request["SourceVolumeId"])
    settings, asked = settings_of(request, source), volume_sources.encryption(call, request, source)
    copy_id = VolumeId(new_id("vol"))
    made_before = claim(call, request, copy_id)
    if made_before is not None:
        return {"Volumes": descriptions(call, [VOLUME.load(call, made_before)])}
    storage_limits.check(call, settings.volume_type, settings.size_gib, settings.iops)
    snapshot = insert_pending(call, source, new_id("instant"), copy_id=copy_id)
    volume = insert(
        *(call, settings, ebs_encryption.resolved(call, asked), source.zone, snapshot.host_id, tags),
        state="creating",
        volume_id=copy_id,
        kernel_image_id=source.kernel_image_id,
        snapshot=snapshot,
        source_volume_id=source.id,
        multi_attach_enabled=request.get("MultiAttachEnabled", False),
    )
    token = (call.account_id, call.region, call.operation, request.get("ClientToken") or "")
    call.answered_after.append(Awaited(snapshot.host_id, Taken((snapshot.id,)), partial(_give_up, copy_id, token)))
    return {"Volumes": descriptions(call, [volume])}


def _give_up(copy_id: VolumeId, token: tuple[str, str, str, str], tx: Transaction) -> AwsError | None:
    """What is not taken by now may be of an instant after the answer: there is no copy, and the same request makes
    another one."""
    take_turn(tx)
    volume = tx.get(Volume, copy_id)
    snapshot = tx.get(Snapshot, volume.snapshot_id or "") if volume is not None else None
    if volume is None or snapshot is None or snapshot.state != "pending":
        return None
    begin_deleting(tx, volume)
    claimed = tx.get(IdempotencyToken, *token)
    if claimed is not None:
        tx.delete(claimed)
    return ServiceUnavailable()
