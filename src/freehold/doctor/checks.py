"""Checks of the machine. Each is one function that looks and changes nothing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from freehold.doctor import packages
from freehold.images import SUITE

MIB = 1 << 20
DISK_FREE_MIB_MIN = 3072
MEMORY_FREE_MIB_MIN = 1024
DEFAULT_DATA_DIR = Path("/var/lib/freehold")

# Distribution → its first release whose QEMU, OVN and Python are new enough.
SUPPORTED = {"debian": (12, "Debian 12"), "ubuntu": (22.04, "Ubuntu 22.04")}


@dataclass(frozen=True)
class Finding:
    """What a check saw. `state`: ``ok``, ``note`` (works, but worth knowing), ``mend`` (``doctor --fix`` mends it) or
    ``fail`` (the owner has to act). `remedy` is a sentence, empty when there is nothing to do."""

    check: str
    state: str
    saw: str
    remedy: str = ""


def examine(data_dir: Path, with_tests: bool = False, with_sources: bool = True) -> list[Finding]:
    """All checks, those first without which nothing can be mended. `with_sources`: those of images too, for which apt
    takes a second."""
    return [
        check_system(),
        check_rights(),
        check_packages(with_tests),
        *([check_image_sources(data_dir)] if with_sources else []),
        check_tun(),
        check_namespaces(),
        check_cgroups(),
        check_disk(data_dir),
        check_memory(),
        check_kvm(),
    ]


def check_system(os_release: Path = Path("/etc/os-release"), machine: str | None = None) -> Finding:
    machine = machine or platform.machine()
    fields = parse_os_release(os_release.read_text()) if os_release.exists() else {}
    name = fields.get("PRETTY_NAME", platform.system())
    if machine != "x86_64":
        return Finding("system", "fail", f"{name} on {machine}", "Freehold runs on x86_64 machines only.")
    if fields.get("ID") not in SUPPORTED or not shutil.which("apt-get"):
        return Finding("system", "fail", name, "Freehold runs on Debian 12 or Ubuntu 22.04, or newer releases of them.")
    minimum, minimum_name = SUPPORTED[fields["ID"]]
    # Debian testing and unstable have no VERSION_ID: they are newer than any release.
    version = re.match(r"\d+(\.\d+)?", fields.get("VERSION_ID", ""))
    if "VERSION_ID" in fields and (version is None or float(version[0]) < minimum):
        return Finding("system", "fail", name, f"Freehold needs {minimum_name} or newer.")
    return Finding("system", "ok", f"{name}, {machine}")


def parse_os_release(text: str) -> dict[str, str]:
    """The fields of os-release(5)."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}


def check_rights() -> Finding:
    if os.geteuid() != 0:
        return Finding("rights", "fail", f"user {os.geteuid()}", "Run this as root, for example with sudo.")
    return Finding("rights", "ok", "root")


def check_packages(with_tests: bool = False) -> Finding:
    if not shutil.which("dpkg-query"):
        return Finding("packages", "fail", "no dpkg", "Freehold needs a Debian or Ubuntu system.")
    lacking = packages.missing(with_tests)
    if lacking:
        return Finding("packages", "mend", f"missing: {' '.join(lacking)}", "Run `freehold doctor --fix`.")
    return Finding("packages", "ok", f"all {len(packages.needed(with_tests))} installed")


def check_image_sources(data_dir: Path, listing: str | None = None) -> Finding:
    """Whether apt offers what the built-in images are made of. `listing`: the releases that apt has lists of."""
    if listing is None:
        command = ["apt-get", "indextargets", "--format", "$(RELEASE) $(CODENAME)", "Created-By: Packages"]
        listing = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    if SUITE in listing.split():
        return Finding("images", "ok", "apt offers Debian 12's packages")
    if any((data_dir / "images").glob("ami-*")):
        return Finding("images", "note", "built already", f"To build others, add a source of {SUITE} main to apt's.")
    if not listing.strip():  # a fresh machine, or a container: they come with `apt-get update`
        return Finding("images", "note", "apt has no package lists yet", "Images are made of Debian 12's packages.")
    return Finding(
        "images",
        "fail",
        "apt offers no packages of Debian 12, which the built-in images are made of",
        f"Add a source of {SUITE} main to apt's, or run Freehold on Debian 12.",
    )


def check_tun(device: Path = Path("/dev/net/tun")) -> Finding:
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return Finding("tun", "mend", f"{device} is missing", "Run `freehold doctor --fix`.")
    except OSError as error:
        return Finding("tun", "fail", f"{device}: {error.strerror}", "Let this machine use /dev/net/tun.")
    return Finding("tun", "ok", str(device))


def check_namespaces() -> Finding:
    tried = subprocess.run(
        ["/usr/bin/unshare", "--net", "--mount", "true"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if tried.returncode != 0:
        saw = tried.stderr.strip().splitlines()[-1:] or ["refused"]
        return Finding(
            "namespaces", "fail", saw[0], "Let this machine make network namespaces (a privileged container)."
        )
    return Finding("namespaces", "ok", "may be made")


def check_cgroups(root: Path = Path("/sys/fs/cgroup")) -> Finding:
    if (root / "cgroup.controllers").exists():
        controllers = (root / "cgroup.controllers").read_text().split()
        if {"cpu", "memory"} <= set(controllers):
            return Finding("cgroups", "ok", "version 2")
    elif (root / "cpu").is_dir() and (root / "memory").is_dir():
        return Finding("cgroups", "ok", "version 1")
    return Finding(
        "cgroups", "fail", "no cpu and memory controllers", "Boot with the cpu and memory cgroup controllers enabled."
    )


def check_disk(data_dir: Path) -> Finding:
    existing = next(place for place in (data_dir, *data_dir.absolute().parents) if place.exists())
    free = shutil.disk_usage(existing).free // MIB
    saw = f"{free} MiB free in {existing}"
    if free < DISK_FREE_MIB_MIN:
        return Finding("disk", "fail", saw, f"Free {DISK_FREE_MIB_MIN - free} MiB there, or give another --data-dir.")
    return Finding("disk", "ok", saw)


def check_memory(meminfo: Path = Path("/proc/meminfo")) -> Finding:
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    free = int(fields["MemAvailable"].split()[0]) // 1024
    saw = f"{free} MiB available"
    if free < MEMORY_FREE_MIB_MIN:
        return Finding("memory", "fail", saw, f"Free {MEMORY_FREE_MIB_MIN - free} MiB: stop what uses memory here.")
    return Finding("memory", "ok", saw)


def check_kvm(device: Path = Path("/dev/kvm")) -> Finding:
    if not device.exists():
        return Finding("kvm", "note", "none", "Servers run under QEMU's own emulation: slower, otherwise the same.")
    return Finding("kvm", "ok", "present; the host agent boots a probe under it before it trusts it")


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this loopback TCP port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
