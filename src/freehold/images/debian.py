"""The recipe of `debian-12`: Debian's own packages and cloud-init, trimmed for a quick start.

mmdebstrap installs the packages into a directory (about two minutes); kernel and initramfs are the same as the
micro image's, so that the machine boots without a bootloader. Measured under TCG with QEMU 7.2: SSH after 31.5 s
(median of 3), of which cloud-init takes two thirds; Debian as it comes, with its own initrd, takes 48.7 s. It boots
with 256 MiB; 512 MiB are comfortable. A clone of a template lets its users in before all that (guest/helper/debian.c).
"""

from __future__ import annotations

import re
from pathlib import Path

from freehold.images import SUITE, initramfs, kernel, program
from freehold.images.packages import fetch
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
from freehold.images.tools import run_tool

GUEST_FILES = Path(__file__).with_name("guest")
VIRTUAL_SIZE = 2 << 30
FILESYSTEM_UUID = "f4ee401d-0000-4000-8000-000000000012"

PACKAGES = (
    *(kernel.PACKAGE, "initramfs-tools", "systemd", "systemd-sysv", "systemd-resolved", "udev", "dbus"),
    *("cloud-init", "cloud-guest-utils", "fdisk", "openssh-server", "sudo", "iproute2", "netplan.io"),
    *("ca-certificates", "procps", "e2fsprogs", "curl", "less", "nano", "iputils-ping"),
    "qemu-guest-agent",  # udev starts it where there is a port for it
)
PROGRAMS = ("connect-keys", "running-sshd")
USER = "admin"  # in etc/cloud/cloud.cfg.d and guest/helper/debian.c too
# Units that wait or work for something no guest has; each costs a part of a second to some seconds under TCG.
MASKED = (
    *("systemd-networkd-wait-online.service", "systemd-pstore.service", "systemd-binfmt.service"),
    *("modprobe@drm.service", "modprobe@configfs.service", "modprobe@fuse.service", "getty@tty1.service"),
    *("e2scrub_all.timer", "e2scrub_reap.service", "apt-daily.timer", "apt-daily-upgrade.timer"),
    "dpkg-db-backup.timer",
)


def assemble(work: Path, output: Path, cache: Path, progress: Progress) -> list[str]:
    """Build the three files into `output`; the ingredients are the installed packages and their versions."""
    program.unpack_compiler(fetch(program.PACKAGES, cache / "packages", progress), work / "compiler")
    program.compile_program("debian", work / "compiler", work / "init")

    root = work / "rootfs"
    progress("installing Debian packages, which takes some minutes")
    run_tool(_mmdebstrap(root, work), env={"SOURCE_DATE_EPOCH": str(BUILD_TIME)}, on_line=progress)
    _customise(root)

    programs = root / "usr/lib/freehold"
    programs.mkdir()
    for name in PROGRAMS:
        program.compile_program(name, work / "compiler", programs / name)

    progress("packing the initramfs and the root file system")
    kernel.install(root, output / KERNEL, progress)
    initramfs.pack(work / "initramfs", output / INITRD, work / "init", root)
    pack_disk(root, output / DISK, size=VIRTUAL_SIZE, uuid=FILESYSTEM_UUID, ext4_options=(), compress=True)
    listing = run_tool(
        ("dpkg-query", f"--admindir={root / 'var/lib/dpkg'}", "--show", "--showformat=${Package} ${Version}\n")
    )
    return listing.decode().splitlines()


def _mmdebstrap(root: Path, work: Path) -> tuple[str, ...]:
    """The command that installs the packages, from the mirrors and with the proxies that this machine's apt uses.

    Where apt knows no mirror of the suite (Ubuntu), mmdebstrap takes its own default for Debian.
    """
    targets = run_tool(
        ("apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
    )
    mirrors = [
        f"deb {site} {release} main"
        for site, release, component in map(str.split, sorted(set(targets.decode().splitlines())))
        if component == "main" and re.fullmatch(f"{SUITE}(-updates|-security)?", release)
    ]
    acquire = work / "apt.conf"
    settings = run_tool(("apt-config", "dump")).decode().splitlines()
    kept = [line for line in settings if re.match(r"Acquire::(https?::|Check-|Retries|ForceIPv)", line)]
    acquire.write_text("\n".join(kept) + "\n")
    return (
        *("mmdebstrap", "--mode=root", "--variant=minbase", "--components=main", "--format=directory"),
        f"--include={','.join(PACKAGES)}",
        f"--aptopt={acquire}",
        '--aptopt=APT::Install-Recommends "false"',
        '--aptopt=Acquire::Languages "none"',
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")),
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        *(SUITE, str(root), *mirrors),
    )


def _customise(root: Path) -> None:
    """The configuration of the image, and away with everything that must differ from guest to guest."""
    install_files(GUEST_FILES / "debian", root)
    # What the first program says to cloud-init in one boot and not in the next.
    (root / "etc/cloud/cloud.cfg.d/95_freehold_boot.cfg").symlink_to("/run/freehold/cloud.cfg")
    # The user is there before cloud-init, which would make it alike; without a key or a password nobody is let in.
    options = ("--create-home", "--comment", "Debian", "--groups", "adm,systemd-journal", "--shell", "/bin/bash")
    run_tool(("chroot", str(root), "useradd", *options, USER), env={"SOURCE_DATE_EPOCH": str(BUILD_TIME)})
    for unit in MASKED:
        (root / "etc/systemd/system" / unit).unlink(missing_ok=True)
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    (root / "var/lib/dbus/machine-id").unlink(missing_ok=True)
    (root / "etc/machine-id").write_bytes(b"")
    (root / "etc/hostname").write_text("debian\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
    # The kernel and initramfs are beside the disk, not in it; the modules stay.
    for file in (root / "boot").glob("initrd.img-*"):
        file.unlink()


RECIPE = Recipe(
    family="debian-12",
    name_prefix="debian-12-amd64",
    description="Debian 12 (bookworm) with cloud-init; the default user is admin",
    virtual_size=VIRTUAL_SIZE,
    minimum_memory=256,
    append=f"{KERNEL_OPTIONS} net.ifnames=0",
    default_user=USER,
    free_space=4 << 30,
    sources=(
        Path(__file__),
        *(Path(__file__).with_name(module) for module in ("initramfs.py", "kernel.py", "program.py", "recipe.py")),
        program.SOURCES,
        GUEST_FILES / "debian",
    ),
    assemble=assemble,
    guest_agent=True,
)
