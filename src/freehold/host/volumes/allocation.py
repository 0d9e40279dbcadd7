"""Which parts of a qcow2 file hold data: what a layer has of its own.

Read from its tables (https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/qcow2.txt), which a guest that
broke out into its QEMU may have written: they are only ever compared with zero, and no more is read than the disk's
size asks for.
"""

from __future__ import annotations

import array
import os
import struct
import sys
from pathlib import Path

from freehold.host.errors import HostError

_HEAD = struct.Struct(">4sIQIIQIIQ")
_MAGIC = b"QFI\xfb"
_OFFSET = 0x00FFFFFFFFFFFE00
_DISK_BYTES_MAX = 1 << 46


def allocated(path: Path, block: int) -> set[int]:
    """The numbers of the blocks, of `block` bytes (a multiple of the file's clusters), that a file has anything of:
    data, or zeros in the place of what is below. Raises HostError, OSError."""
    found: set[int] = set()
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size or head[:4] != _MAGIC:
            raise HostError(f"{path.name} is not a qcow2 file")
        _magic, _version, _name, _length, bits, size, _crypt, l1_size, l1_at = _HEAD.unpack(head)
        cluster = 1 << min(bits, 21)
        per_table = cluster // 8
        if not 9 <= bits <= 21 or size > _DISK_BYTES_MAX or block % cluster:
            raise HostError(f"{path.name} has clusters that can not be")
        tables = min(l1_size, -(-size // (cluster * per_table)))
        for number, entry in enumerate(_words(file.fileno(), l1_at, tables)):
            if entry & _OFFSET:
                for index, word in enumerate(_words(file.fileno(), entry & _OFFSET, per_table)):
                    if word:
                        found.add((number * per_table + index) * cluster // block)
    blocks = -(-size // block)
    return {each for each in found if each < blocks}


def _words(descriptor: int, offset: int, count: int) -> array.array[int]:
    """Numbers of 64 bits; fewer at the end of the file."""
    data = os.pread(descriptor, count * 8, offset)
    words = array.array("Q", data[: len(data) // 8 * 8])
    if sys.byteorder == "little":
        words.byteswap()
    return words
