"""The recipe of `freehold-micro`: a real, tiny server, built from Debian packages in seconds.

Kernel: Debian's cloud kernel as an ELF with a PVH entry. Initramfs: the virtio drivers and the first program,
`guest/helper/micro.c`, which tells what the guest does at boot. Root file system (ext4 on the root volume, grown to
fill it): busybox, bash, dropbear, e2fsprogs and the scripts in `guest/micro`.

The static busybox is used rather than the dynamic one because its shell runs applets without an exec and a dynamic
link each, which is most of what a boot script costs under TCG.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from freehold.images import initramfs, kernel, program
from freehold.images.packages import Package, fetch, unpack
from freehold.images.recipe import (
    BUILD_TIME,
    DISK,
    INITRD,
    KERNEL,
    KERNEL_OPTIONS,
    Progress,
    Recipe,
    install_files,
    pack_disk,
)
from freehold.images.tools import ImageBuildError, run_tool

GUEST_FILES = Path(__file__).with_name("guest")
VIRTUAL_SIZE = 1 << 30
FILESYSTEM_UUID = "f4ee401d-0000-4000-8000-000000000001"
# What Debian's kernel asks at each step and nothing in this image uses: security modules without a policy (those that
# need none stay), and how long tasks wait for what. Under emulation its code is translated first: 7 % of a launch.
_LEFT_OUT = "lsm=landlock,yama psi=0"

# Package → what the guest gets of it: globs, as the package has them. Programs and every library they link to.
CONTENT = {
    "busybox-static": ("bin/busybox",),
    "bash": ("bin/bash",),
    "dropbear-bin": ("usr/sbin/dropbear", "usr/bin/dropbearkey", "usr/bin/dbclient"),
    "e2fsprogs": ("sbin/mke2fs", "sbin/mkfs.ext4", "sbin/e2fsck", "sbin/resize2fs", "etc/mke2fs.conf"),
    "libblkid1": ("**/libblkid.so.*",),
    "libc6": ("**/ld-linux-x86-64.so.2", "**/libc.so.6", "**/libresolv.so.2", "**/libnss_*.so.2"),
    "libcom-err2": ("**/libcom_err.so.*",),
    "libcrypt1": ("**/libcrypt.so.*",),
    "libext2fs2": ("**/libext2fs.so.*", "**/libe2p.so.*"),
    "libgmp10": ("**/libgmp.so.*",),
    "libtinfo6": ("**/libtinfo.so.*",),
    "libtomcrypt1": ("**/libtomcrypt.so.*",),
    "libtommath1": ("**/libtommath.so.*",),
    "libuuid1": ("**/libuuid.so.*",),
    "zlib1g": ("**/libz.so.*",),
}


def assemble(work: Path, output: Path, cache: Path, progress: Progress) -> list[str]:
    """Build the three files into `output`; the ingredients are the digests of the packages."""
    kernel_image = kernel.package_name()
    packages = fetch((kernel_image, *CONTENT, *program.PACKAGES), cache / "packages", progress)

    progress("unpacking packages")
    for package in packages:
        unpack(package, work / package.name)
    busybox = work / "busybox-static/bin/busybox"
    program.unpack_compiler(packages, work / "compiler")
    program.compile_program("micro", work / "compiler", work / "init")
    kernel.install(work / kernel_image, output / KERNEL, progress)

    progress("packing the initramfs and the root file system")
    initramfs.pack(work / "initramfs", output / INITRD, work / "init", work / kernel_image)
    rootfs = _root_filesystem(work, packages, busybox)
    # One inode for 64 KiB: a quarter of the inode tables that the guest has to initialise when the disk grows.
    options = ("-b", "4096", "-I", "256", "-i", "65536", "-J", "size=8")
    pack_disk(
        rootfs,
        output / DISK,
        size=VIRTUAL_SIZE,
        uuid=FILESYSTEM_UUID,
        ext4_options=options,
        compress=False,
    )
    return [f"{package.name} {package.digest}" for package in packages]


def _root_filesystem(work: Path, packages: list[Package], busybox: Path) -> Path:
    root = work / "rootfs"
    for directory in ("bin", "lib", "lib64", "sbin"):  # merged /usr, as Debian has it
        (root / "usr" / directory).mkdir(parents=True)
        (root / directory).symlink_to(f"usr/{directory}")
    for directory in ("dev", "etc/dropbear", "home", "mnt", "proc", "run", "srv", "sys", "usr/lib/x86_64-linux-gnu"):
        (root / directory).mkdir(parents=True)
    for directory in ("var/lib/freehold/instances", "var/log", "var/spool"):
        (root / directory).mkdir(parents=True)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)  # the umask takes nothing from it
    (root / "var/run").symlink_to("../run")
    (root / "root").mkdir(mode=0o700)

    _install_busybox(busybox, root / "usr/bin")
    (root / "usr/sbin/init").symlink_to("../bin/busybox")
    for package in packages:
        _install_content(work / package.name, root, CONTENT.get(package.name, ()))
        copyright_file = work / package.name / "usr/share/doc" / package.name / "copyright"
        if copyright_file.is_file():
            target = root / "usr/share/doc" / package.name / "copyright"
            target.parent.mkdir(parents=True)
            shutil.copyfile(copyright_file, target)
    (root / "lib64/ld-linux-x86-64.so.2").symlink_to("/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
    install_files(GUEST_FILES / "micro", root)
    (root / "etc/shadow").chmod(0o600)
    (root / "etc/mtab").symlink_to("/proc/mounts")
    for path in (root, *root.rglob("*")):
        os.chown(path, 0, 0, follow_symlinks=False)
        os.utime(path, (BUILD_TIME, BUILD_TIME), follow_symlinks=False)
    return root


def _install_busybox(busybox: Path, target: Path) -> None:
    """Copy busybox into a directory and link all its applets to it."""
    shutil.copyfile(busybox, target / "busybox")
    (target / "busybox").chmod(0o755)
    for applet in run_tool((str(busybox), "--list")).decode().split():
        if applet != "busybox":
            (target / applet).symlink_to("busybox")


def _install_content(package: Path, root: Path, globs: tuple[str, ...]) -> None:
    for glob in globs:
        found = sorted(path for path in package.glob(glob) if path.parts[-2] != "lib64")
        if not found:
            raise ImageBuildError(f"The package {package.name} has no {glob}: this recipe is for Debian 12.")
        for path in found:
            relative = path.relative_to(package)
            target = root / (Path("usr/lib/x86_64-linux-gnu") / path.name if ".so" in path.name else relative)
            target.unlink(missing_ok=True)  # an applet of the same name
            if path.is_symlink():
                target.symlink_to(os.readlink(path))
            else:
                shutil.copyfile(path, target)
                target.chmod(stat.S_IMODE(path.stat().st_mode))


RECIPE = Recipe(
    family="freehold-micro",
    name_prefix="freehold-micro-1.0-amd64",
    description="Freehold micro 1.0: busybox, dropbear and the Debian cloud kernel; boots in seconds",
    virtual_size=VIRTUAL_SIZE,
    minimum_memory=96,
    append=f"{KERNEL_OPTIONS} {_LEFT_OUT}",
    default_user="root",
    free_space=600 << 20,
    sources=(
        Path(__file__),
        *(Path(__file__).with_name(module) for module in ("initramfs.py", "kernel.py", "program.py", "recipe.py")),
        program.SOURCES,
        GUEST_FILES / "micro",
    ),
    assemble=assemble,
)
