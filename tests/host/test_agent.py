"""The real host agent with real guests: told over its link what should be, and what then is."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

from tests.host.plane import AgentProcess, Plane, guest_spec, leftovers
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
