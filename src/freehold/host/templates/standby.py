"""A clone that stands ready: a QEMU with a template's state in it, its CPUs stopped, for an instance that is still to
be launched. Its files and its user are those of the id that the instance will have. In the instance's control group it
is the instance's guest (freehold.processes.standbys); what it lacks is plugged in then."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from dataclasses import dataclass

from msgspec.structs import replace

from freehold import processes
from freehold.host.errors import HostError
from freehold.host.host_memory import check_memory
from freehold.host.hypervisor import migration, process
from freehold.host.hypervisor.monitor import Monitor
from freehold.host.hypervisor.qemu import Accelerator
from freehold.host.images import Kernel
from freehold.host.layout import Layout
from freehold.host.templates.store import Template
from freehold.host.wire import GuestSpec, Ready
from freehold.processes import Identity, alive


@dataclass(frozen=True, slots=True)
class Standby:
    """`monitor` is that of its QEMU, which is the process `who`."""

    instance_id: str
    template: Template
    monitor: Monitor
    who: Identity

    @property
    def alive(self) -> bool:
        return self.monitor.alive and alive(self.who)

    @property
    def ready(self) -> Ready:
        shape = self.template.recipe.shape
        return Ready(self.instance_id, shape.image_id, shape.instance_type, shape.vcpus, shape.memory_mib)


def new_instance_id() -> str:
    return f"i-{secrets.token_hex(9)[:17]}"


async def make(
    layout: Layout, accelerator: Accelerator, template: Template, kernel: Kernel, instance_id: str, like: GuestSpec
) -> Standby:
    """One for another launch like that, under a new id. Raises CannotStart, HostError, OSError: nothing of it is left
    then."""
    check_memory(like.memory_mib)
    spec = replace(like, instance_id=instance_id, volumes=(), interfaces=())
    paths = layout.guest(spec.instance_id)
    paths.directory.mkdir(mode=0o700)
    try:
        given = (spec, layout.tag, accelerator, kernel, paths, ())
        await process.spawn(*given, guest_agent=kernel.guest_agent, template=template, stands_ready=True)
        monitor = await Monitor.connect(paths.monitor, lambda: None)
        try:
            await migration.load(monitor, template.state)
            who = processes.standbys(layout.tag).get(spec.instance_id)
            if who is None:
                raise HostError("QEMU has ended.")
        except BaseException:
            await monitor.close()
            raise
    except BaseException:
        await end(layout, spec.instance_id)
        raise
    return Standby(spec.instance_id, template, monitor, who)


async def end(layout: Layout, instance_id: str) -> None:
    """Have no process of this id that stands ready; nor its files, unless they are a guest's by now."""
    if (who := processes.standbys(layout.tag).get(instance_id)) is not None:
        await asyncio.to_thread(processes.end, who, seconds=0)
    paths = layout.guest(instance_id)
    if not paths.spec.exists():
        shutil.rmtree(paths.directory, ignore_errors=True)
