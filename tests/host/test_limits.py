"""What real guests may use of their host, by the kernel's control groups."""

from __future__ import annotations

import signal
from ipaddress import IPv4Network
from pathlib import Path

from freehold.host.wire import CreditReading, CreditSpec
from tests.host.plane import AgentProcess, Plane, guest_spec
from tests.ovn import wait_until

POOL = IPv4Network("198.18.8.80/28")


def quota(plane: Plane, instance_id: str) -> int:
    """Microseconds of a vCPU in each tenth of a second."""
    group = f"freehold-{plane.paths.tag}/{instance_id}"
    one, two = Path("/sys/fs/cgroup/cpu", group, "cpu.cfs_quota_us"), Path("/sys/fs/cgroup", group, "cpu.max")
    return int((one if one.exists() else two).read_text().split()[0])


def credits_of(plane: Plane, instance_id: str) -> CreditReading:
    """As last reported; none before that."""
    report = plane.guests.get(instance_id)
    return (report and report.credits) or CreditReading(0, 0, 0)


def test_credits_decide_what_a_burstable_guest_may_use(plane: Plane, agent: AgentProcess, image_id: str) -> None:
    """Its boot spends more than it has earned."""
    standard = CreditSpec(6, unlimited=False)
    spec = guest_spec(1, image_id, credits=standard)
    plane.assign(spec)
    plane.wait_for_state(spec.instance_id, "running")
    wait_until(lambda: quota(plane, spec.instance_id) == 10_000, "it is held to its baseline", 60)
    assert credits_of(plane, spec.instance_id).balance == 0

    plane.want(spec.instance_id, "running", credits=CreditSpec(6, unlimited=True))
    wait_until(lambda: quota(plane, spec.instance_id) == 100_000, "it may use its vCPU", 60)
    plane.wait_for(lambda: credits_of(plane, spec.instance_id).surplus > 0, "it has spent surplus credits")
    agent.end(signal.SIGKILL)
    agent.start()
    plane.want(spec.instance_id, "stopped", shutdown_grace_seconds=0)
    plane.wait_for_state(spec.instance_id, "stopped")
    plane.wait_for(lambda: credits_of(plane, spec.instance_id).charged > 0, "the surplus is charged")
    assert credits_of(plane, spec.instance_id).surplus == 0

    charged = credits_of(plane, spec.instance_id).charged
    plane.want(spec.instance_id, "absent")
    plane.wait_for_state(spec.instance_id, "absent")
    assert credits_of(plane, spec.instance_id).charged == charged
    plane.forget(spec.instance_id)


def test_a_guest_that_has_earned_credits_bursts(plane: Plane, agent: AgentProcess, image_id: str) -> None:
    """At a clock so fast that it has earned them before it is looked at again."""
    spec = guest_spec(2, image_id, credits=CreditSpec(59, unlimited=False, clock=1000.0))
    plane.assign(spec)
    plane.wait_for(lambda: credits_of(plane, spec.instance_id).balance > 0, "it has earned credits")
    assert quota(plane, spec.instance_id) == 100_000
    plane.want(spec.instance_id, "absent")
    plane.wait_for_state(spec.instance_id, "absent")
