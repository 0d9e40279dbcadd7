"""What a qcow2 file says of itself; and making an empty one one that is encrypted with LUKS.

`qemu-img create` makes the file, plain; what it lacks is a place for LUKS's header and two words that say so. The form
of qcow2: https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/qcow2.txt::

    cluster 0      the header, its extensions, then the backing file's name
    clusters …     a table of refcount blocks, a refcount block (2 bytes for each cluster), the table of tables of data
    at the end     what this module adds: LUKS's header
"""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path
from typing import Any

_MAGIC = b"QFI\xfb"
_VERSION = 3
_LUKS = 2
_CRYPTO_HEADER = 0x0537BE77
_REFCOUNT_BYTES = 2

_BACKING_OFFSET = struct.Struct(">Q")  # at 8
_CRYPT_METHOD = struct.Struct(">I")  # at 32
_EXTENSION = struct.Struct(">IIQQ")
_HEAD = struct.Struct(">4sIQIIQIIQQIIQQQQII")


class NotEmpty(ValueError):
    """The file is not as `qemu-img create` leaves it."""


def size(path: Path) -> int:
    """The bytes that a guest sees of a file."""
    return int(_head(path)[5])


def encrypted(path: Path) -> bool:
    return int(_head(path)[6]) == _LUKS


def luks_head(path: Path, length: int) -> bytes:
    """The beginning of the LUKS header of a file that is encrypted. Raises OSError."""
    with path.open("rb") as file:
        place = _head(path)[17]
        while True:
            file.seek(place)
            extension = file.read(_EXTENSION.size).ljust(_EXTENSION.size, b"\0")
            kind, size, header_at, _ = _EXTENSION.unpack(extension)
            if kind == _CRYPTO_HEADER and header_at < os.fstat(file.fileno()).st_size:
                return os.pread(file.fileno(), length, header_at)
            if kind in (0, _CRYPTO_HEADER):  # 0: the last
                raise OSError(errno.EINVAL, "no LUKS header in a qcow2 file", str(path))
            place += 8 + -(-size // 8) * 8


def allocated(path: Path) -> int:
    """The bytes that a file takes on the disk."""
    return path.stat().st_blocks * 512


def _head(path: Path) -> tuple[Any, ...]:
    """Raises OSError for what is no qcow2 file."""
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
    if len(head) < _HEAD.size or head[:4] != _MAGIC:
        raise OSError(errno.EINVAL, "not a qcow2 file", str(path))
    return _HEAD.unpack(head)


def encrypt(path: Path, header: bytes, room: int) -> None:
    """Have an empty file, which nobody has open, encrypted with LUKS: `header` is the beginning of LUKS's header,
    which takes `room` bytes. Raises NotEmpty for a file that is not empty, or encrypted already."""
    with path.open("r+b") as file:
        head = _HEAD.unpack(file.read(_HEAD.size))
        magic, version, name_at, name_bytes, cluster_bits, _size, method = head[:7]
        refcounts_at, refcount_order, header_bytes = head[9], head[16], head[17]
        if (magic, version, method, 1 << refcount_order >> 3) != (_MAGIC, _VERSION, 0, _REFCOUNT_BYTES):
            raise NotEmpty(f"{path} is not an empty qcow2 file")
        cluster = 1 << cluster_bits
        first, count = -(-os.fstat(file.fileno()).st_size // cluster), -(-room // cluster)

        file.seek(refcounts_at)
        (block_at,) = _BACKING_OFFSET.unpack(file.read(_BACKING_OFFSET.size))
        if (first + count) * _REFCOUNT_BYTES > cluster:
            raise NotEmpty(f"{path} has {first} clusters already")
        file.seek(block_at + first * _REFCOUNT_BYTES)
        file.write(b"\0\1" * count)
        file.seek(first * cluster)
        file.write(header)
        file.truncate((first + count) * cluster)

        # The extension goes before the others, which move on together with the backing file's name.
        file.seek(header_bytes)
        rest = file.read(cluster - header_bytes - _EXTENSION.size)
        extension = _EXTENSION.pack(_CRYPTO_HEADER, 16, first * cluster, room)
        file.seek(header_bytes)
        file.write(extension + rest)
        if name_bytes:
            file.seek(8)
            file.write(_BACKING_OFFSET.pack(name_at + len(extension)))
        file.seek(32)
        file.write(_CRYPT_METHOD.pack(_LUKS))
