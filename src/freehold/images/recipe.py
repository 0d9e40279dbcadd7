"""What a recipe of a built-in image is; `micro` and `debian` each define one, `build` cooks them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from freehold.images.tools import run_tool

Progress = Callable[[str], None]

KERNEL = "vmlinux"
INITRD = "initrd.cpio"
DISK = "disk.qcow2"

# A timer that a busy host delays is not a broken one, for which the kernel would panic (no_timer_check); a kernel that
# panics boots again after some seconds. ACPI tells of the bus that devices are plugged into: its port needs neither a
# driver of its own (pcie_ports=compat) nor I/O ports (hpiosize=0), and looking for those costs boot time.
KERNEL_OPTIONS = "console=ttyS0 no_timer_check panic=10 pcie_ports=compat pci=hpiosize=0 quiet"

# One time stamp for all files that a build makes, so that two builds of the same packages are the same bytes.
BUILD_TIME = 1767225600  # 2026-01-01


@dataclass(frozen=True)
class Recipe:
    """How a family of images is made, and what its manifest says before the content is known."""

    family: str
    name_prefix: str
    description: str
    virtual_size: int  # bytes
    minimum_memory: int  # MiB
    append: str
    default_user: str
    free_space: int  # bytes that a build needs in the cache directory
    sources: tuple[Path, ...]  # files and directories whose content is the recipe
    # (work directory, output directory, cache directory, progress) → the ingredients, one line each
    assemble: Callable[[Path, Path, Path, Progress], list[str]]
    warm: bool = True
    guest_agent: bool = False

    def digest(self) -> str:
        """A digest of the recipe itself: another one means that existing images of the family are out of date."""
        state = hashlib.sha256(f"{self.virtual_size} {self.append}".encode())
        for source in self.sources:
            files = sorted(source.rglob("*")) if source.is_dir() else [source]
            for file in files:
                if file.is_file():
                    state.update(f"\0{file.relative_to(source.parent)}\0".encode() + file.read_bytes())
        return state.hexdigest()


@contextmanager
def guest_umask() -> Iterator[None]:
    """Directories are made 0755 and files 0644, whoever builds: the command line's umask of 077 would go into the guest
    and shut its users out of `/etc` and `/usr`. For the whole process, so only where no other thread makes files.
    """
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def install_files(source: Path, root: Path) -> None:
    """Copy a tree of guest files into a root directory; scripts (`#!`) become executable, the rest 0644."""
    for file in sorted(source.rglob("*")):
        if file.is_file():
            content = file.read_bytes()
            target = root / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(0o755 if content.startswith(b"#!") else 0o644)


def pack_disk(root: Path, target: Path, *, size: int, uuid: str, ext4_options: tuple[str, ...], compress: bool) -> None:
    """A qcow2 with an ext4 file system of `size` bytes that holds a tree; neither mounts nor loop devices are used.

    The tree must be owned as the guest shall see it, so this needs root. `mke2fs -d` of e2fsprogs 1.47.0 takes a
    directory, a tar only from 1.47.1 on. Inode tables are initialised here, so that no guest has to.
    """
    raw = target.with_suffix(".raw")
    with raw.open("wb") as file:
        file.truncate(size)
    features = f"hash_seed={uuid},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0"
    run_tool(
        (
            *("mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-m", "0", "-U", uuid, "-E", features),
            *(*ext4_options, "-d", str(root), str(raw)),
        ),
        env={"E2FSPROGS_FAKE_TIME": str(BUILD_TIME), "SOURCE_DATE_EPOCH": str(BUILD_TIME)},
    )
    compression = ("-c", "-o", "compression_type=zstd") if compress else ()
    run_tool(("qemu-img", "convert", "-f", "raw", "-O", "qcow2", *compression, str(raw), str(target)))
    raw.unlink()
