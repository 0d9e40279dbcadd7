"""Which firmware can start what is on a disk: looked up in its partition table and first sector."""

from __future__ import annotations

import struct
import uuid
from pathlib import Path

from freehold.images.catalog import BootMode

_SECTOR = 512
_GPT = struct.Struct("<72xQII")  # of the header: where the entries are (sector), how many, how large
_ENTRIES_MAX = 1024
_EFI_SYSTEM = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
_MBR_EFI_SYSTEM = 0xEF


def boot_modes(disk: Path) -> list[BootMode]:
    """The firmware that a raw disk has a boot loader for, BIOS first; none: it has none that is known.

    A BIOS starts the code in the first sector; UEFI what is on the EFI system partition (UEFI specification, 5).
    """
    with disk.open("rb") as file:
        first = file.read(_SECTOR)
        header = file.read(_SECTOR)
        if len(first) < _SECTOR or first[510:] != b"\x55\xaa":
            return []
        kinds = {entry[4] for entry in (first[at : at + 16] for at in range(446, 510, 16))}
        has_esp = _MBR_EFI_SYSTEM in kinds
        if header.startswith(b"EFI PART"):
            at, count, size = _GPT.unpack_from(header)
            if count <= _ENTRIES_MAX and 128 <= size <= 4096:
                file.seek(min(at, 1 << 40) * _SECTOR)
                entries = file.read(count * size)
                starts = range(0, len(entries) - 15, size)
                has_esp |= any(uuid.UUID(bytes_le=entries[start : start + 16]) == _EFI_SYSTEM for start in starts)
    modes: list[BootMode] = ["legacy-bios"] if any(first[:440]) else []
    return [*modes, "uefi"] if has_esp else modes
