"""A guest's process: found among all, and then only looked at."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from freehold import processes
from freehold.host.cgroup import Cgroups
from freehold.host.effects import Effects
from freehold.host.hypervisor import process
from freehold.host.layout import Layout, process_name
from freehold.host.machine import Machine
from freehold.host.ports.vswitch import Vswitch
from freehold.paths import Paths

INSTANCE = "i-0123456789abcdef0"


def test_a_process_that_was_found_is_not_looked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(Paths(tmp_path))
    machine = Machine(layout, "tcg", Vswitch(layout.ovsdb), Cgroups(layout.tag, ()), Effects())
    assert machine.find(INSTANCE) is None
    name = f"guest={process_name(layout.tag, INSTANCE)}"
    with subprocess.Popen(("sh", "-c", "echo; read line", "qemu", "-name", name), stdin=-1, stdout=-1) as guest:
        assert guest.stdout is not None
        guest.stdout.readline()
        assert machine.find(INSTANCE) == guest.pid

        looked_for: list[str] = []

        def look_for(tag: str, instance_id: str) -> processes.Identity | None:
            looked_for.append(instance_id)
            return processes.guests(tag).get(instance_id)

        monkeypatch.setattr(process, "find", look_for)
        assert machine.find(INSTANCE) == machine.find(INSTANCE) == guest.pid
        assert looked_for == []
        os.kill(guest.pid, signal.SIGKILL)
    assert machine.find(INSTANCE) is None
    assert looked_for == [INSTANCE]
