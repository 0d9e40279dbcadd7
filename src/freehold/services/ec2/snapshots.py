"""Snapshots: CreateSnapshot, DeleteSnapshot.

A snapshot has what the volume's guest had written, and the host acknowledged, when the call is answered: the answer
waits for the host to say so. If it does not in time, there is no snapshot, and the caller is told to try again. A guest
with QEMU's agent holds its file systems still for it (host/freezing); of others, what their cache has not written yet
is not in the snapshot, as on AWS.

https://docs.aws.amazon.com/ebs/latest/userguide/ebs-create-snapshot.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from freehold.questions import Taken
from freehold.quotas import SNAPSHOTS
from freehold.records.compute import Volume
from freehold.records.encryption import share_keys
from freehold.records.feed import publish, take_turn
from freehold.records.ids import SnapshotId, VolumeId, new_id
from freehold.records.images import image_with
from freehold.records.recycle_bin import retention
from freehold.records.snapshots import Snapshot, delete
from freehold.records.store import Transaction
from freehold.records.tags import Tag, put_tags
from freehold.services.ec2.errors import IncorrectState, InvalidParameterValue
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import SNAPSHOT, VOLUME, made, named_by
from freehold.services.ec2.snapshot_errors import (
    ConcurrentSnapshotLimitExceeded,
    InvalidSnapshotInUse,
    ServiceUnavailable,
    SnapshotLimitExceeded,
)
from freehold.services.ec2.snapshot_locks import check_not_locked
from freehold.services.ec2.tags import specified, tag_list
from freehold.services.errors import AwsError
from freehold.services.operation import Awaited, Call, Needed, Response, Value, operation
from freehold.services.quotas import limit

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import CreateSnapshotRequestTypeDef, DeleteSnapshotRequestTypeDef

DESCRIPTION_CHARACTERS_MAX = 255
PENDING_MAX = 5
"""Of one volume: https://docs.aws.amazon.com/general/latest/gr/ebs-service.html#limits_ebs."""


def _needed_to_create(call: Call, request: CreateSnapshotRequestTypeDef) -> Iterator[Needed]:
    volume_id = request["VolumeId"]
    parent: dict[str, Value] = {"ec2:ParentVolume": VOLUME.arn(call, volume_id)}
    yield VOLUME.needed(call, volume_id)

    def keys() -> Mapping[str, Value]:
        volume = VOLUME.find(call, volume_id)
        if volume is None:
            return parent
        return parent | {"ec2:SourceAvailabilityZone": volume.zone, "ec2:VolumeSize": str(volume.size_gib)}

    yield from made(call, request, SNAPSHOT, keys=keys)


@operation(resources=_needed_to_create)
def create_snapshot(call: Call, request: CreateSnapshotRequestTypeDef) -> Response:
    """Of an attached volume or a free one. Raises IncorrectState, ConcurrentSnapshotLimitExceeded."""
    refuse_others(request, {"Description", "TagSpecifications", "VolumeId"}, {"Location": "regional"})
    description = checked_description(request)
    tags = specified(request.get("TagSpecifications"), SNAPSHOT.resource_type)[SNAPSHOT.resource_type]
    take_turn(call.tx)
    volume = VOLUME.load(call, request["VolumeId"])
    (snapshot,) = begin(call, [volume], description, {volume.id: tags})
    return described(snapshot, tags_given(call, snapshot, tags))


@operation(resources=named_by("SnapshotId", SNAPSHOT))
def delete_snapshot(call: Call, request: DeleteSnapshotRequestTypeDef) -> Response:
    """What was restored from it, and later snapshots, keep all that they need. Where a retention rule says so, it goes
    to the recycle bin. Raises SnapshotLocked, InvalidSnapshot.InUse for one of an image."""
    refuse_others(request, {"SnapshotId"})
    take_turn(call.tx)
    snapshot = SNAPSHOT.load(call, request["SnapshotId"])
    check_not_locked(call, snapshot)
    if (image_id := image_with(call.tx, snapshot.id)) is not None:
        raise InvalidSnapshotInUse(snapshot.id, image_id)
    throw_away(call, snapshot)
    return {}


def throw_away(call: Call, snapshot: Snapshot) -> None:
    """Delete it, or put it into the recycle bin where a retention rule says so."""
    kept = retention(call.tx, call.account_id, call.region, "EBS_SNAPSHOT", snapshot.id)
    if kept is not None and snapshot.state == "completed":
        call.tx.update(snapshot, recycled_at=call.now, recycled_until=call.now + kept)
    else:
        delete(call.tx, snapshot)


def checked_description(request: Mapping[str, Any]) -> str:
    description = str(request.get("Description", ""))
    if len(description) > DESCRIPTION_CHARACTERS_MAX:
        raise InvalidParameterValue(
            f"Value for parameter description is invalid: at most {DESCRIPTION_CHARACTERS_MAX} characters."
        )
    return description


