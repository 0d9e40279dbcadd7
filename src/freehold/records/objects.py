"""Where the bytes of objects are kept: the seam between what stores objects and the cloud's own parts that do.

`LocalObjects` keeps them as files of the data directory. A bucket is a record (records/trails).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec


class NoSuchKey(Exception):
    """There is no object with this key in the bucket."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """`metadata` is what its sender has said of it, by names in lower case."""

    body: bytes
    metadata: Mapping[str, str]


class Objects(Protocol):
    def put(self, bucket: str, key: str, body: bytes, metadata: Mapping[str, str]) -> None:
        """Write an object, whole or not at all, over one that has its key. Raises OSError."""

    def get(self, bucket: str, key: str) -> StoredObject:
        """Raises NoSuchKey, OSError."""

    def list(self, bucket: str, prefix: str) -> Iterator[str]:
        """The keys that begin with a prefix, in their order. Raises OSError."""


class _Head(msgspec.Struct, frozen=True):
    key: str
    metadata: dict[str, str]


_head = msgspec.json.Decoder(_Head)
_LENGTH_BYTES = 4


class LocalObjects:
    """Objects as files. What tenants call them is no part of a path: a file is named by the hash of its key, and
    begins with it (4 bytes of length, the key and the metadata as JSON, then the body)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, bucket: str, key: str, body: bytes, metadata: Mapping[str, str]) -> None:
        path = self._path(bucket, key)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        head = msgspec.json.encode(_Head(key, dict(metadata)))
        fresh = path.with_name(f"{path.name}.{os.urandom(8).hex()}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(len(head).to_bytes(_LENGTH_BYTES, "big") + head)
                file.write(body)
                file.flush()
                os.fsync(descriptor)
            os.replace(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)

    def get(self, bucket: str, key: str) -> StoredObject:
        try:
            content = self._path(bucket, key).read_bytes()
        except FileNotFoundError:
            raise NoSuchKey(key) from None
        length = int.from_bytes(content[:_LENGTH_BYTES], "big")
        head = _head.decode(content[_LENGTH_BYTES : _LENGTH_BYTES + length])
        return StoredObject(content[_LENGTH_BYTES + length :], head.metadata)

    def list(self, bucket: str, prefix: str) -> Iterator[str]:
        directory = self._path(bucket, "").parent
        files = directory.iterdir() if directory.exists() else ()
        keys = [self._key(path) for path in files if path.suffix != ".new"]
        yield from sorted(key for key in keys if key.startswith(prefix))

    def _key(self, path: Path) -> str:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "big")
            return _head.decode(file.read(length)).key

    def _path(self, bucket: str, key: str) -> Path:
        names = (hashlib.sha256(name.encode()).hexdigest() for name in (bucket, key))
        return self._directory.joinpath(*names)
