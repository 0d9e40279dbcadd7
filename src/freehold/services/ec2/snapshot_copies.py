"""CopySnapshot: of the account's own snapshots and of those that are shared with it, from any region to this one.

https://docs.aws.amazon.com/ebs/latest/userguide/ebs-copy-snapshot.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from freehold.records.encryption import WrappedKey, share_keys
from freehold.records.feed import publish, take_turn
from freehold.records.ids import SnapshotId, VolumeId, new_id
from freehold.records.snapshots import COPIED, Snapshot
from freehold.records.tags import put_tags
from freehold.services.ec2 import ebs_encryption
from freehold.services.ec2.errors import IncorrectState, InvalidParameterValue
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import SNAPSHOT, made
from freehold.services.ec2.snapshot_sharing import usable
from freehold.services.ec2.snapshots import check_limit, checked_description
from freehold.services.ec2.tags import specified
from freehold.services.errors import AwsError
from freehold.services.kms.volume_keys import new_volume_key
from freehold.services.operation import Call, Needed, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import CopySnapshotRequestTypeDef

_HONOURED = {
    *("Description", "DestinationRegion", "Encrypted", "KmsKeyId"),
    *("SourceRegion", "SourceSnapshotId", "TagSpecifications"),
}


def _needed(call: Call, request: CopySnapshotRequestTypeDef) -> Iterator[Needed]:
    there = replace(call, region=request["SourceRegion"])
    yield SNAPSHOT.needed(there, request["SourceSnapshotId"])
    yield from made(call, request, SNAPSHOT)
    yield from of_keys(call, there, request["SourceSnapshotId"], ebs_encryption.of_copy(request))


def of_keys(call: Call, there: Call, source_id: str, wanted: Any) -> list[Needed]:
    """What a copy needs of KMS keys; `wanted` as in `begin`. Of a snapshot that can not be copied nothing is needed."""
    try:
        source = usable(there, source_id)
        return ebs_encryption.to_create(call, _asked(call, source, wanted), source)
    except AwsError:
        return []


@operation(resources=_needed, resource_policies=True)
def copy_snapshot(call: Call, request: CopySnapshotRequestTypeDef) -> Response:
    """A copy of an encrypted one is encrypted. Under the same key no data is moved. PresignedUrl makes no difference:
    the caller's signature says who asks, and so it does on AWS by now. Raises IncorrectState of one that is pending.
    """
    refuse_others(request, _HONOURED | {"PresignedUrl"})
    destination = request.get("DestinationRegion") or call.region
    if destination != call.region:
        raise InvalidParameterValue("DestinationRegion is the region that the request is sent to.")
    description = checked_description(request)
    tags = specified(request.get("TagSpecifications"), SNAPSHOT.resource_type)[SNAPSHOT.resource_type]
    take_turn(call.tx)
    source = usable(replace(call, region=request["SourceRegion"]), request["SourceSnapshotId"])
    copy = begin(call, source, ebs_encryption.of_copy(request), description, tags)
    shown = [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
    return {"SnapshotId": copy.id, "Tags": shown}


def begin(call: Call, source: Snapshot, wanted: Any, description: str, tags: Mapping[str, str]) -> Snapshot:
    """Have a copy of a snapshot; `wanted` is what is asked of its encryption, as of a volume's. Raises IncorrectState
    of one that is pending."""
    if source.state != "completed":
        raise IncorrectState(f"The snapshot '{source.id}' is not in the 'completed' state.")
    encryption = ebs_encryption.resolved(call, _asked(call, source, wanted))
    check_limit(call, 1)
    copy = Snapshot(
        id=SnapshotId(new_id("snap")),
        account_id=call.account_id,
        region=call.region,
        zone=source.zone,
        volume_id=COPIED,
        host_id=source.host_id,
        instant=new_id("instant"),
        size_gib=source.size_gib,
        description=description,
        state="pending",
        started_at=call.now,
        encrypted=encryption.arn is not None,
        kms_key_id=encryption.arn,
        source_id=source.id,
        rewritten=encryption.arn != source.kms_key_id,
        kernel_image_id=source.kernel_image_id,
    )
    call.tx.insert(copy)
    _make_key(call, copy, source, encryption)
    put_tags(call.tx, call.account_id, call.region, SNAPSHOT.resource_type, copy.id, tags)
    publish(call.tx, "snapshot", copy.id)
    return copy


def _asked(call: Call, source: Snapshot, wanted: Any) -> ebs_encryption.Asked:
    asked = ebs_encryption.asked_for(call, wanted)
    return replace(asked, encrypted=True) if source.encrypted else asked


def _make_key(call: Call, copy: Snapshot, source: Snapshot, encryption: ebs_encryption.VolumeEncryption) -> None:
    """The source's key, or a new one; none if the KMS key can not be used: then the host can not make the copy."""
    if encryption.arn is None:
        return
    if not copy.rewritten:
        share_keys(call.tx, source.id, copy.id, copy.account_id)
        return
    if encryption.key is not None:
        bound = VolumeId(copy.id)
        try:
            ciphertext = new_volume_key(call.tx, call.sealer, encryption.key, bound)
        except AwsError:
            return
        call.tx.insert(WrappedKey(copy.id, copy.account_id, ciphertext, bound))
