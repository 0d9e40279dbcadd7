"""The supervisor and real processes: order, return after kill -9, adoption, and whom it does not touch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from freehold import processes, supervisor
from freehold.supervisor_status import read_status
from tests.ovn import wait_until

# Keeps the parts of parts.json, each ready once its file <name>.ready is there, as long as no guest of "0badc0de" runs.
SUPERVISOR = """
import json, os, sys
from pathlib import Path
from freehold.processes import guests
from freehold.supervisor import AlreadyRunning, Part, Supervisor, only_supervisor
top = Path(sys.argv[1])
def part(name, argv, outlives):
    return Part(name, tuple(argv), {"PATH": os.environ["PATH"], "TOP": str(top)}, (top / f"{name}.ready").exists,
                (top / f"{name}.started").touch, outlives=outlives)
try:
    with only_supervisor(top / "run"):
        parts = tuple(part(*each) for each in json.loads((top / "parts.json").read_text()))
        Supervisor(parts, top / "run", top / "log", {"port": 1}, lambda: bool(guests("0badc0de"))).run()
except AlreadyRunning as error:
    sys.exit(str(error))
"""
LASTING = ["sleep", "1000"]
FIRST_LASTING = ["sleep", "1001"]


class Kept:
    """A supervisor under test."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.process: subprocess.Popen[str] | None = None

    def start(self, *parts: tuple[str, list[str]], ready: bool = True, outlives: bool = False) -> None:
        (self.top / "parts.json").write_text(json.dumps([(*part, outlives) for part in parts]))
        for name, _ in parts if ready else ():
            (self.top / f"{name}.ready").touch()
        self.process = self.another()

    def another(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, str(self.top)], stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def status(self) -> dict[str, Any]:
        return read_status(self.top / "run") or {"state": "none", "parts": []}

    def part(self, name: str) -> dict[str, Any]:
        return next((part for part in self.status()["parts"] if part["name"] == name), {"state": "none", "pid": None})

    def wait(self, state: str = "running") -> None:
        wait_until(lambda: self.status()["state"] == state, f"the supervisor is {state}")

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.communicate(timeout=30)
        self.process = None


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    kept = Kept(tmp_path)
    yield kept
    if kept.process is not None:
        kept.end()
    for file in (tmp_path / "run").glob("*.pid"):
        if found := processes.registered(file):
            processes.end(found[0], 1)


def test_parts_start_in_order_each_when_the_one_before_is_ready(kept: Kept) -> None:
    kept.start(("first", FIRST_LASTING), ("second", LASTING), ready=False)
    wait_until(lambda: kept.part("first")["state"] == "starting", "the first starts")
    assert kept.part("second")["state"] == "waiting"
    assert not (kept.top / "first.started").exists()
    (kept.top / "first.ready").touch()
    wait_until(lambda: kept.part("second")["state"] == "starting", "the second starts")
    assert (kept.top / "first.started").exists()
    (kept.top / "second.ready").touch()
    kept.wait()


def test_what_is_killed_comes_back_and_the_others_stay(kept: Kept) -> None:
    kept.start(("first", FIRST_LASTING), ("second", LASTING))
    kept.wait()
    first, second = kept.part("first")["pid"], kept.part("second")["pid"]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: kept.part("first")["pid"] not in (first, None), "the first is started again")
    kept.wait()
    assert kept.part("first")["restarts"] == 1
    assert kept.part("first")["last_end"] == "signal SIGKILL"
    assert kept.part("second")["pid"] == second


def test_what_keeps_ending_is_tried_again_and_said(kept: Kept) -> None:
    kept.start(("lasting", FIRST_LASTING), ("ending", ["sh", "-c", "echo no disk; exit 3"]), ready=False)
    (kept.top / "lasting.ready").touch()
    wait_until(lambda: kept.part("ending").get("restarts", 0) >= 3, "three tries")
    assert kept.part("ending")["last_end"] == "exit 3"
    assert kept.part("lasting")["state"] == "running"
    assert "no disk" in (kept.top / "log" / "ending.log").read_text()


def test_a_program_that_is_missing_is_a_failed_start(kept: Kept) -> None:
    kept.start(("missing", ["/nonexistent/program"]))
    wait_until(lambda: kept.part("missing").get("restarts", 0) >= 1, "a try")
    assert "could not be started" in kept.part("missing")["last_end"]


