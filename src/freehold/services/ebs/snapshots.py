"""What the operations on blocks have in common: which snapshots they take, and the tokens of blocks."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
from collections.abc import Mapping
from typing import Any

from freehold.questions import NoAnswer, Question
from freehold.records.encryption import WrappedKey
from freehold.records.snapshots import Snapshot
from freehold.records.tags import Tag
from freehold.services.ebs.errors import InternalServerError, SnapshotNotFound, ValidationError
from freehold.services.ec2.resources import SNAPSHOT
from freehold.services.ec2.snapshot_sharing import usable
from freehold.services.errors import AwsError
from freehold.services.kms.volume_keys import open_volume_keys
from freehold.services.operation import Call, Needed, Resources

BLOCK_BYTES = 512 << 10
_TOKEN_KEPT = dt.timedelta(days=7)


def on(member: str) -> Resources:
    """For `operation(resources=…)`: the snapshot that is named in a member of the request."""

    def needed(call: Call, request: Any) -> list[Needed]:
        return [on_snapshot(call, request[member])] if request.get(member) else []

    return needed


def on_snapshot(call: Call, snapshot_id: str) -> Needed:
    def tags() -> Mapping[str, str]:
        kept = call.tx.select(Tag, resource_id=snapshot_id, account_id=call.account_id)
        return {tag.key: tag.value for tag in kept}

    return Needed(SNAPSHOT.arn(call, snapshot_id), tags=tags)


def readable(call: Call, snapshot_id: str) -> Snapshot:
    """One of the caller's, or that is shared with them, and completed. Raises SnapshotNotFound, ValidationError."""
    try:
        snapshot = usable(call, snapshot_id)
    except AwsError:
        raise SnapshotNotFound(snapshot_id) from None
    if snapshot.state != "completed":
        raise ValidationError(f"The snapshot '{snapshot_id}' is not in the 'completed' state.")
    return snapshot


def keys_of(call: Call, snapshot: Snapshot) -> tuple[bytes | None, tuple[bytes, ...]]:
    """What opens an encrypted snapshot, and the layers below that have other keys. Raises ValidationError if its KMS
    key can not be used."""
    if not snapshot.encrypted:
        return None, ()
    try:
        wrapped = call.tx.select(WrappedKey, volume_id=snapshot.id)
        if (opened := open_volume_keys(call.tx, call.sealer, wrapped)) is not None:
            return opened
    except AwsError:
        pass
    raise ValidationError(f"The KMS key of the snapshot '{snapshot.id}' can not be used.")


def ask(call: Call, snapshot: Snapshot, question: Question) -> bytes:
    """What the snapshot's host answers. Raises SnapshotNotFound, InternalServerError."""
    try:
        return call.ask(snapshot.host_id, question)
    except NoAnswer as error:
        if error.reason == "gone":
            raise SnapshotNotFound(snapshot.id) from error
        raise InternalServerError from error


def expiry(now: dt.datetime) -> dt.datetime:
    """When the tokens of a list expire."""
    return now + _TOKEN_KEPT


def write_token(snapshot_id: str, number: int, until: dt.datetime) -> str:
    """The token of a block. It is no secret: who may list blocks may read them."""
    seconds = int(until.timestamp()).to_bytes(6, "big")
    return base64.b64encode(seconds + _bound(snapshot_id, number, seconds)).decode()


def check_token(token: str, snapshot_id: str, number: int, now: dt.datetime) -> None:
    """Raises ValidationError."""
    try:
        content = base64.b64decode(token, validate=True)
    except binascii.Error:
        content = b""
    seconds, bound = content[:6], content[6:]
    if bound != _bound(snapshot_id, number, seconds) or int.from_bytes(seconds, "big") < now.timestamp():
        raise ValidationError("The block token is not valid, or has expired.")


def _bound(snapshot_id: str, number: int, seconds: bytes) -> bytes:
    return hashlib.blake2b(f"{snapshot_id} {number}".encode() + seconds, digest_size=16).digest()


def checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()
