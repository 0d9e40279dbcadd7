"""The real host agent with real guests: told over its link what should be, and what then is."""

from __future__ import annotations

import base64
import os
import signal
from ipaddress import IPv4Network
from pathlib import Path

from freehold.processes import guests
from tests.host.plane import AgentProcess, Plane, guest_spec, key_of, leftovers
from tests.ovn import Cloud

POOL = IPv4Network("203.0.113.0/28")


def test_a_guest_boots_hears_the_power_button_and_leaves_nothing(
    plane: Plane, agent: AgentProcess, image_id: str, data_dir: Path, cloud: Cloud
) -> None:
    """Stopping by ACPI proves that the guest's own system runs: within the grace, QEMU is not ended by force."""
    spec = guest_spec(1, image_id)
    plane.assign(spec)
    plane.wait_for_state(spec.instance_id, "running")
    plane.want(spec.instance_id, "stopped", shutdown_grace_seconds=3600)
    stopped = plane.wait_for_state(spec.instance_id, "stopped")
    assert not stopped.guest_shutdown
    plane.want(spec.instance_id, "running")
    plane.wait_for_state(spec.instance_id, "running")
    plane.want(spec.instance_id, "absent")
    plane.wait_for_state(spec.instance_id, "absent")
    assert leftovers(data_dir, cloud.paths.switch) == []


def test_the_keys_of_volumes_are_in_memory_alone(
    plane: Plane, agent: AgentProcess, image_id: str, data_dir: Path
) -> None:
    spec = guest_spec(2, image_id)
    plane.assign(spec)
    plane.wait_for_state(spec.instance_id, "running")
    (volume,) = spec.volumes
    key = key_of(volume.volume_id)
    pid = guests(plane.paths.tag)[spec.instance_id].pid
    places = [Path(f"/proc/{each}/{file}") for each in (pid, agent.process.pid) for file in ("cmdline", "environ")]
    places += [path for path in data_dir.rglob("*") if path.is_file() and path.stat().st_size < 64 << 20]
    assert plane.paths.host / "guests" / spec.instance_id / "spec.json" in places
    for form in (key, key.hex().encode(), base64.b64encode(key)):
        assert [place for place in places if form in place.read_bytes()] == []
    plane.want(spec.instance_id, "absent")
    plane.wait_for_state(spec.instance_id, "absent")


def test_a_new_agent_needs_keys_for_guests_that_have_ended_and_for_no_others(
    plane: Plane, agent: AgentProcess, image_id: str
) -> None:
    spec = guest_spec(3, image_id)
    (volume,) = spec.volumes
    plane.assign(spec)
    plane.wait_for_state(spec.instance_id, "running")
    pid = guests(plane.paths.tag)[spec.instance_id].pid

    plane.withheld.add(volume.volume_id)
    agent.end(signal.SIGKILL)
    plane.guests.clear()
    agent.start()
    plane.wait_for_state(spec.instance_id, "running")
    plane.want(spec.instance_id, "running", reboots=1)
    plane.wait_for_state(spec.instance_id, "running")
    assert guests(plane.paths.tag)[spec.instance_id].pid == pid

    os.kill(pid, signal.SIGKILL)
    assert volume.volume_id in (plane.wait_for_state(spec.instance_id, "failed").message or "")
    plane.withheld.clear()
    plane.assign(plane.specs[spec.instance_id])
    plane.wait_for_state(spec.instance_id, "running")
    plane.want(spec.instance_id, "absent")
    plane.wait_for_state(spec.instance_id, "absent")
