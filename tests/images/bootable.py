"""Disks as distributions publish theirs for clouds: a partition table, a boot loader for BIOS and one for UEFI, their
own kernel and initramfs. No loop device and no mount is needed for them.

As on Debian's cloud images: partition 14 holds GRUB's core for BIOS, 15 is the EFI system partition, 1 the root.
"""

from __future__ import annotations

import os
import shutil
import stat
import struct
from pathlib import Path

from freehold.images import kernel
from freehold.images.catalog import ImageManifest, images_directory, paths
from freehold.images.debian import FILESYSTEM_UUID
from freehold.images.packages import fetch, unpack
from freehold.images.tools import run_tool

_SECTOR = 512
_CORE_AT, _ESP_AT, _ROOT_AT = 2048, 4096, 24576  # sectors
_ESP_SECTORS = _ROOT_AT - _ESP_AT
_AFTER = 2048  # for the table's copy
LOADERS = ("grub-common", "grub-pc-bin", "grub-efi-amd64-bin")
_MODULES = ("part_gpt", "ext2", "normal", "linux", "serial", "terminal", "echo", "configfile")

_GRUB_CFG = """\
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
set timeout=0
menuentry Linux {{
    echo "GRUB on $grub_platform"
    linux {kernel} console=ttyS0 no_timer_check panic=10 {options}
    initrd {initrd}
}}
"""
# A warning of Linux whenever it mounts the root: all that it tells at the log level above, at which a whole boot, boot
# loader included, is within the console output that is kept.
_CHECK_WANTED = ("set_super_value mnt_count 2", "set_super_value max_mnt_count 1")
_FIND_CFG = """\
set root=(hd0,gpt1)
set prefix=($root)/boot/grub
configfile $prefix/grub.cfg
"""


# What Debian's own cloud images have there.
_OF_DEBIAN = {
    "etc/fstab": f"UUID={FILESYSTEM_UUID} / ext4 rw,discard,errors=remount-ro,x-systemd.growfs 0 1\n",
    "etc/default/locale": "LANG=C.UTF-8\n",
}


def build(micro: ImageManifest, data_dir: Path, cache: Path, work: Path) -> Path:
    """A raw disk with the system of the micro image on its first partition, in `work`."""
    root = _root_of(micro, data_dir, work)
    tools = _unpacked((*LOADERS, kernel.package_name()), cache, work)
    vmlinuz = max((tools / "boot").glob("vmlinuz-*"))
    initrd = images_directory(data_dir) / micro.image_id / micro.initrd
    files = {"boot/vmlinuz": vmlinuz, "boot/initrd": initrd}
    _write(root, "mkdir boot", *(f"write {file} {name}" for name, file in files.items()), *_CHECK_WANTED)
    options = "root_volume=/dev/vda1 loglevel=5"
    return _disk(root, tools, _GRUB_CFG.format(kernel="/boot/vmlinuz", initrd="/boot/initrd", options=options), work)


