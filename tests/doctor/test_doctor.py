"""The doctor: what its checks see here and on machines that lack something, and that mending twice mends once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.doctor import checks, packages
from freehold.doctor.fix import make_tun, mend
from freehold.doctor.install import InstallError, parse_plan, refuse_to_disturb, service_units, services_kept_down

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
MEMORY = "memory"
"""What other programs leave of it while tests run is no matter of these."""


def doctor(*options: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-c", "from freehold.cli.app import app; app()", "doctor", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_this_machine_which_runs_the_tests_is_fit(tmp_path: Path) -> None:
    found = {finding.check: finding for finding in checks.examine(tmp_path, with_tests=True)}
    assert list(found) == [
        "system", "rights", "packages", "images", "tun", "namespaces", "cgroups", "disk", "memory", "kvm"
    ]  # fmt: skip
    for finding in found.values():
        if finding.check != MEMORY:
            assert finding.state in ("ok", "note"), finding
            assert (finding.remedy == "") == (finding.state == "ok")


def test_the_command_says_it_to_scripts_and_people(tmp_path: Path) -> None:
    answer = doctor("--json", "--data-dir", str(tmp_path / "not" / "yet"))
    found = json.loads(answer.stdout)
    assert {tuple(finding) for finding in found} == {("check", "state", "saw", "remedy")}
    lacking = [finding for finding in found if finding["state"] in ("mend", "fail")]
    assert answer.returncode == (1 if lacking else 0)
    assert {finding["check"] for finding in lacking} <= {MEMORY}
    assert not (tmp_path / "not").exists()
    lines = doctor("--data-dir", str(tmp_path)).stdout.splitlines()
    assert [line.split()[1] for line in lines] == [finding["check"] for finding in found]


def test_too_little_disk(tmp_path: Path) -> None:
    inside = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=8m none "$0" && exec "$@"', str(tmp_path))
    answer = doctor("--json", "--data-dir", str(tmp_path / "cloud"), before=inside)
    (disk,) = [finding for finding in json.loads(answer.stdout) if finding["check"] == "disk"]
    assert answer.returncode == 1
    assert (disk["state"], disk["saw"]) == ("fail", f"8 MiB free in {tmp_path}")
    assert disk["remedy"] == "Free 3064 MiB there, or give another --data-dir."
    fixed = doctor("--fix", "--data-dir", str(tmp_path / "cloud"), before=inside)
    assert fixed.returncode == 1
    assert "disk: 8 MiB free" in fixed.stderr


@pytest.fixture
def for_everyone() -> Iterator[Path]:
    """The doctor where any user can read it: the Makefile runs it with the system's own Python."""
    directory = Path(tempfile.mkdtemp(prefix="freehold-doctor-"))
    source = Path(checks.__file__).parent
    shutil.copytree(source, directory / "freehold" / "doctor", ignore=shutil.ignore_patterns("__pycache__"))
    (directory / "freehold" / "images").mkdir()
    for needed in ("__init__.py", "images/__init__.py"):
        shutil.copy(source.parent / needed, directory / "freehold" / needed)
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    yield directory
    shutil.rmtree(directory)


def test_who_is_not_root_is_told_so(for_everyone: Path) -> None:
    def as_nobody(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/usr/bin/python3", "-m", "freehold.doctor", *options],
            user="nobody",
            group="nogroup",
            extra_groups=[],
            cwd=for_everyone,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )

    looked = as_nobody()
    assert looked.returncode == 1
    assert "fail  rights      user 65534  Run this as root, for example with sudo." in looked.stdout.splitlines()
    mended = as_nobody("--fix")
    assert (mended.returncode, mended.stdout) == (1, "")
    assert mended.stderr == "rights: user 65534. Run this as root, for example with sudo.\n"


@pytest.mark.parametrize(
    ("text", "machine", "state", "remedy"),
    [
        (DEBIAN, "x86_64", "ok", ""),
        ('ID=debian\nPRETTY_NAME="Debian GNU/Linux trixie/sid"\n', "x86_64", "ok", ""),
        ('ID=ubuntu\nVERSION_ID="22.04"\n', "x86_64", "ok", ""),
        ('ID=ubuntu\nVERSION_ID="24.10"\n', "x86_64", "ok", ""),
        (DEBIAN.replace("12", "11"), "x86_64", "fail", "Freehold needs Debian 12 or newer."),
        ('ID=ubuntu\nVERSION_ID="20.04"\n', "x86_64", "fail", "Freehold needs Ubuntu 22.04 or newer."),
        ('ID=fedora\nVERSION_ID="41"\n', "x86_64", "fail", "Debian 12 or Ubuntu 22.04, or newer"),
        ('ID=debian\nVERSION_ID="rolling"\n', "x86_64", "fail", "Freehold needs Debian 12 or newer."),
        ("", "x86_64", "fail", "Debian 12 or Ubuntu 22.04, or newer"),
        (DEBIAN, "aarch64", "fail", "x86_64 machines only"),
    ],
)
def test_systems(tmp_path: Path, text: str, machine: str, state: str, remedy: str) -> None:
    (tmp_path / "os-release").write_text(text)
    finding = checks.check_system(tmp_path / "os-release", machine)
    assert (finding.state, remedy in finding.remedy) == (state, True), finding


