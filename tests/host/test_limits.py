"""What real guests may use of their host, by the kernel's control groups."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from ipaddress import IPv4Network
from pathlib import Path

from msgspec.structs import replace

from freehold.host.host_memory import HostMemory
from freehold.host.hypervisor import balloon
from freehold.host.hypervisor.monitor import Monitor
from freehold.host.layout import Layout
from freehold.host.pressure import Pressure
from freehold.host.records import new_record
from freehold.host.wire import CreditReading, CreditSpec, GuestSpec
from freehold.processes import guests
from tests.host.metadata import apply_network, ports_of, spec_of, view_of
from tests.host.plane import AgentProcess, Plane, guest_spec
from tests.ovn import Cloud, wait_until

POOL = IPv4Network("198.18.8.80/28")
FILL = b"""#!/bin/sh
mount -t tmpfs -o size=90% none /mnt
dd if=/dev/zero of=/mnt/x bs=1M count=96
echo filled
sleep 2
umount /mnt
"""
BUSY = b"""#!/bin/sh
while :; do :; done
"""


def quota(plane: Plane, instance_id: str) -> int:
    """Microseconds of a vCPU in each tenth of a second."""
    group = f"freehold-{plane.paths.tag}/{instance_id}"
    one, two = Path("/sys/fs/cgroup/cpu", group, "cpu.cfs_quota_us"), Path("/sys/fs/cgroup", group, "cpu.max")
    return int((one if one.exists() else two).read_text().split()[0])


def credits_of(plane: Plane, instance_id: str) -> CreditReading:
    """As last reported; none before that."""
    report = plane.guests.get(instance_id)
    return (report and report.credits) or CreditReading(0, 0, 0)


def test_credits_decide_what_a_burstable_guest_may_use(
    plane: Plane, agent: AgentProcess, cloud: Cloud, image_id: str
) -> None:
    """It is busy, and spends more than it has earned."""
    plugged = ports_of(11)
    apply_network(cloud, view_of(1, plugged))
    standard = CreditSpec(6, unlimited=False)
    spec = spec_of(plugged, image_id, desired="running", credits=standard)
    spec = replace(spec, metadata=replace(spec.metadata, user_data=BUSY))
    plane.assign(spec)
    plane.wait_for_state(spec.instance_id, "running")
    wait_until(lambda: quota(plane, spec.instance_id) == 10_000, "it is held to its baseline")
    assert credits_of(plane, spec.instance_id).balance == 0

    plane.want(spec.instance_id, "running", credits=CreditSpec(6, unlimited=True))
    wait_until(lambda: quota(plane, spec.instance_id) == 100_000, "it may use its vCPU")
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
    wait_until(lambda: quota(plane, spec.instance_id) == 100_000, "it may use its vCPU")
    plane.want(spec.instance_id, "absent")
    plane.wait_for_state(spec.instance_id, "absent")


def resident_mib(plane: Plane, instance_id: str) -> int:
    pid = guests(plane.paths.tag)[instance_id].pid
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") >> 20


class Lender:
    """What `Pressure` sees of a guest, by the monitor that is for humans."""

    def __init__(self, spec: GuestSpec, monitor: Monitor) -> None:
        self.spec = spec
        self.record = replace(new_record(spec), state="running")
        self.monitor = monitor


async def lend_and_take_back(plane: Plane, spec: GuestSpec, *, short: HostMemory, plenty: HostMemory) -> list[int]:
    """MiB that the guest has: at first, when its host was short of memory for a while, and when it no longer is."""
    monitor = await Monitor.connect(Layout(plane.paths).guest(spec.instance_id).spare_monitor, lambda: None)
    state = short
    pressure = Pressure({spec.instance_id: Lender(spec, monitor)}, lambda: state)  # type: ignore[dict-item]
    try:
        sizes = [await size_of(monitor)]
        pressure.start()
        while await size_of(monitor) == sizes[0]:
            await asyncio.sleep(0.1)
        sizes.append(await size_of(monitor))
        state = plenty
        while await size_of(monitor) < sizes[0]:
            await asyncio.sleep(0.1)
        return [*sizes, await size_of(monitor)]
    finally:
        await pressure.close()
        await monitor.close()


async def size_of(monitor: Monitor) -> int:
    found = await balloon.read(monitor)
    return 0 if found is None else found.actual >> 20


def test_idle_guests_give_memory_back(plane: Plane, agent: AgentProcess, cloud: Cloud, image_id: str) -> None:
    """What they have freed at once; and what they can do without, while the host is short of memory."""
    plugged = ports_of(10)
    apply_network(cloud, view_of(1, plugged))
    spec = spec_of(plugged, image_id, desired="running", shutdown_grace_seconds=0, memory_mib=256)
    spec = replace(spec, metadata=replace(spec.metadata, user_data=FILL))
    plane.assign(spec)
    plane.wait_for_console(spec.instance_id, b"filled")
    full = resident_mib(plane, spec.instance_id)
    wait_until(lambda: resident_mib(plane, spec.instance_id) < full - 60, "what was freed is given back")

    gib = 1 << 30
    short, plenty = HostMemory(8 * gib, gib >> 2, 0.0), HostMemory(8 * gib, 7 * gib, 0.0)
    sizes = asyncio.run(lend_and_take_back(plane, spec, short=short, plenty=plenty))
    assert sizes[0] == sizes[2] == 256
    assert sizes[1] < 256
    plane.want(spec.instance_id, "absent")
    plane.wait_for_state(spec.instance_id, "absent")


def test_a_guest_that_is_ended_for_want_of_memory_does_not_come_back_in_silence(
    plane: Plane, agent: AgentProcess, image_id: str
) -> None:
    spec = guest_spec(3, image_id)
    plane.assign(spec)
    plane.wait_for_state(spec.instance_id, "running")
    pid = guests(plane.paths.tag)[spec.instance_id].pid
    assert int(Path(f"/proc/{pid}/oom_score_adj").read_text()) > 0
    plane.states.clear()
    group = f"freehold-{plane.paths.tag}/{spec.instance_id}"
    one, two = Path("/sys/fs/cgroup/memory", group), Path("/sys/fs/cgroup", group)
    used, most = (
        (one / "memory.usage_in_bytes", one / "memory.limit_in_bytes")
        if one.exists()
        else (two / "memory.current", two / "memory.max")
    )

    def allow_no_more() -> bool:
        """Whether it has been told that: the first version of control groups refuses less than is used already."""
        try:
            most.write_text(str(int(used.read_text()) + (1 << 20)))
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return False
        return True

    wait_until(allow_no_more, "no more memory is allowed")
    plane.wait_for(lambda: (spec.instance_id, "failed") in plane.states, "it is said")
    assert "memory" in (plane.guests[spec.instance_id].message or "")
    plane.wait_for_state(spec.instance_id, "running")
    plane.want(spec.instance_id, "absent")
    plane.wait_for_state(spec.instance_id, "absent")