def build_debian(debian: ImageManifest, data_dir: Path, cache: Path, work: Path) -> Path:
    """A raw disk with the system of the debian-12 image, in `work`: kernel, initramfs and configuration of cloud-init
    are as Debian makes them."""
    root = _root_of(debian, data_dir, work)
    tree = work / "tree"
    tree.mkdir()
    run_tool(("debugfs", "-R", f"rdump / {tree}", str(root)))
    os.mknod(tree / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    for name, text in _OF_DEBIAN.items():
        (tree / name).write_text(text)
    (version,) = (each.name for each in (tree / "lib/modules").iterdir())
    initrd = f"boot/initrd.img-{version}"
    run_tool(("chroot", str(tree), "mkinitramfs", "-o", f"/{initrd}", version))
    replaced = ("etc/cloud/cloud.cfg.d/90_freehold.cfg", *_OF_DEBIAN)
    written = (f"write {tree / name} {name}" for name in (initrd, *_OF_DEBIAN))
    _write(root, *(f"rm {name}" for name in replaced), *written)
    shutil.rmtree(tree)
    tools = _unpacked(LOADERS, cache, work)
    # The links that Debian's kernel package makes.
    options = f"root=UUID={FILESYSTEM_UUID} ro"
    return _disk(root, tools, _GRUB_CFG.format(kernel="/vmlinuz", initrd="/initrd.img", options=options), work)


def _root_of(image: ImageManifest, data_dir: Path, work: Path) -> Path:
    """The file system of an image's disk, to be changed."""
    root = work / "root.raw"
    run_tool(("qemu-img", "convert", "-O", "raw", str(paths(data_dir, image).disk), str(root)))
    return root


def _write(root: Path, *commands: str) -> None:
    """Change a file system by commands of debugfs."""
    run_tool(("debugfs", "-w", "-f", "/dev/stdin", str(root)), stdin="\n".join((*commands, "")).encode())


def _disk(root: Path, tools: Path, grub_cfg: str, work: Path) -> Path:
    """The disk of a root file system, which is used up."""
    (work / "grub.cfg").write_text(grub_cfg)
    (work / "find.cfg").write_text(_FIND_CFG)
    _write(root, "mkdir boot/grub", f"write {work / 'grub.cfg'} boot/grub/grub.cfg")
    core = _grub(tools, work, "i386-pc", work / "core.img", "biosdisk")
    loader = _grub(tools, work, "x86_64-efi", work / "bootx64.efi")

    disk = work / "disk.raw"
    sectors = _ROOT_AT + root.stat().st_size // _SECTOR + _AFTER
    with disk.open("wb") as file:
        file.truncate(sectors * _SECTOR)
    table = f"""\
label: gpt
14: start={_CORE_AT}, size={_ESP_AT - _CORE_AT}, type=21686148-6449-6E6F-744E-656564454649
15: start={_ESP_AT}, size={_ESP_SECTORS}, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
1: start={_ROOT_AT}, size={sectors - _ROOT_AT - _AFTER}, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
"""
    run_tool(("sfdisk", "--quiet", str(disk)), stdin=table.encode())
    _write_bios_loader(disk, tools / "usr/lib/grub/i386-pc/boot.img", core)
    _write_esp(disk, loader)
    target = f"driver=raw,offset={_ROOT_AT * _SECTOR},file.driver=file,file.filename={disk}"
    run_tool(("qemu-img", "convert", "-n", "-f", "raw", "--target-image-opts", str(root), target))
    root.unlink()
    return disk


def _unpacked(names: tuple[str, ...], cache: Path, work: Path) -> Path:
    tools = work / "tools"
    for package in fetch(names, cache / "packages", print):
        unpack(package, tools)
    return tools


def _grub(tools: Path, work: Path, platform: str, target: Path, *modules: str) -> Path:
    directory = tools / "usr/lib/grub" / platform
    image = ("-O", platform, "-d", str(directory), "-c", str(work / "find.cfg"), "-p", "(hd0,gpt1)/boot/grub")
    run_tool((str(tools / "usr/bin/grub-mkimage"), *image, "-o", str(target), *modules, *_MODULES))
    return target


def _write_bios_loader(disk: Path, boot: Path, core: Path) -> None:
    """What grub-install writes: the first sector loads the first of `core`, which loads the others
    (grub-core/boot/i386/pc/boot.S and diskboot.S of GRUB)."""
    first = bytearray(boot.read_bytes())
    struct.pack_into("<Q", first, 0x5C, _CORE_AT)
    first[0x66:0x68] = b"\x90\x90"  # the drive is what the BIOS says
    rest = bytearray(core.read_bytes())
    struct.pack_into("<QH", rest, 0x1F4, _CORE_AT + 1, -(-len(rest) // _SECTOR) - 1)
    with disk.open("r+b") as file:
        file.write(first[:0x1B8])
        file.seek(_CORE_AT * _SECTOR)
        file.write(rest)


def _write_esp(disk: Path, loader: Path) -> None:
    esp = disk.with_name("esp.raw")
    run_tool(("mformat", "-i", str(esp), "-C", "-T", str(_ESP_SECTORS), "-h", "16", "-s", "32", "::"))
    run_tool(("mmd", "-i", str(esp), "::/EFI", "::/EFI/BOOT"))
    run_tool(("mcopy", "-i", str(esp), str(loader), "::/EFI/BOOT/BOOTX64.EFI"))
    with disk.open("r+b") as file, esp.open("rb") as content:
        file.seek(_ESP_AT * _SECTOR)
        shutil.copyfileobj(content, file)