def test_where_images_come_from(tmp_path: Path) -> None:
    assert checks.check_image_sources(tmp_path).state == "ok"
    for listing, state, remedy in (
        ("bookworm-updates bookworm-updates\nbookworm bookworm\n", "ok", ""),
        ("stable bookworm\n", "ok", ""),
        ("noble noble\nnoble-security noble\n", "fail", "Add a source of bookworm main"),
        ("bookworm-backports bookworm-backports\n", "fail", "or run Freehold on Debian 12"),
        ("", "note", "Debian 12's packages"),
    ):
        finding = checks.check_image_sources(tmp_path, listing)
        assert (finding.state, remedy in finding.remedy) == (state, True), finding
    (tmp_path / "images/ami-0123456789abcdef0").mkdir(parents=True)
    assert checks.check_image_sources(tmp_path, "noble noble\n").state == "note"


def test_parts_of_a_machine_that_lack(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    assert checks.check_system(nothing).state == "fail"
    assert checks.check_tun(nothing).state == "mend"
    assert checks.check_tun(tmp_path).state == "fail"
    assert checks.check_kvm(nothing).state == "note"
    assert checks.check_cgroups(nothing).state == "fail"
    (tmp_path / "cgroup.controllers").write_text("cpuset io pids\n")
    assert checks.check_cgroups(tmp_path).state == "fail"
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    assert checks.check_cgroups(tmp_path).state == "ok"
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  2000000 kB\nMemAvailable:  524288 kB\n")
    assert checks.check_memory(meminfo).remedy == "Free 512 MiB: stop what uses memory here."


def test_what_dpkg_says() -> None:
    listing = (
        "installed zstd\nconfig-files ovn-host\nnot-installed kmod\nhalf-configured cpio\n\ninstalled\nno such thing x"
    )
    assert packages.parse_status(listing) == {"zstd"}
    assert packages.installed(["dpkg", "no-such-package"]) == {"dpkg"}
    assert packages.missing(with_tests=True) == {}


def test_what_apt_plans_and_what_it_may_not() -> None:
    plan = parse_plan(
        "Reading package lists...\nInst libx [1.0] (1.1 Debian:12 [amd64])\n"
        "Inst qemu-utils:amd64 (7.2 Debian)\nConf libx\n"
    )
    assert [(package.name, package.old_version) for package in plan] == [("libx", "1.0"), ("qemu-utils", None)]
    refuse_to_disturb(plan)
    refuse_to_disturb(parse_plan("Inst ovn-host (22.03 Debian)\n"))
    with pytest.raises(InstallError, match="openvswitch-switch"):
        refuse_to_disturb(parse_plan("Inst openvswitch-switch [2.17] (3.1 Debian)\n"))
    files = (
        "/lib/systemd/system/ovn-host.service\n/usr/lib/systemd/system/a@.service\n/usr/lib/systemd/system/b.service"
    )
    assert service_units(files) == ["ovn-host.service", "b.service"]


def test_services_stay_down_while_packages_come(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with services_kept_down(policy):
        assert subprocess.run([policy, "openvswitch-switch", "start"], check=False).returncode == 101
    assert not policy.exists()
    with pytest.raises(RuntimeError), services_kept_down(policy):
        raise RuntimeError
    assert not policy.exists()
    policy.write_text("#!/bin/sh\nexit 0\n")
    policy.chmod(0o755)
    with pytest.raises(InstallError, match="lets services start"), services_kept_down(policy):
        pass
    policy.write_text("#!/bin/sh\nexit 101\n")
    with services_kept_down(policy):
        pass
    assert policy.exists()


def test_what_is_here_is_not_made_again(tmp_path: Path) -> None:
    status, said = Path("/var/lib/dpkg/status"), list[str]()
    before = status.stat()
    for _ in range(2):
        mend(tmp_path, with_tests=True, progress=said.append)
    after = status.stat()
    assert said == []
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    device = tmp_path / "net" / "tun"
    make_tun(device)
    made = device.stat()
    make_tun(device)
    assert (device.stat().st_ino, made.st_rdev, made.st_mode & 0o777) == (made.st_ino, os.makedev(10, 200), 0o666)
    device.unlink()
