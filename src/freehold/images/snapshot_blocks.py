"""A snapshot's data through EBS's direct APIs, as any backup tool has it: no other way leads into a host's pool, and
policies, keys and meters are those of the account.

https://docs.aws.amazon.com/ebs/latest/userguide/ebs-accessing-snapshot.html
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from freehold.images.disk_formats import UnusableDisk

BLOCK_BYTES = 512 << 10
_AT_ONCE = 4
_BATCH = 64


def read(ebs: Any, snapshot_id: str, target: Path, progress: Callable[[float], None]) -> None:
    """Have all that the snapshot holds in a raw file, whose holes are where it has no data. `ebs` is a client."""
    with target.open("wb") as file, ThreadPoolExecutor(_AT_ONCE) as pool:

        def fetch(block: dict[str, Any]) -> None:
            number = block["BlockIndex"]
            answer = ebs.get_snapshot_block(SnapshotId=snapshot_id, BlockIndex=number, BlockToken=block["BlockToken"])
            data = answer["BlockData"].read()
            if _checksum(data) != answer["Checksum"]:
                raise UnusableDisk(f"Block {number} of {snapshot_id} did not arrive as it was sent.")
            os.pwrite(file.fileno(), data, number * BLOCK_BYTES)

        for page in _pages(ebs, snapshot_id):
            size = page["VolumeSize"] << 30
            blocks = iter(page["Blocks"])
            while batch := list(islice(blocks, _BATCH)):
                list(pool.map(fetch, batch))
                progress(min(1.0, (batch[-1]["BlockIndex"] + 1) * BLOCK_BYTES / size))
        file.truncate(size)


def write(
    ebs: Any, source: Path, description: str, progress: Callable[[float], None], begun: Callable[[str], None]
) -> str:
    """Have a new snapshot of a raw file; returns its id. `begun` is told it before there is anything in it."""
    size = source.stat().st_size
    started = ebs.start_snapshot(VolumeSize=-(-size >> 30), Description=description)
    snapshot_id: str = started["SnapshotId"]
    begun(snapshot_id)
    digests: list[bytes] = []
    nothing = bytes(BLOCK_BYTES)
    with source.open("rb") as file, ThreadPoolExecutor(_AT_ONCE) as pool:

        def put(number: int) -> bytes:
            data = os.pread(file.fileno(), BLOCK_BYTES, number * BLOCK_BYTES).ljust(BLOCK_BYTES, b"\0")
            if data == nothing:
                return b""
            digest = hashlib.sha256(data).digest()
            ebs.put_snapshot_block(
                SnapshotId=snapshot_id,
                BlockIndex=number,
                BlockData=data,
                DataLength=BLOCK_BYTES,
                Checksum=base64.b64encode(digest).decode(),
                ChecksumAlgorithm="SHA256",
            )
            return digest

        numbers = _with_data(file.fileno(), size)
        while batch := list(islice(numbers, _BATCH)):
            digests += filter(None, pool.map(put, batch))
            progress(min(1.0, (batch[-1] + 1) * BLOCK_BYTES / size))
    ebs.complete_snapshot(
        SnapshotId=snapshot_id,
        ChangedBlocksCount=len(digests),
        Checksum=base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode(),
        ChecksumAlgorithm="SHA256",
        ChecksumAggregationMethod="LINEAR",
    )
    return snapshot_id


def _pages(ebs: Any, snapshot_id: str) -> Iterator[dict[str, Any]]:
    """The answers that list its blocks; botocore has no paginator for them."""
    page: dict[str, Any] = ebs.list_snapshot_blocks(SnapshotId=snapshot_id)
    yield page
    while page.get("NextToken"):
        page = ebs.list_snapshot_blocks(SnapshotId=snapshot_id, NextToken=page["NextToken"])
        yield page


def _with_data(fd: int, size: int) -> Iterator[int]:
    """The numbers of the blocks of a file that are not all in its holes."""
    number = 0
    while number * BLOCK_BYTES < size:
        try:
            begin = os.lseek(fd, number * BLOCK_BYTES, os.SEEK_DATA)
        except OSError:  # there is no data any more (ENXIO)
            return
        end = os.lseek(fd, begin, os.SEEK_HOLE)
        yield from range(max(number, begin // BLOCK_BYTES), -(-end // BLOCK_BYTES))
        number = -(-end // BLOCK_BYTES)


def _checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()
