"""Installing system packages so that no service starts and nothing that runs is disturbed.

Debian starts the services of a package as it is installed, Open vSwitch and OVN among them. It asks
``/usr/sbin/policy-rc.d`` first (https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt): while we
install, that says no. Only packages that are missing are installed, none is upgraded or removed, and units that came
with them are kept from starting at the next boot.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, NoReturn  # noqa: UP035 - collections.abc's is not the one that old Pythons subscribe

Progress = Callable[[str], None]

POLICY = Path("/usr/sbin/policy-rc.d")
_MARK = "Freehold: no service starts while its packages are installed; removed afterwards."
_POLICY_TEXT = f"#!/bin/sh\n# {_MARK}\nexit 101\n"
_DENIED = 101

_APT = ["apt-get", "--yes", "--no-install-recommends", "--no-upgrade", "--no-remove"]
_QUIET = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C", "NEEDRESTART_SUSPEND": "1", "UCF_FORCE_CONFFOLD": "1"}
_LOCK_WAIT_SECONDS = 300


class InstallError(Exception):
    """Packages could not be installed; one sentence that says why and what to do."""


def install(names: list[str], progress: Progress) -> list[str]:
    """Install packages; returns the names of all that came, dependencies included.

    Raises InstallError before anything is changed where the installation would upgrade Open vSwitch or OVN that are
    here already, or remove something.
    """
    plan = _simulate(names)
    if plan is None:
        _refresh_lists(progress)
        plan = _simulate(names)
    if plan is None:
        raise InstallError(f"apt-get does not find {' '.join(names)}: check the package sources in /etc/apt.")
    refuse_to_disturb(plan)
    with services_kept_down():
        progress(f"installing {len(plan)} packages")
        arguments = [*_APT, "install", *names]
        failure = _apt(arguments, progress)
        if failure:  # lists older than the archive name files that it no longer has
            _refresh_lists(progress)
            failure = _apt(arguments, progress)
        if failure:
            raise InstallError(f"apt-get could not install the packages: {failure}")
        came = [package.name for package in plan if package.old_version is None]
        _keep_from_boot(came)
    return came


class PlannedPackage:
    """One ``Inst`` line of ``apt-get --simulate``; `old_version` None = not installed yet."""

    def __init__(self, name: str, old_version: str | None) -> None:
        self.name = name
        self.old_version = old_version


def parse_plan(simulation: str) -> list[PlannedPackage]:
    """The packages that apt-get would install or upgrade."""
    lines = re.finditer(r"^Inst (\S+)(?: \[([^\]]+)\])?", simulation, re.MULTILINE)
    return [PlannedPackage(line[1].partition(":")[0], line[2]) for line in lines]


def refuse_to_disturb(plan: list[PlannedPackage]) -> None:
    """Raise InstallError if the plan upgrades an Open vSwitch or OVN that may be running."""
    upgraded = [p.name for p in plan if p.old_version is not None and p.name.startswith(("openvswitch", "ovn"))]
    if upgraded:
        raise InstallError(
            f"Installing would upgrade {', '.join(upgraded)}, which may be in use here: upgrade it yourself when it "
            "suits (apt-get install --only-upgrade), then run this again."
        )


def _simulate(names: list[str]) -> list[PlannedPackage] | None:
    answer = subprocess.run(
        [*_APT, "--simulate", "install", *names],
        capture_output=True,
        text=True,
        env={**os.environ, **_QUIET},
        check=False,
    )
    if answer.returncode == 0:
        return parse_plan(answer.stdout)
    return None


def _refresh_lists(progress: Progress) -> None:
    progress("fetching the package lists")
    failure = _apt(["apt-get", "update"], progress)
    if failure:
        raise InstallError(f"apt-get could not fetch the package lists: {failure}")


def _apt(arguments: list[str], progress: Progress) -> str:
    """Run apt-get, passing on its progress; returns the last line of what it wrote if it failed, else nothing.

    The lines of its status descriptor are ``KIND:PACKAGE:PERCENT:TEXT`` (apt's README.progress-reporting).
    """
    reading, writing = os.pipe()
    with tempfile.TemporaryFile("w+") as output, os.fdopen(reading, errors="replace") as status:
        options = ["-o", f"APT::Status-Fd={writing}", "-o", f"DPkg::Lock::Timeout={_LOCK_WAIT_SECONDS}"]
        process = subprocess.Popen(
            [arguments[0], *options, *arguments[1:]],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(writing,),
            env={**os.environ, **_QUIET},
            start_new_session=True,  # a Ctrl-C must not cut dpkg in the middle of a package
        )
        os.close(writing)
        said = 0.0
        for line in status:
            fields = line.split(":", 3)
            if len(fields) == 4 and time.monotonic() - said > 1:
                said = time.monotonic()
                progress(f"{float(fields[2]):3.0f} %  {fields[3].strip()}")
        if process.wait() == 0:
            return ""
        output.seek(0)
        lines = [line.strip() for line in output if line.strip()]
        errors = [line for line in lines if line.startswith("E:")] or lines[-1:] or ["it said nothing"]
        return errors[0]


@contextlib.contextmanager
def services_kept_down(policy: Path = POLICY) -> Iterator[None]:
    """No package's service starts inside this block. A policy that is here already stays, if it too says no.

    Raises InstallError if it says yes.
    """
    ours = not policy.exists() or _MARK in policy.read_text(errors="replace")  # left by an installation that was killed
    if not ours:
        answer = subprocess.run([policy, "openvswitch-switch", "start"], stdin=subprocess.DEVNULL, check=False)
        if answer.returncode != _DENIED:
            raise InstallError(
                f"{policy} lets services start, and Freehold's packages must not: move it away for the installation."
            )
        yield
        return
    with _signals_raise():
        policy.write_text(_POLICY_TEXT)
        policy.chmod(0o755)
        try:
            yield
        finally:
            policy.unlink(missing_ok=True)


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind the block, as SIGINT does already."""

    def stop(number: int, _frame: Any) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _keep_from_boot(came: list[str]) -> None:
    """Disable the services of Open vSwitch, OVN and PostgreSQL that we brought in: Freehold starts its own."""
    if not Path("/bin/systemctl").exists():
        return
    units = []
    for name in came:
        if name.startswith(("openvswitch", "ovn", "postgresql")):
            listing = subprocess.run(
                ["/usr/bin/dpkg", "--listfiles", name], stdout=subprocess.PIPE, text=True, check=True
            )
            units += service_units(listing.stdout)
    if units:
        # Works on the unit files, whether or not systemd runs.
        subprocess.run(["/bin/systemctl", "--quiet", "disable", *units], stderr=subprocess.DEVNULL, check=False)


def service_units(files: str) -> list[str]:
    """The systemd services among a package's files, templates left out."""
    return re.findall(r"^(?:/usr)?/lib/systemd/system/([^/@\n]+\.service)$", files, re.MULTILINE)