def test_the_end_leaves_nothing(kept: Kept) -> None:
    kept.start(("first", FIRST_LASTING), ("second", LASTING))
    kept.wait()
    pids = [part["pid"] for part in kept.status()["parts"]]
    kept.end()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert kept.status()["state"] == "none"


def test_a_part_that_does_not_listen_is_killed_in_the_end(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"]
    keeper = supervisor.Keeper(supervisor.Part("deaf", tuple(deaf), dict(os.environ), lambda: True), kept.top, kept.top)
    monkeypatch.setattr(supervisor, "STOP_SECONDS_MAX", 0.5)
    keeper.start()
    wait_until(lambda: keeper.log.read_text() == "deaf\n", "it is deaf")
    assert keeper.who is not None
    pid = keeper.who.pid
    keeper.stop()
    assert not Path(f"/proc/{pid}").exists()


def test_what_a_dead_supervisor_left_is_adopted(kept: Kept) -> None:
    kept.start(("first", FIRST_LASTING), ("second", LASTING))
    kept.wait()
    pids = [part["pid"] for part in kept.status()["parts"]]
    kept.end(signal.SIGKILL)
    assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    kept.start(("first", FIRST_LASTING), ("second", LASTING))
    kept.wait()
    assert [part["pid"] for part in kept.status()["parts"]] == pids
    os.kill(pids[0], signal.SIGKILL)
    wait_until(lambda: kept.part("first")["pid"] not in (pids[0], None), "the adopted one is started again")


def test_what_runs_otherwise_than_it_should_is_started_anew(kept: Kept) -> None:
    kept.start(("first", FIRST_LASTING))
    kept.wait()
    old = kept.part("first")["pid"]
    kept.end(signal.SIGKILL)
    kept.start(("first", LASTING))
    kept.wait()
    assert kept.part("first")["pid"] != old
    wait_until(lambda: processes.identity(old) is None, "the old one has ended")


def test_a_stranger_with_the_process_id_is_not_touched(kept: Kept) -> None:
    stranger = subprocess.Popen(FIRST_LASTING)
    try:
        (kept.top / "run").mkdir()
        registered = {"pid": stranger.pid, "start": 1, "boot": processes.boot_id(), "argv": LASTING}
        (kept.top / "run" / "first.pid").write_text(json.dumps(registered))
        kept.start(("first", LASTING))
        kept.wait()
        assert kept.part("first")["pid"] != stranger.pid
        kept.end()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_there_is_one_supervisor(kept: Kept) -> None:
    kept.start(("first", FIRST_LASTING))
    kept.wait()
    second = kept.another()
    _, said = second.communicate(timeout=30)
    assert second.returncode == 1
    assert said == f"Another supervisor keeps the cloud of {kept.top}.\n"


@pytest.mark.parametrize("guest", [True, False])
def test_the_data_path_stays_while_guests_run(kept: Kept, guest: bool) -> None:
    kept.start(("switch", FIRST_LASTING), outlives=True)
    kept.wait()
    pid = kept.part("switch")["pid"]
    name = f"guest=freehold-{'0badc0de' if guest else '0ther000'}-i-0123456789abcdef0"
    machine = subprocess.Popen(["sh", "-c", "sleep 1000; :", "-name", name], start_new_session=True)
    # Its start is said to be done before the kernel shows its arguments.
    wait_until(lambda: name in Path(f"/proc/{machine.pid}/cmdline").read_text(), "the machine has its name")
    try:
        kept.end()
        assert (processes.identity(pid) is not None) == guest
        assert machine.poll() is None
    finally:
        os.killpg(machine.pid, signal.SIGKILL)
        machine.wait()


def test_logs_are_bounded(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOG_BYTES_MAX", 1000)
    go_on = kept.top / "go on"
    script = 'printf %s "$1"; until [ -e "$2" ]; do sleep 0.02; done; printf end'
    argv = ("sh", "-c", script, "sh", "x" * 2000, str(go_on))
    part = supervisor.Part("writer", argv, dict(os.environ), lambda: True)
    keeper = supervisor.Keeper(part, kept.top, kept.top)
    keeper.start()
    wait_until(lambda: keeper.log.stat().st_size >= 2000, "it has written much")
    keeper.bound_log()
    assert keeper.log.with_suffix(".log.1").stat().st_size == 2000
    go_on.touch()
    wait_until(lambda: keeper.log.read_text() == "end", "it goes on at the beginning of the log")
    keeper.stop()
