"""Hibernation: what a guest has in memory is kept in a file when it stops, and when it starts it goes on with that.

    CPUs stopped ─► QEMU saves ─► the file has its name ─► QEMU quits
    QEMU started for it, CPUs stopped ─► it loads ─► the file is deleted ─► CPUs started

The file has its name only when it is whole, and is gone before the guest takes its next step: so a guest never goes on
from what is torn, nor twice from the same moment while its disks have gone on. QEMU does the saving and loading by
itself; each step may be cut anywhere. The file is encrypted with the key of the root volume.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Literal

import structlog

from freehold.host.errors import CannotStart
from freehold.host.hypervisor import devices, guest_agent, memory
from freehold.host.hypervisor.monitor import Monitor
from freehold.host.machine import Machine
from freehold.host.records import Saved
from freehold.host.wire import GuestSpec, VolumeKey

log = structlog.get_logger()

Outcome = Literal["working", "done", "failed"]


async def shape(machine: Machine, spec: GuestSpec, monitor: Monitor) -> Saved:
    """What the guest's machine is like."""
    slots, has_agent = await devices.slots(monitor), await guest_agent.has_port(monitor)
    return Saved(spec.vcpus, spec.memory_mib, machine.accelerator, slots, has_agent)


def fits(machine: Machine, spec: GuestSpec, saved: Saved | None) -> bool:
    """Whether a machine for this spec can go on with the memory of that one. Disks and cards may be more, not fewer."""
    if saved is None:
        return False
    there = {volume.volume_id for volume in spec.volumes} | {each.interface_id for each in spec.interfaces}
    same = (spec.vcpus, spec.memory_mib, machine.accelerator) == (saved.vcpus, saved.memory_mib, saved.accelerator)
    return same and saved.slots.keys() <= there


async def save(machine: Machine, spec: GuestSpec, monitor: Monitor, keys: Mapping[str, VolumeKey] | None) -> Outcome:
    """One step of keeping the guest's memory; it is ``working`` until QEMU's next event ``JOB_STATUS_CHANGE``, or until
    the keys have come. ``failed``: its CPUs run as before, if they did, and nothing is kept.
    """
    if machine.memories.has(spec.instance_id):
        return "done"
    progress, why = await memory.progress(monitor)
    match progress:
        case "none":
            return await _begin_to_save(machine, spec, monitor, keys)
        case "working":
            return "working"
        case "done":
            await machine.keep_memory(spec.instance_id)
            return "done"
        case "failed":
            log.warning("memory not saved, the guest is shut down", instance=spec.instance_id, error=why)
            await machine.effects.perform("close memory", partial(memory.close, monitor))
            await machine.effects.perform("start cpus", monitor.start_cpus)
            return "failed"


async def load(machine: Machine, spec: GuestSpec, monitor: Monitor) -> Outcome:
    """One step of giving a new QEMU the memory that was kept. ``failed``: this QEMU is good for nothing."""
    progress, why = await memory.progress(monitor)
    match progress:
        case "none":
            path = machine.memories.path(spec.instance_id)
            begin = partial(memory.begin, monitor, "load", path, root_volume(spec))
            await machine.effects.perform("load memory", begin)
            return "working"
        case "done":
            # Its cards say again where they are; the images of Freehold then set their clock, too.
            await machine.effects.perform("announce", partial(memory.announce, monitor))
        case "failed":
            log.warning("memory not loaded, the guest boots", instance=spec.instance_id, error=why)
    return progress


def root_volume(spec: GuestSpec) -> str:
    return next(volume.volume_id for volume in spec.volumes if volume.boot)


async def _begin_to_save(
    machine: Machine, spec: GuestSpec, monitor: Monitor, keys: Mapping[str, VolumeKey] | None
) -> Outcome:
    if keys is None:
        return "working"
    key = keys.get(root_volume(spec))
    if any(volume.shared for volume in spec.volumes):
        # Others would write to it meanwhile, and the guest would go on with what it remembers of it.
        log.info("a guest with a volume that others have is shut down", instance=spec.instance_id)
        return "failed"
    status = await monitor.status()
    if key is None or status not in ("running", "paused"):
        why = "there is no key" if key is None else f"its machine is {status}"
        log.warning("memory not saved, the guest is shut down", instance=spec.instance_id, error=why)
        return "failed"
    try:
        machine.pool.check_space(spec.memory_mib)
    except CannotStart as error:
        log.warning("memory not saved, the guest is shut down", instance=spec.instance_id, error=str(error))
        return "failed"
    await machine.effects.perform("stop cpus", monitor.stop_cpus)
    make = partial(machine.memories.make, spec.instance_id, key.key)
    await machine.effects.perform("make memory", make)
    path = machine.memories.unfinished(spec.instance_id)
    await machine.effects.perform("save memory", partial(memory.begin, monitor, "save", path, root_volume(spec)))
    return "working"
