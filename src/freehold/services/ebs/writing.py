"""StartSnapshot, PutSnapshotBlock, CompleteSnapshot.

https://docs.aws.amazon.com/ebs/latest/userguide/writesnapshots.html
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from freehold.config import Config
from freehold.questions import Complete, WriteBlock
from freehold.records.compute import Host
from freehold.records.encryption import WrappedKey, share_keys
from freehold.records.feed import take_turn
from freehold.records.ids import SnapshotId, VolumeId, new_id
from freehold.records.snapshots import COPIED, Snapshot, WrittenBlock, taken
from freehold.records.tags import put_tags
from freehold.services.ebs.errors import (
    ConflictError,
    InternalServerError,
    SnapshotNotFound,
    ValidationError,
)
from freehold.services.ebs.snapshots import BLOCK_BYTES, ask, checksum, keys_of, on, on_snapshot, readable
from freehold.services.ec2 import ebs_encryption
from freehold.services.ec2.compute_errors import IdempotentParameterMismatch
from freehold.services.ec2.idempotency import claim
from freehold.services.ec2.resources import SNAPSHOT
from freehold.services.ec2.tags import checked
from freehold.services.errors import AwsError
from freehold.services.kms.volume_keys import new_volume_key
from freehold.services.operation import Call, Needed, Response, operation

_TIMEOUT_MINUTES = 60
_SIZE_GIB_MAX = 64 * 1024
_SIZES = struct.Struct(">QQ")


def _needed_to_start(call: Call, request: Mapping[str, Any]) -> Iterator[Needed]:
    tags = {str(tag.get("Key", "")): str(tag.get("Value", "")) for tag in request.get("Tags") or ()}
    parent = request.get("ParentSnapshotId")
    keys = {
        "ebs:Description": request.get("Description"),
        "ebs:VolumeSize": str(request["VolumeSize"]),
        "ebs:ParentSnapshot": SNAPSHOT.arn(call, parent) if parent else None,
    }
    yield Needed(SNAPSHOT.arn(call, "*"), keys=lambda: keys, request_tags=tags)
    if parent:
        yield on_snapshot(call, parent)
    with suppress(AwsError):  # the operation says what is wrong
        yield from ebs_encryption.to_create(call, _asked(call, request, readable(call, parent) if parent else None))


def _needed_to_put(call: Call, request: Mapping[str, Any]) -> Iterator[Needed]:
    yield on_snapshot(call, request["SnapshotId"])
    snapshot = SNAPSHOT.find(call, request["SnapshotId"])
    if snapshot is not None:
        yield from ebs_encryption.to_decrypt(call, snapshot)


@operation(resources=_needed_to_start, resource_policies=True)
def start_snapshot(call: Call, request: Mapping[str, Any]) -> Response:
    """A snapshot that blocks may be put into, over those of its parent. Raises ConflictError, ValidationError."""
    size_gib = request["VolumeSize"]
    if size_gib > _SIZE_GIB_MAX:
        raise ValidationError(f"The volume size must be between 1 and {_SIZE_GIB_MAX} GiB.")
    tags = checked([{"Key": tag.get("Key", ""), "Value": tag.get("Value", "")} for tag in request.get("Tags") or ()])
    take_turn(call.tx)
    snapshot_id = SnapshotId(new_id("snap"))
    try:
        earlier = claim(call, request, snapshot_id, longest=255)
    except IdempotentParameterMismatch as error:
        raise ConflictError(error.message) from error
    if earlier is not None:
        return _started(call, _own(call, earlier), request)
    parent = readable(call, request["ParentSnapshotId"]) if request.get("ParentSnapshotId") else None
    if parent is not None and parent.size_gib > size_gib:
        raise ValidationError("The volume size must be at least the parent snapshot's.")
    if parent is not None and (
        parent.account_id != call.account_id or "KmsKeyArn" in request or "Encrypted" in request
    ):
        raise ValidationError("With a parent snapshot, which must be the caller's own, its encryption is the parent's.")
    encryption = _encryption(call, request, parent)
    snapshot = Snapshot(
        id=snapshot_id,
        account_id=call.account_id,
        region=call.region,
        zone=parent.zone if parent else f"{call.region}{call.config.zones[0]}",
        volume_id=COPIED,
        host_id=parent.host_id if parent else _any_host(call).id,
        instant=new_id("instant"),
        size_gib=size_gib,
        description=request.get("Description") or "",
        state="pending",
        started_at=call.now,
        encrypted=encryption.arn is not None,
        kms_key_id=encryption.arn,
        parent_id=parent.id if parent else None,
        writing=True,
        timeout_minutes=request.get("Timeout") or _TIMEOUT_MINUTES,
        written_at=call.now,
    )
    call.tx.insert(snapshot)
    _make_key(call, snapshot, parent, encryption)
    put_tags(call.tx, call.account_id, call.region, SNAPSHOT.resource_type, snapshot.id, tags)
    return _started(call, snapshot, request)


@contextmanager
def _received(_config: Config, request: Mapping[str, Any]) -> Iterator[bytes]:
    """The block, read whole. Raises ValidationError unless it is one."""
    data, body = b"", request["BlockData"]
    while len(data) <= BLOCK_BYTES and (part := body.read(BLOCK_BYTES + 1 - len(data))):
        data += part
    if len(data) != BLOCK_BYTES or request["DataLength"] != BLOCK_BYTES:
        raise ValidationError(f"A block has {BLOCK_BYTES} bytes.")
    if request["ChecksumAlgorithm"] != "SHA256" or checksum(data) != request["Checksum"]:
        raise ValidationError("The checksum is not that of the data.")
    yield data


def _put(call: Call, request: Mapping[str, Any]) -> None:
    snapshot, number = _own(call, request["SnapshotId"]), request["BlockIndex"]
    if (number + 1) * BLOCK_BYTES > snapshot.size_gib << 30:
        raise ValidationError("The block lies beyond the end of the volume.")
    key, below = keys_of(call, snapshot)
    data = request["BlockData"]
    ask(call, snapshot, WriteBlock(snapshot.id, snapshot.size_gib, snapshot.parent_id, key, number, data, below))


@operation(resources=_needed_to_put, resource_policies=True, receive=_received, prepare=_put)
def put_snapshot_block(call: Call, request: Mapping[str, Any]) -> Response:
    """A block that was put before is replaced. It is written before the transaction begins."""
    take_turn(call.tx)
    snapshot = _own(call, request["SnapshotId"])
    call.tx.put(WrittenBlock(snapshot.id, request["BlockIndex"], snapshot.account_id, request["Checksum"]))
    call.tx.update(snapshot, written_at=call.now, progress=min(99, request.get("Progress") or snapshot.progress))
    return {"Checksum": request["Checksum"], "ChecksumAlgorithm": "SHA256"}


def _complete(call: Call, request: Mapping[str, Any]) -> bytes | None:
    snapshot = SNAPSHOT.find(call, request["SnapshotId"])
    if snapshot is not None and snapshot.state == "completed":
        return None
    snapshot = _own(call, request["SnapshotId"])
    _check_complete(call, snapshot, request)
    key, _below = keys_of(call, snapshot)
    return ask(call, snapshot, Complete(snapshot.id, snapshot.size_gib, snapshot.parent_id, key))


@operation(resources=on("SnapshotId"), prepare=_complete)
def complete_snapshot(call: Call, request: Mapping[str, Any]) -> Response:
    """Sealed by its host before the transaction begins: nothing is written to it from here on. ChecksumAlgorithm and
    ChecksumAggregationMethod make no difference: the model has one of each."""
    take_turn(call.tx)
    if call.prepared is None:
        return {"Status": "completed"}
    snapshot = _own(call, request["SnapshotId"])
    added, full = _SIZES.unpack(call.prepared)
    call.tx.delete_where(WrittenBlock, snapshot_id=snapshot.id)
    taken(call.tx, call.tx.update(snapshot, writing=False), added, full)
    return {"Status": "completed"}


def _own(call: Call, snapshot_id: str) -> Snapshot:
    """One of the caller's that is being written. Raises SnapshotNotFound, ValidationError."""
    snapshot = SNAPSHOT.find(call, snapshot_id)
    if snapshot is None:
        raise SnapshotNotFound(snapshot_id)
    if snapshot.state != "pending" or not snapshot.writing:
        raise ValidationError(f"The snapshot '{snapshot_id}' is not being written.")
    return snapshot


