"""A guest whose QEMU ended by itself, or with its host: started again, unless its owner wants none of that."""

from __future__ import annotations

import os
import signal
from ipaddress import IPv4Network

from msgspec.structs import replace

from freehold.processes import guests
from tests.host.plane import AgentProcess, Plane, guest_spec

POOL = IPv4Network("198.18.7.80/28")


def kill(plane: Plane, instance_id: str) -> int:
    """End a guest's QEMU; its process id."""
    pid = guests(plane.paths.tag)[instance_id].pid
    os.kill(pid, signal.SIGKILL)
    return pid


def test_a_guest_is_recovered_also_after_its_host_was_away(plane: Plane, agent: AgentProcess, image_id: str) -> None:
    spec = guest_spec(1, image_id)
    plane.assign(spec)
    plane.wait_for_state(spec.instance_id, "running")
    plane.states.clear()
    first = kill(plane, spec.instance_id)
    plane.wait_for(lambda: (spec.instance_id, "running") in plane.states, "it is recovered")
    second = guests(plane.paths.tag)[spec.instance_id].pid
    assert second != first

    # As after a loss of power: neither the agent nor the guest is there.
    agent.end(signal.SIGKILL)
    kill(plane, spec.instance_id)
    plane.guests.clear()
    agent.start()
    plane.wait_for_state(spec.instance_id, "running")
    assert guests(plane.paths.tag)[spec.instance_id].pid != second
    plane.want(spec.instance_id, "absent")
    plane.wait_for_state(spec.instance_id, "absent")


def test_without_recovery_it_stays_as_it_is_until_it_is_started(
    plane: Plane, agent: AgentProcess, image_id: str
) -> None:
    spec = guest_spec(2, image_id, auto_recovery=False)
    plane.assign(spec)
    plane.wait_for_state(spec.instance_id, "running")

    def lose() -> None:
        kill(plane, spec.instance_id)
        assert "recovery is disabled" in (plane.wait_for_state(spec.instance_id, "failed").message or "")
        assert spec.instance_id not in guests(plane.paths.tag)

    lose()
    agent.end(signal.SIGKILL)
    plane.guests.clear()
    agent.start()
    assert "recovery is disabled" in (plane.wait_for_state(spec.instance_id, "failed").message or "")
    plane.want(spec.instance_id, "stopped")
    plane.wait_for_state(spec.instance_id, "stopped")
    plane.want(spec.instance_id, "running")
    plane.wait_for_state(spec.instance_id, "running")

    lose()
    plane.want(spec.instance_id, "running", reboots=1)
    plane.wait_for_state(spec.instance_id, "running")

    lose()
    plane.assign(replace(plane.specs[spec.instance_id], auto_recovery=True))
    plane.wait_for_state(spec.instance_id, "running")
    plane.want(spec.instance_id, "absent")
    plane.wait_for_state(spec.instance_id, "absent")
