"""What a guest kernel package holds: the kernel in the form that boots fastest, and modules in loading order.

Measured (QEMU 7.2, TCG, the 6.1 cloud kernel, median of 3): an uncompressed ELF kernel started at its PVH entry
brings up SSH 0.2 s earlier than the same bzImage, which first has to unpack itself in the emulated machine.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from pathlib import Path

from freehold.images.packages import dependencies
from freehold.images.recipe import Progress
from freehold.images.tools import ImageBuildError, run_tool

# First bytes of a kernel payload → the program that unpacks it (Linux scripts/extract-vmlinux).
_UNPACKERS = {
    b"\x02\x21\x4c\x18": ("lz4", "-dc"),
    b"\x28\xb5\x2f\xfd": ("zstd", "-dc"),
    b"\xfd7zX": ("xz", "-dc"),
    b"\x1f\x8b\x08": ("gzip", "-dc"),
}
# ELF note header: name size 4, value size 4 or 8, type XEN_ELFNOTE_PHYS32_ENTRY (18), name "Xen". QEMU looks for it.
_PVH_NOTE = re.compile(rb"\x04\0\0\0[\x04\x08]\0\0\0\x12\0\0\0Xen\0")


PACKAGE = "linux-image-cloud-amd64"


def package_name() -> str:
    """The package that holds the present kernel: `linux-image-cloud-amd64` only depends on it."""
    for name in dependencies(PACKAGE):
        if name.startswith("linux-image-"):
            return name
    raise ImageBuildError(f"apt offers no {PACKAGE}; run 'apt-get update' on Debian 12 and try again.")


def install(package: Path, target: Path, progress: Progress) -> None:
    """Write the kernel of an unpacked kernel package (or of a root directory that has one) to `target`."""
    vmlinuz = max((package / "boot").glob("vmlinuz-*"))
    kernel, is_pvh = bootable(vmlinuz.read_bytes())
    if not is_pvh:
        progress(f"{vmlinuz.name} has no PVH entry: it is used as it is, and boots a little slower")
    target.write_bytes(kernel)


def bootable(vmlinuz: bytes) -> tuple[bytes, bool]:
    """The kernel to give to QEMU, and whether it is the ELF with a PVH entry; else it is the bzImage as it came.

    Layout of a bzImage: Linux Documentation/arch/x86/boot.rst (setup_sects, payload_offset, payload_length).
    """
    if vmlinuz[0x202:0x206] != b"HdrS":
        raise ImageBuildError("The kernel package holds no x86 bzImage; use a Debian amd64 kernel.")
    setup_sectors = vmlinuz[0x1F1] or 4
    offset, length = struct.unpack_from("<II", vmlinuz, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    # The last four bytes of the payload are its unpacked size, which the unpackers would complain about.
    payload = vmlinuz[start : start + length - 4]
    for magic, unpacker in _UNPACKERS.items():
        if payload.startswith(magic):
            if magic == b"\x1f\x8b\x08":
                payload = vmlinuz[start : start + length]  # gzip's own trailer is that size
            kernel = run_tool(unpacker, stdin=payload)
            if kernel.startswith(b"\x7fELF") and _PVH_NOTE.search(kernel):
                return kernel, True
    return vmlinuz, False


def modules_in_order(tree: Path, names: Iterable[str]) -> list[Path]:
    """Files of the named modules and of all they depend on, each after those it needs; built-in ones left out.

    `tree` is the unpacked `lib/modules/VERSION`. Raises ImageBuildError if a module is neither there nor built in.
    """
    files = {_canonical(path.name.split(".ko")[0]): path for path in sorted(tree.rglob("*.ko*"))}
    built_in = {
        _canonical(Path(line).name.removesuffix(".ko")) for line in (tree / "modules.builtin").read_text().split()
    }
    ordered: dict[str, Path] = {}

    def add(name: str) -> None:
        if name in ordered or name in built_in:
            return
        if name not in files:
            raise ImageBuildError(f"The kernel package has no module {name}; use Debian's linux-image-cloud-amd64.")
        if files[name].suffix != ".ko":
            raise ImageBuildError("The kernel's modules are compressed; use Debian 12's linux-image-cloud-amd64.")
        depends = re.search(rb"\0depends=([^\0]*)\0", b"\0" + files[name].read_bytes())
        for needed in depends[1].decode().split(",") if depends and depends[1] else ():
            add(_canonical(needed))
        ordered[name] = files[name]

    for name in names:
        add(_canonical(name))
    return list(ordered.values())


def _canonical(name: str) -> str:
    """virtio-rng.ko is the module virtio_rng: the kernel takes both spellings for one."""
    return name.replace("-", "_")