def _check_complete(call: Call, snapshot: Snapshot, request: Mapping[str, Any]) -> None:
    written = call.tx.select(WrittenBlock, snapshot_id=snapshot.id)
    if len(written) != request["ChangedBlocksCount"]:
        raise ValidationError(f"{len(written)} blocks were written, not {request['ChangedBlocksCount']}.")
    if "Checksum" in request:
        sums = b"".join(base64.b64decode(each.checksum) for each in written)  # in the order of the blocks
        if base64.b64encode(hashlib.sha256(sums).digest()).decode() != request["Checksum"]:
            raise ValidationError("The checksum is not that of the blocks' checksums.")


def _any_host(call: Call) -> Host:
    """A host that has the new snapshot. Raises InternalServerError."""
    host = call.tx.find(Host, connected=True)
    if host is None:
        raise InternalServerError
    return host


def _encryption(call: Call, request: Mapping[str, Any], parent: Snapshot | None) -> ebs_encryption.VolumeEncryption:
    if parent is not None:
        if not parent.encrypted and ebs_encryption.chosen(call).by_default:
            raise ValidationError("Encryption by default is enabled, and the parent snapshot is not encrypted.")
        return ebs_encryption.VolumeEncryption(parent.kms_key_id)
    try:
        asked = _asked(call, request, parent)
    except AwsError as error:
        raise ValidationError(error.message) from error
    return ebs_encryption.resolved(call, asked)


