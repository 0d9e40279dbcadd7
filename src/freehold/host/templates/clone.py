"""A guest as a clone of a template: it wakes where the template was saved, and its disks and cards are plugged in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial

from freehold.host.commands import together
from freehold.host.errors import HostError
from freehold.host.hypervisor import devices, migration
from freehold.host.hypervisor.monitor import Monitor
from freehold.host.hypervisor.slots import SLOTS
from freehold.host.machine import Machine
from freehold.host.ports import taps
from freehold.host.templates import standby as standbys
from freehold.host.templates.standby import Standby
from freehold.host.templates.store import Template
from freehold.host.wire import GuestSpec, InterfaceSpec, VolumeKey


async def build(
    machine: Machine, spec: GuestSpec, keys: Mapping[str, VolumeKey], template: Template, standby: Standby | None
) -> None:
    """What `Machine.build` does: a QEMU with the guest's devices, its CPUs stopped, but for the disks beside the boot
    disk: the guest takes the first that it finds for its root, and finds them in no certain order when it wakes. They
    are plugged in when it runs and has found that one (`GuestDisks`). Its disks and taps are made while it loads
    the template, or `standby`, which has done so, becomes the guest.

    Raises CannotStart, HostError: a QEMU may be there, and is to be ended.
    """
    async with AsyncExitStack() as opened, machine.disks(volume.volume_id for volume in spec.volumes):
        # First: it takes longest.
        qemu = _resumed(machine, spec, template, opened) if standby is None else _taken(machine, spec, standby, opened)
        monitor, disks, _ = await together(qemu, machine.make_disks(spec, keys), machine.plug(spec))
        boot = partial(devices.plug_disk, monitor, disks[0], SLOTS[0])
        cards = [partial(_plug_card, monitor, *each) for each in zip(spec.interfaces, SLOTS[1:], strict=False)]
        for device in (boot, *cards):
            await machine.effects.perform("plug device", device)


async def is_complete(spec: GuestSpec, monitor: Monitor) -> bool:
    """Whether QEMU has what the guest begins with: not if an agent was cut before it had plugged in the last."""
    boot = {volume.volume_id for volume in spec.volumes if volume.boot}
    wanted = boot | {each.interface_id for each in spec.interfaces}
    return wanted <= await devices.plugged(monitor)


async def _resumed(machine: Machine, spec: GuestSpec, template: Template, opened: AsyncExitStack) -> Monitor:
    """QEMU with a template's state in it, by its monitor, which `opened` closes."""
    await machine.start(spec, (), template=template)
    monitor = await Monitor.connect(machine.layout.guest(spec.instance_id).monitor, lambda: None)
    opened.push_async_callback(monitor.close)
    if (pid := machine.find(spec.instance_id)) is None:
        raise HostError("QEMU has ended.")
    load = machine.effects.perform("load state", partial(migration.load, monitor, template.state))
    await together(load, machine.limit(spec, pid))
    return monitor


async def _taken(machine: Machine, spec: GuestSpec, standby: Standby, opened: AsyncExitStack) -> Monitor:
    """The same of one that stood ready, which is found as the guest's from now on."""
    opened.push_async_callback(standby.monitor.close)
    try:
        await machine.limit(spec, standby.who.pid)
    except BaseException:
        await standbys.end(machine.layout, spec.instance_id)
        raise
    return standby.monitor


async def _plug_card(monitor: Monitor, interface: InterfaceSpec, slot: int) -> None:
    tap = taps.open_tap(interface.interface_id)
    try:
        await devices.plug_card(monitor, interface, tap, slot)
    finally:
        os.close(tap)