def begin(
    call: Call,
    volumes: Sequence[Volume],
    description: str,
    tags: Mapping[str, Mapping[str, str]],
    *,
    at_rest: bool = False,
) -> list[Snapshot]:
    """Have snapshots of some volumes, all of one instant; the call is answered when their host has taken them, or that
    it has not, but not if it takes them `at_rest`, when the instance has shut down to reboot. `tags` by volume id."""
    check_limit(call, len(volumes))
    instant = new_id("instant")
    begun = []
    for volume in volumes:
        snapshot = insert_pending(call, volume, instant, description, at_rest=at_rest)
        put_tags(call.tx, call.account_id, call.region, SNAPSHOT.resource_type, snapshot.id, tags.get(volume.id, {}))
        begun.append(snapshot)
    for host_id in {snapshot.host_id for snapshot in begun if not at_rest}:
        ids = tuple(snapshot.id for snapshot in begun if snapshot.host_id == host_id)
        call.answered_after.append(Awaited(host_id, Taken(ids), partial(_give_up, ids)))
    return begun


def insert_pending(
    call: Call,
    volume: Volume,
    instant: str,
    description: str = "",
    *,
    at_rest: bool = False,
    copy_id: VolumeId | None = None,
) -> Snapshot:
    """Insert one that the volume's host is to take. Raises IncorrectState, ConcurrentSnapshotLimitExceeded."""
    if volume.state not in ("available", "in-use") or volume.host_id is None:
        raise IncorrectState(f"The volume '{volume.id}' is in the '{volume.state}' state.")
    if call.tx.count(Snapshot, volume_id=volume.id, state="pending") >= PENDING_MAX:
        raise ConcurrentSnapshotLimitExceeded
    snapshot = Snapshot(
        id=SnapshotId(new_id("snap")),
        account_id=call.account_id,
        region=call.region,
        zone=volume.zone,
        volume_id=volume.id,
        host_id=volume.host_id,
        instant=instant,
        size_gib=volume.size_gib,
        description=description,
        state="pending",
        started_at=call.now,
        encrypted=volume.encrypted,
        kms_key_id=volume.kms_key_id,
        at_rest=at_rest,
        kernel_image_id=volume.kernel_image_id,
        copy_id=copy_id,
    )
    call.tx.insert(snapshot)
    share_keys(call.tx, volume.id, snapshot.id, snapshot.account_id)
    publish(call.tx, "snapshot", snapshot.id)
    return snapshot


def _give_up(snapshot_ids: Sequence[str], tx: Transaction) -> AwsError | None:
    """What is not taken by now may be of an instant after the answer, so it goes; an image's of any instant will do."""
    take_turn(tx)
    pending = tx.select(Snapshot, id=list(snapshot_ids), state="pending")
    late = [snapshot for snapshot in pending if image_with(tx, snapshot.id) is None]
    for snapshot in late:
        delete(tx, snapshot)
    return ServiceUnavailable() if late else None


def check_limit(call: Call, more: int) -> None:
    """Raises SnapshotLimitExceeded if the account may not have so many more."""
    most = limit(call, SNAPSHOTS)
    if call.tx.count(Snapshot, account_id=call.account_id, region=call.region, copy_id=None) + more > most:
        raise SnapshotLimitExceeded(most)


def tags_given(call: Call, snapshot: Snapshot, pairs: Mapping[str, str]) -> list[Tag]:
    of = (call.account_id, call.region, SNAPSHOT.resource_type)
    return [Tag(snapshot.id, key, value, *of) for key, value in sorted(pairs.items())]


def described(snapshot: Snapshot, tags: Sequence[Tag]) -> dict[str, Any]:
    """A snapshot as answers show it."""
    answer: dict[str, Any] = {
        "SnapshotId": snapshot.id,
        "VolumeId": snapshot.volume_id,
        "OwnerId": snapshot.account_id,
        "State": snapshot.state,
        "StartTime": snapshot.started_at,
        "Progress": f"{snapshot.progress}%",
        "Description": snapshot.description,
        "VolumeSize": snapshot.size_gib,
        "Encrypted": snapshot.encrypted,
        "StorageTier": "standard",
        "Tags": tag_list(tags),
    }
    if snapshot.kms_key_id is not None:
        answer["KmsKeyId"] = snapshot.kms_key_id
    if snapshot.state_message:
        answer["StateMessage"] = snapshot.state_message
    if snapshot.completed_at is not None:
        answer |= {"CompletionTime": snapshot.completed_at, "FullSnapshotSizeInBytes": snapshot.bytes_full}
    return answer
