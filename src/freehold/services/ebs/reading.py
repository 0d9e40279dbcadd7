"""ListSnapshotBlocks, ListChangedBlocks, GetSnapshotBlock.

https://docs.aws.amazon.com/ebs/latest/userguide/readsnapshots.html
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from freehold.questions import ChangedBlocks, ReadBlock, SnapshotBlocks
from freehold.services import page_tokens
from freehold.services.ebs.errors import ValidationError
from freehold.services.ebs.snapshots import (
    BLOCK_BYTES,
    ask,
    check_token,
    checksum,
    expiry,
    keys_of,
    on,
    on_snapshot,
    readable,
    write_token,
)
from freehold.services.ec2 import ebs_encryption
from freehold.services.errors import AwsError
from freehold.services.operation import Call, Needed, Response, operation

_PAGE = 10_000
_INDEX = struct.Struct(">I")
_CHANGED = struct.Struct(">IB")
_EARLIER, _LATER = 1, 2

_keys = msgspec.json.Decoder(list[int])


@operation(resources=on("SnapshotId"))
def list_snapshot_blocks(call: Call, request: Mapping[str, Any]) -> Response:
    """Those that hold data, also data of zeros."""
    snapshot = readable(call, request["SnapshotId"])
    first, most = _page(call, request)
    answer = ask(call, snapshot, SnapshotBlocks(snapshot.id, first, most + 1))
    numbers = [number for (number,) in _INDEX.iter_unpack(answer)]
    until = expiry(call.now)
    return {
        "Blocks": [
            {"BlockIndex": number, "BlockToken": write_token(snapshot.id, number, until)} for number in numbers[:most]
        ],
        "ExpiryTime": until,
        "VolumeSize": snapshot.size_gib,
        "BlockSize": BLOCK_BYTES,
        **_next(call, request, numbers, most),
    }


@operation(resources=on("SecondSnapshotId"))
def list_changed_blocks(call: Call, request: Mapping[str, Any]) -> Response:
    """Those that may differ, by what each snapshot has of its own; without a first one, as ListSnapshotBlocks."""
    later = readable(call, request["SecondSnapshotId"])
    first, most = _page(call, request)
    earlier = readable(call, request["FirstSnapshotId"]) if request.get("FirstSnapshotId") else None
    if earlier is None:
        found = ask(call, later, SnapshotBlocks(later.id, first, most + 1))
        changed = [(number, _LATER) for (number,) in _INDEX.iter_unpack(found)]
    else:
        if earlier.host_id != later.host_id or earlier.size_gib > later.size_gib:
            raise ValidationError("The snapshots are unrelated.")
        found = ask(call, later, ChangedBlocks(earlier.id, later.id, first, most + 1))
        changed = list(_CHANGED.iter_unpack(found))
    until = expiry(call.now)

    def shown(number: int, where: int) -> dict[str, Any]:
        block: dict[str, Any] = {"BlockIndex": number}
        if earlier is not None and where & _EARLIER:
            block["FirstBlockToken"] = write_token(earlier.id, number, until)
        if where & _LATER:
            block["SecondBlockToken"] = write_token(later.id, number, until)
        return block

    return {
        "ChangedBlocks": [shown(*each) for each in changed[:most]],
        "ExpiryTime": until,
        "VolumeSize": later.size_gib,
        "BlockSize": BLOCK_BYTES,
        **_next(call, request, [number for number, _ in changed], most),
    }


def _to_read(call: Call, request: Mapping[str, Any]) -> Iterator[Needed]:
    yield on_snapshot(call, request["SnapshotId"])
    with contextlib.suppress(AwsError):  # the operation says what is wrong
        yield from ebs_encryption.to_decrypt(call, readable(call, request["SnapshotId"]))


@operation(resources=_to_read, resource_policies=True)
def get_snapshot_block(call: Call, request: Mapping[str, Any]) -> Response:
    """The data of one block, with its SHA-256."""
    snapshot, number = readable(call, request["SnapshotId"]), request["BlockIndex"]
    check_token(request["BlockToken"], snapshot.id, number, call.now)
    data = ask(call, snapshot, ReadBlock(snapshot.id, number, *keys_of(call, snapshot)))
    return {
        "DataLength": len(data),
        "BlockData": data,
        "Checksum": checksum(data),
        "ChecksumAlgorithm": "SHA256",
    }


def _page(call: Call, request: Mapping[str, Any]) -> tuple[int, int]:
    """(the number of the first block, how many). Raises ValidationError."""
    most = request.get("MaxResults") or _PAGE
    token = request.get("NextToken")
    if not token:
        return request.get("StartingBlockIndex") or 0, most
    try:
        # EBS's tokens have no `-` and `_`.
        (first,) = page_tokens.read(token.rstrip("=").replace("+", "-").replace("/", "_"), _asked(call, request), _keys)
    except (page_tokens.UnusableToken, ValueError) as error:
        raise ValidationError("The page token is not valid.") from error
    return first, most


def _next(call: Call, request: Mapping[str, Any], numbers: list[int], most: int) -> Mapping[str, str]:
    if len(numbers) <= most:
        return {}
    token = page_tokens.write([numbers[most]], _asked(call, request))
    return {"NextToken": token.replace("-", "+").replace("_", "/")}


def _asked(call: Call, request: Mapping[str, Any]) -> bytes:
    return page_tokens.asked(
        request, call.operation, call.region, without=("MaxResults", "NextToken", "StartingBlockIndex")
    )
