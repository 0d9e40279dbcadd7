"""The formats in which disks come from elsewhere: what a file says it is, and that it is whole in itself.

Nothing here follows what a file says of others: one that is built on another, or keeps its data in another, is refused.
qemu-img is always told the format, and converts in a place where there is nothing else to open (images/confined.py).

https://docs.aws.amazon.com/vm-import/latest/userguide/prerequisites.html#vmimport-image-formats lists AWS's.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import BinaryIO, Literal, get_args

Format = Literal["raw", "qcow2", "vmdk", "vhd", "vhdx"]
FORMATS: tuple[Format, ...] = get_args(Format)

_DRIVERS: dict[Format, str] = {"raw": "raw", "qcow2": "qcow2", "vmdk": "vmdk", "vhd": "vpc", "vhdx": "vhdx"}
_SECTOR = 512
_QCOW2 = struct.Struct(">4sIQIIQI")  # magic, version, backing file's offset and size, cluster bits, size, encryption
_QCOW2_FEATURES = struct.Struct(">Q")  # at 72, from version 3 on
_QCOW2_CORRUPT, _QCOW2_DATA_ELSEWHERE = 1 << 1, 1 << 2
_VMDK = struct.Struct("<4sIIQQQQ")  # magic, version, flags, capacity, grain size, descriptor's offset and size
_VMDK_DESCRIPTOR_BYTES_MAX = 1 << 20
_VMDK_TYPES = (b"monolithicSparse", b"streamOptimized")
_VHD_TYPE = struct.Struct(">I")  # at 60 of the footer
_VHD_FIXED, _VHD_DYNAMIC = 2, 3


class UnusableDisk(Exception):
    """A file that is not imported; the message is one sentence that says what is wrong with it."""


def driver(of: Format) -> dict[str, object]:
    """What qemu-img is told of a format, beside where the file is."""
    # The size in a VHD's footer counts, as on Azure and Hyper-V, not what its geometry of 1986 comes to.
    return {"driver": _DRIVERS[of], **({"force_size_calc": "current_size"} if of == "vhd" else {})}


def written(to: Format) -> tuple[str, ...]:
    """What qemu-img is told of the format that it is to write: one file, which others read."""
    # Without force_size a VHD is as large as its geometry comes to, that is larger than the disk.
    options = {"vmdk": ("-o", "subformat=streamOptimized"), "vhd": ("-o", "subformat=dynamic,force_size=on")}
    return ("-O", _DRIVERS[to], *options.get(to, ()))


def detected(path: Path) -> Format:
    """The format whose mark a file has; ``raw`` when it has none."""
    with path.open("rb") as file:
        head = file.read(8)
        if head[:4] == b"QFI\xfb":
            return "qcow2"
        if head[:4] in (b"KDMV", b"COWD") or head.startswith(b"# Disk D"):
            return "vmdk"
        if head == b"vhdxfile":
            return "vhdx"
        return "vhd" if _vhd_footer(file) is not None else "raw"


def check(path: Path, of: Format) -> None:
    """Raise UnusableDisk unless a file is of the format, and whole in itself."""
    with path.open("rb") as file:
        match of:
            case "qcow2":
                _check_qcow2(file)
            case "vmdk":
                _check_vmdk(file)
            case "vhd":
                _check_vhd(file)
            case "vhdx":
                # One with a parent, or a log to be replayed, is refused by qemu-img, which has nothing else to open.
                if file.read(8) != b"vhdxfile":
                    raise UnusableDisk("It is not a VHDX file.")
            case "raw":
                pass


def _check_qcow2(file: BinaryIO) -> None:
    """https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/qcow2.txt"""
    head = file.read(_QCOW2_FEATURES.size + 72)
    if len(head) < 72 or head[:4] != b"QFI\xfb":
        raise UnusableDisk("It is not a qcow2 file.")
    _magic, version, backing_at, _backing_bytes, _cluster_bits, _size, encryption = _QCOW2.unpack_from(head)
    if version not in (2, 3):
        raise UnusableDisk(f"It is a qcow2 file of version {version}; 2 and 3 are known.")
    if backing_at:
        raise UnusableDisk("It is an overlay of another file: convert it into one that has all its data.")
    if encryption:
        raise UnusableDisk("It is encrypted: decrypt it first.")
    features = _QCOW2_FEATURES.unpack_from(head, 72)[0] if version == 3 and len(head) >= 80 else 0
    if features & _QCOW2_DATA_ELSEWHERE:
        raise UnusableDisk("It keeps its data in another file: convert it into one that has all its data.")
    if features & _QCOW2_CORRUPT:
        raise UnusableDisk("It is marked as corrupt: repair it with 'qemu-img check'.")


def _check_vmdk(file: BinaryIO) -> None:
    """VMware's "Virtual Disk Format 5.0"."""
    head = file.read(_SECTOR)
    if head.startswith(b"# Disk D"):
        raise UnusableDisk("It only describes where a disk is: import the disk's own file, or an OVA.")
    if len(head) < _SECTOR or head[:4] != b"KDMV":
        raise UnusableDisk("It is not a sparse VMDK file; export the disk as 'monolithicSparse' or 'streamOptimized'.")
    _magic, _version, _flags, capacity, _grain, at, sectors = _VMDK.unpack_from(head)
    size = sectors * _SECTOR
    if capacity == 0 or at == 0 or not 0 < size <= _VMDK_DESCRIPTOR_BYTES_MAX:
        raise UnusableDisk("It does not hold the description of its disk.")
    file.seek(at * _SECTOR)
    descriptor = file.read(size).split(b"\0")[0]
    kind = re.search(rb'^createType="([^"]*)"', descriptor, re.MULTILINE)
    if kind is None or kind[1] not in _VMDK_TYPES:
        raise UnusableDisk("It is no disk in one file; export it as 'monolithicSparse' or 'streamOptimized'.")
    parent = re.search(rb"^parentCID=([0-9a-fA-F]+)", descriptor, re.MULTILINE)
    if parent is not None and parent[1].lower() != b"ffffffff":
        raise UnusableDisk("It is an overlay of another file: convert it into one that has all its data.")
    if len(re.findall(rb"^(?:RW|RDONLY|NOACCESS) ", descriptor, re.MULTILINE)) != 1:
        raise UnusableDisk("It is in several files: convert it into one.")


def _check_vhd(file: BinaryIO) -> None:
    """Microsoft's "Virtual Hard Disk Image Format Specification"."""
    footer = _vhd_footer(file)
    if footer is None:
        raise UnusableDisk("It is not a VHD file.")
    (kind,) = _VHD_TYPE.unpack_from(footer, 60)
    if kind not in (_VHD_FIXED, _VHD_DYNAMIC):
        raise UnusableDisk("It is an overlay of another file: convert it into one that has all its data.")


def _vhd_footer(file: BinaryIO) -> bytes | None:
    """The last sector, if it is a VHD's. That of a dynamic one is at the beginning too."""
    size = file.seek(0, 2)
    if size < _SECTOR:
        return None
    file.seek(size - _SECTOR)
    footer = file.read(_SECTOR)
    return footer if footer.startswith(b"conectix") else None
