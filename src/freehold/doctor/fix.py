"""`doctor --fix`: mend what a program may mend."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

from freehold.doctor import packages
from freehold.doctor.checks import check_tun, examine
from freehold.doctor.install import InstallError, Progress, install

_TUN_DEVICE = os.makedev(10, 200)  # Documentation/admin-guide/devices.txt of Linux


def mend(data_dir: Path, with_tests: bool, progress: Progress) -> None:
    """Make this machine fit. Does nothing, and says nothing, on a machine that is.

    Raises InstallError with one sentence, before anything is changed, when something is wrong that only the owner of
    the machine can change.
    """
    findings = examine(data_dir, with_tests)
    for finding in findings:
        if finding.state == "fail":
            raise InstallError(f"{finding.check}: {finding.saw}. {finding.remedy}")
    lacking = packages.missing(with_tests)
    if lacking:
        progress(f"system packages to install: {' '.join(lacking)}")
        install(list(lacking), progress)
    if check_tun().state == "mend":
        progress("making /dev/net/tun")
        make_tun()


def make_tun(device: Path = Path("/dev/net/tun")) -> None:
    """Load the tun driver; make its device where no udev does (containers)."""
    subprocess.run(["/sbin/modprobe", "tun"], stderr=subprocess.DEVNULL, check=False)  # it may be built in
    if not device.exists():
        device.parent.mkdir(exist_ok=True)
        os.mknod(device, 0o666 | stat.S_IFCHR, _TUN_DEVICE)
        device.chmod(0o666)
