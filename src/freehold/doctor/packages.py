"""The system packages that Freehold needs, and which of them are here."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

# Debian package → what Freehold needs it for. Ubuntu has the same names.
NEEDED = {
    "qemu-system-x86": "runs the servers",
    "qemu-utils": "makes disks (qemu-img)",
    "ovmf": "firmware of servers that boot by UEFI",
    "openvswitch-switch": "the switch that every packet of a server crosses",
    "ovn-central": "virtual networks: databases and ovn-northd",
    "ovn-host": "virtual networks: ovn-controller",
    "iproute2": "namespaces, links, routes (ip)",
    "ethtool": "sets offloads of virtual links",
    "nftables": "keeps guests in their network; translates addresses at the uplink (nft)",
    "openssh-client": "freehold ssh, make demo",
    "libjpeg-turbo-progs": "pictures of servers' screens (cjpeg)",
    "tcc": "compiles what lets servers that are clones give memory back",
    "e2fsprogs": "makes file systems of images (mke2fs)",
    "cpio": "packs the boot archive of images",
    "lz4": "unpacks Debian's kernel",
    "zstd": "unpacks Debian's packages",
    "xz-utils": "unpacks Debian's packages",
    "mmdebstrap": "builds the debian-12 image",
    "kmod": "loads the tun module",
    "ca-certificates": "lets pip check whom it talks to",
}

# Only `make test` needs these.
NEEDED_BY_TESTS = {
    "postgresql": "the records are tested on SQLite and on PostgreSQL",
    "busybox": "the network is tested with its DHCP client",
    "cryptsetup-bin": "encrypted volumes are opened with it",
    "softhsm2": "stands for the token that may guard the root key",
    "iputils-ping": "the network is tested by ping",
    "fdisk": "makes the partition table of a disk like a distribution's (sfdisk)",
    "mtools": "makes the EFI system partition of such a disk",
}

MINIMUM_PYTHON = (3, 11)


def needed(with_tests: bool = False) -> dict[str, str]:
    """Package → reason, for this machine."""
    wanted = {**NEEDED, **(NEEDED_BY_TESTS if with_tests else {})}
    if find_spec("ensurepip") is None or find_spec("venv") is None:
        wanted["python3-venv"] = "makes the virtual environment"
    if sys.version_info < MINIMUM_PYTHON:
        wanted["python3.11-venv"] = "Freehold needs Python 3.11 or newer"
    return wanted


def installed(names: list[str]) -> set[str]:
    """Those of the packages that dpkg has installed and configured."""
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package}\n", *names]
    # It ends with 1 when it does not know one of the packages, and lists the others all the same.
    answer = subprocess.run(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return parse_status(answer.stdout)


def parse_status(listing: str) -> set[str]:
    """Names of installed packages in lines of ``STATUS PACKAGE``: not those in ``config-files`` (removed)."""
    pairs = (line.split() for line in listing.splitlines())
    return {fields[1] for fields in pairs if len(fields) == 2 and fields[0] == "installed"}


def missing(with_tests: bool = False) -> dict[str, str]:
    """Package → reason, of those not installed."""
    wanted = needed(with_tests)
    present = installed(list(wanted))
    return {name: reason for name, reason in wanted.items() if name not in present}
