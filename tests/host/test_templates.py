"""Launches as clones of a template: the real agent, templates that it makes, guests that must not be alike."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

from freehold.processes import guests
from tests.host.plane import AgentProcess, Plane, guest_spec, leftovers
from tests.ovn import Cloud, wait_until

POOL = IPv4Network("198.18.4.0/28")
READY = b"freehold-micro ready"


def wait_for_template(agent: AgentProcess, number: int = 1) -> None:
    """Until the agent has said so many times that a template is ready."""
    wait_until(lambda: agent.log.read_text().count('"event": "template ready"') >= number, "a template is ready", 120)


def is_clone(plane: Plane, instance_id: str) -> bool:
    pid = guests(plane.paths.tag)[instance_id].pid
    return b"\0-incoming\0" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_the_first_launch_boots_and_the_next_is_a_clone(
    plane: Plane, agent: AgentProcess, image_id: str, data_dir: Path, cloud: Cloud
) -> None:
    spec = guest_spec(1, image_id)
    plane.assign(spec)
    plane.wait_for_state(spec.instance_id, "running")
    assert not is_clone(plane, spec.instance_id)
    wait_for_template(agent)
    other = guest_spec(2, image_id)
    plane.assign(other)
    plane.wait_for_state(other.instance_id, "running")
    assert is_clone(plane, other.instance_id)
    plane.wait_for_console(other.instance_id, READY)
    for each in (spec, other):
        plane.want(each.instance_id, "absent")
        plane.wait_for_state(each.instance_id, "absent")
    assert leftovers(data_dir, cloud.paths.switch) == []