def _asked(call: Call, request: Mapping[str, Any], parent: Snapshot | None) -> ebs_encryption.Asked:
    """How it is to be encrypted: as its parent is. Raises InvalidParameterDependency."""
    if parent is not None:
        return ebs_encryption.Asked(parent.encrypted, parent.kms_key_id)
    given: Any = {"Encrypted": bool(request.get("Encrypted"))}
    if request.get("KmsKeyArn"):
        given["KmsKeyId"] = request["KmsKeyArn"]
    return ebs_encryption.asked_for(call, given)


def _make_key(
    call: Call, snapshot: Snapshot, parent: Snapshot | None, encryption: ebs_encryption.VolumeEncryption
) -> None:
    """Raises ValidationError for a KMS key that can not be used."""
    if parent is not None and parent.encrypted:
        share_keys(call.tx, parent.id, snapshot.id, snapshot.account_id)
    elif encryption.arn is not None:
        bound = VolumeId(snapshot.id)
        try:
            if encryption.key is not None:
                ciphertext = new_volume_key(call.tx, call.sealer, encryption.key, bound)
                call.tx.insert(WrappedKey(snapshot.id, snapshot.account_id, ciphertext, bound))
                return
        except AwsError:
            pass
        raise ValidationError("The KMS key can not be used.")


def _started(call: Call, snapshot: Snapshot, request: Mapping[str, Any]) -> Response:
    answer: dict[str, Any] = {
        "SnapshotId": snapshot.id,
        "OwnerId": snapshot.account_id,
        "Status": snapshot.state,
        "StartTime": snapshot.started_at,
        "VolumeSize": snapshot.size_gib,
        "BlockSize": BLOCK_BYTES,
        "Tags": list(request.get("Tags") or ()),
        "SseType": "sse-kms" if snapshot.encrypted else "none",
    }
    if snapshot.description:
        answer["Description"] = snapshot.description
    if snapshot.parent_id is not None:
        answer["ParentSnapshotId"] = snapshot.parent_id
    if snapshot.kms_key_id is not None:
        answer["KmsKeyArn"] = snapshot.kms_key_id
    return answer
