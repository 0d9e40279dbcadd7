"""What a guest is made of on this machine: its disks, taps, ports, QEMU and control group, made and removed.

Every function may be repeated and cut anywhere: each effect looks at what is there, and its name goes through
`Effects.perform`.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from freehold.host import images
from freehold.host.cgroup import SHARE_LIMITS, Cgroups, Limits
from freehold.host.commands import together
from freehold.host.effects import Effects
from freehold.host.errors import NotYet
from freehold.host.host_memory import check_memory
from freehold.host.hypervisor import devices, process, sharing
from freehold.host.hypervisor.disks import Disk, Layer, check_keys
from freehold.host.hypervisor.firmware import have_variables
from freehold.host.hypervisor.guest_agent import GuestAgents
from freehold.host.hypervisor.monitor import Monitor, MonitorError
from freehold.host.hypervisor.qemu import Accelerator
from freehold.host.layout import Layout, SharePaths, tap_name, volume_of
from freehold.host.ports import taps
from freehold.host.ports.vswitch import Vswitch
from freehold.host.records import GuestRecord, Saved, save
from freehold.host.share_monitors import ShareMonitors
from freehold.host.templates.store import Template
from freehold.host.volumes import luks
from freehold.host.volumes.memories import Memories
from freehold.host.volumes.pool import Pool
from freehold.host.wire import GuestSpec, VolumeKey, VolumeSpec
from freehold.processes import Identity, alive

_QUIT_SECONDS_MAX = 10.0


@dataclass(frozen=True, slots=True)
class Machine:
    """The means of this machine, the same for all guests."""

    layout: Layout
    accelerator: Accelerator
    vswitch: Vswitch
    cgroups: Cgroups
    effects: Effects
    _known: dict[str, Identity] = field(default_factory=dict)
    _disks: dict[str, asyncio.Lock] = field(default_factory=dict)
    shares: ShareMonitors = field(default_factory=ShareMonitors)
    agents: GuestAgents = field(default_factory=GuestAgents)
    to_freeze: set[str] = field(default_factory=set)
    """The volumes of which a snapshot is still to be taken: they are not deleted before."""
    to_keep: set[str] = field(default_factory=set)
    """The snapshots of which a copy is still to be made: they are not deleted before."""
    written: set[str] = field(default_factory=set)
    """The volumes that are written to without a guest."""
    yielding: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    """Who has a volume for itself and is to be ended when somebody else wants it."""

    @property
    def memories(self) -> Memories:
        return Memories(self.layout)

    @property
    def pool(self) -> Pool:
        return Pool(self.layout)

    @asynccontextmanager
    async def disks(self, volume_ids: Iterable[str]) -> AsyncIterator[None]:
        """Have these volumes for oneself: nobody else makes, opens, freezes or deletes them meanwhile."""
        async with AsyncExitStack() as held:
            for volume_id in sorted(set(volume_ids)):
                if (working := self.yielding.get(volume_id)) is not None:
                    working.cancel()
                await held.enter_async_context(self._disks.setdefault(volume_id, asyncio.Lock()))
            yield

    def find(self, of: str) -> int | None:
        """The process id of the QEMU of an instance, or of a volume that several have, if it runs."""
        who = self._process(of)
        return None if who is None else who.pid

    def _process(self, of: str) -> Identity | None:
        """One that was found before is only looked at again, not looked for."""
        known = self._known.pop(of, None)
        who = known if known is not None and alive(known) else process.find(self.layout.tag, of)
        if who is not None:
            self._known[of] = who
        return who

    async def remember(self, spec: GuestSpec) -> None:
        await self._do("save spec", partial(save, self.layout.guest(spec.instance_id).spec, spec))

    async def record(self, instance_id: str, record: GuestRecord) -> None:
        await self._do("save record", partial(save, self.layout.guest(instance_id).record, record))

    async def build(self, spec: GuestSpec, keys: Mapping[str, VolumeKey], saved: Saved | None = None) -> None:
        """Have all that a guest needs, and its QEMU with its CPUs stopped. `keys` open its encrypted volumes, by
        volume id. `saved` is the machine that it has to be like, with no more in it. Raises CannotStart, HostError."""
        if saved is not None:
            spec = replace(
                spec,
                volumes=tuple(each for each in spec.volumes if each.volume_id in saved.slots),
                interfaces=tuple(each for each in spec.interfaces if each.interface_id in saved.slots),
            )
        async with self.disks(volume.volume_id for volume in spec.volumes):
            disks, _ = await together(self.make_disks(spec, keys), self.plug(spec))
            await self.start(spec, disks, saved=saved)

    async def make_disks(self, spec: GuestSpec, keys: Mapping[str, VolumeKey]) -> list[Disk]:
        """Have the files of a guest's volumes, and what QEMU needs to know of them, the boot disk first; not of those
        that others may have as well, which are plugged in when it runs (`GuestDisks`)."""
        self.pool.check_space()
        check_memory(spec.memory_mib)
        own = (volume for volume in spec.volumes if not volume.shared)
        ordered = sorted(own, key=lambda volume: not volume.boot)
        return [await self.make_disk(volume, keys) for volume in ordered]

    async def start(
        self,
        spec: GuestSpec,
        disks: Sequence[Disk],
        *,
        saved: Saved | None = None,
        template: Template | None = None,
    ) -> None:
        """Have QEMU running, as `process.spawn` says; its machine like `saved`."""
        stored = self.layout.paths.images
        kernel = images.load_kernel(stored, spec.kernel_image_id) if spec.kernel_image_id else None
        paths = self.layout.guest(spec.instance_id)
        if kernel is None and spec.boot_mode == "uefi":
            await self._do("make variables", partial(have_variables, paths, spec.instance_id))

        agent = kernel is None or kernel.guest_agent if saved is None else saved.guest_agent
        slots = None if saved is None else saved.slots
        given = (spec, self.layout.tag, self.accelerator, kernel, paths, disks)

        async def start() -> None:
            if self.find(spec.instance_id) is None:
                await process.spawn(*given, guest_agent=agent, slots=slots, template=template)

        await self.effects.perform("start process", start)

    async def make_disk(self, volume: VolumeSpec, keys: Mapping[str, VolumeKey]) -> Disk:
        """Have a volume's file, which nobody has open, and what QEMU needs to know of it. Raises CannotStart,
        HostError."""
        if not volume.shared and self.is_shared(volume.volume_id):
            await self.close_share(volume.volume_id)  # it is one guest's now
        image = images.load(self.layout.paths.images, volume.image_id).disk if volume.image_id else None
        given = keys[volume.volume_id] if volume.encrypted else None
        key = None if given is None else given.key
        await self.effects.perform("make volume", partial(self.pool.make, volume, image, key))
        chain = self.pool.layers.chain(self.layout.volume(volume.volume_id))
        layers = [Layer.of(path) for path in chain]
        passphrases = {} if given is None else luks.passphrases(given.all)
        disk = Disk(volume.volume_id, tuple(layers), volume.limits, passphrases)
        check_keys(disk)
        return disk

    async def plug_disk(self, monitor: Monitor, volume: VolumeSpec, keys: Mapping[str, VolumeKey]) -> None:
        """Have a volume in a guest that runs. `keys` open those that are encrypted. Raises CannotStart, HostError."""
        async with self.disks((volume.volume_id,)):
            if volume.shared:
                with sharing.of_share(volume.volume_id):
                    paths = await self.open_share(volume, keys)
                add = partial(sharing.add_client, monitor, volume.volume_id, paths)
                await self.effects.perform("plug disk", partial(devices.plug, monitor, volume.volume_id, add))
                return
            disk = await self.make_disk(volume, keys)
            await self.effects.perform("plug disk", partial(devices.plug_disk, monitor, disk))

    def is_shared(self, volume_id: str) -> bool:
        """Whether a volume is, or has been and may still be, open for several guests."""
        return self.layout.share(volume_id).directory.exists()

    async def open_share(self, volume: VolumeSpec, keys: Mapping[str, VolumeKey]) -> SharePaths:
        """Have a volume open for several guests; it is the caller's (`disks`). Raises CannotStart, HostError."""
        volume_id, paths = volume.volume_id, self.layout.share(volume.volume_id)
        if self.find(volume_id) is None:
            await self.shares.drop(volume_id)
            await self.effects.perform("start share", partial(sharing.spawn, self.layout, volume_id))
        monitor = await self.shares.connect(self.layout, volume_id)
        if await sharing.is_served(monitor, volume_id):
            return paths
        if not await sharing.is_open(monitor, volume_id):
            disk = await self.make_disk(replace(volume, shared=True), keys)
            await self.effects.perform("open share", partial(sharing.open_files, monitor, disk))
        if (pid := self.find(volume_id)) is not None:
            await self._do("limit share", partial(self.cgroups.ensure, volume_id, SHARE_LIMITS, pid))
        await self.effects.perform("serve share", partial(sharing.serve, monitor, volume_id, paths))
        return paths

    async def close_share(self, volume_id: str) -> None:
        """Have a volume open for no guest; it is the caller's (`disks`)."""
        monitor = None
        if self.find(volume_id) is not None:
            with suppress(MonitorError):  # it hangs, and is killed: what it has answered is on the disk
                monitor = await self.shares.connect(self.layout, volume_id)
        await self.end(volume_id, monitor)
        await self.shares.drop(volume_id)
        await self._do("remove limits", partial(self.cgroups.remove, volume_id))
        directory = self.layout.share(volume_id).directory
        await self._do("remove share", partial(shutil.rmtree, directory, onerror=_unless_missing))

    async def unplug_disk(self, monitor: Monitor, volume_id: str) -> bool:
        """Ask a guest that runs to let go of a volume; whether it has (`devices.unplug_disk`)."""
        async with self.disks((volume_id,)):
            return await self.effects.perform("unplug disk", partial(devices.unplug_disk, monitor, volume_id))

    async def tear_out(self, monitor: Monitor, volume_id: str) -> None:
        """Take a volume from a guest that runs, whether it lets go of it or not."""
        async with self.disks((volume_id,)):
            await self.effects.perform("tear out disk", partial(devices.tear_out_disk, monitor, volume_id))

    async def adjust_disk(self, monitor: Monitor, volume: VolumeSpec) -> None:
        """Have a disk of a guest that runs as large as it is to be, and its limits."""
        async with self.disks((volume.volume_id,)):
            if self.is_shared(volume.volume_id):
                await self._adjust_share(monitor, volume)
                return
            adjust = partial(devices.adjust_disk, monitor, volume.volume_id, volume.size_gib << 30, volume.limits)
            await self.effects.perform("adjust disk", adjust)

    async def _adjust_share(self, monitor: Monitor, volume: VolumeSpec) -> None:
        volume_id, size = volume.volume_id, volume.size_gib << 30
        with sharing.of_share(volume_id):
            share = await self.shares.connect(self.layout, volume_id)
            await self.effects.perform("limit disk", partial(devices.limit_disk, share, volume_id, volume.limits))
            if await devices.size(share, volume_id) < size:
                await self.effects.perform("grow share", partial(sharing.grow, share, volume_id, size))
        paths = self.layout.share(volume_id)
        await self.effects.perform("see size", partial(sharing.see_size, monitor, volume_id, paths, size))

    async def make_volume(self, volume: VolumeSpec, keys: Mapping[str, VolumeKey]) -> None:
        """Have a volume that is no guest's. Raises CannotStart, HostError."""
        async with self.disks((volume.volume_id,)):
            self.pool.check_space()
            await self.make_disk(volume, keys)

    async def plug(self, spec: GuestSpec) -> None:
        """Have the taps of a guest, plugged into Open vSwitch."""
        runs = self.find(spec.instance_id) is not None
        for interface in spec.interfaces:
            each = interface.interface_id
            if not runs or not taps.exists(tap_name(each)):
                await self.effects.perform("make tap", partial(taps.make, self.layout.tag, each))
            await self.effects.perform("plug port", partial(self.vswitch.plug, tap_name(each), each, spec.instance_id))

    async def limit(self, spec: GuestSpec, pid: int, vcpus: float | None = None) -> None:
        """Have the guest use no more than it may. `vcpus`: how many's worth of time; None: all of its own."""
        # The kernel waits for all of its processors before a process is in a group.
        ensure = partial(asyncio.to_thread, self.cgroups.ensure, spec.instance_id, Limits.of(spec, vcpus), pid)
        await self.effects.perform("limit", ensure)
        if spec.metadata.spot:
            await self._do("mark as spare", partial(process.mark_as_spare, pid))

    async def end(self, instance_id: str, monitor: Monitor | None) -> None:
        """Have no QEMU, of an instance or of a volume that several have: it is told to quit, which writes out its
        disks, and is killed if it does not."""
        tag, who = self.layout.tag, self._process(instance_id)
        if who is not None and monitor is not None and monitor.alive:
            try:
                await self.effects.perform("quit", monitor.quit)
            except MonitorError:
                pass  # it hangs: killed below
            else:
                await process.ended(who, _QUIT_SECONDS_MAX)
        await self.effects.perform("kill", partial(process.end, tag, instance_id))

    async def dismantle(self, spec: GuestSpec) -> None:
        """Have no port, tap and control group of a guest whose QEMU has ended."""
        for interface in spec.interfaces:
            each = interface.interface_id
            await self.effects.perform("unplug port", partial(self.vswitch.unplug, tap_name(each)))
            await self.effects.perform("remove tap", partial(taps.remove, each))
        await self._do("forget unfinished memory", partial(self.memories.forget_unfinished, spec.instance_id))
        await self._do("remove limits", partial(self.cgroups.remove, spec.instance_id))

    async def erase(self, spec: GuestSpec) -> None:
        """Have none of the guest's files, and none of the volumes that go with it."""
        await self.forget_memory(spec.instance_id)
        for volume_id in spec.delete_volumes:
            await self.delete_volume(volume_id)
        directory = self.layout.guest(spec.instance_id).directory
        await self._do("remove files", partial(shutil.rmtree, directory, onerror=_unless_missing))

    async def keep_memory(self, instance_id: str) -> None:
        await self._do("keep memory", partial(self.memories.keep, instance_id))

    async def forget_memory(self, instance_id: str) -> None:
        await self._do("forget memory", partial(self.memories.forget, instance_id))

    def has_volume(self, volume_id: str) -> bool:
        return self.layout.volume(volume_id).exists()

    async def delete_volume(self, volume_id: str) -> None:
        """Raises NotYet, OSError."""
        async with self.disks((volume_id,)):
            if volume_id in self.to_freeze and self.layout.volume(volume_id).exists():
                raise NotYet(f"A snapshot of {volume_id} is to be taken first.")
            if self.is_shared(volume_id):
                await self.close_share(volume_id)
            await self._do("delete volume", partial(self.pool.delete, volume_id))
        self._disks.pop(volume_id, None)

    async def freeze(self, volume_id: str, snapshot_id: str) -> None:
        """Have the volume's tip be the snapshot's layer (`Layers.freeze`)."""
        await self._do("freeze", partial(self.pool.layers.freeze, volume_id, snapshot_id))

    async def drop_layer(self, upper: Path, doomed: Path) -> None:
        """Have a layer no more of which `upper`, the only one that lies on it, has everything."""

        def act() -> None:
            layers = self.pool.layers
            if layers.parent(upper) == doomed:
                layers.lay(upper, layers.parent(doomed))
                layers.delete(doomed)

        await self._do("drop layer", act)

    async def delete_snapshot(self, snapshot_id: str) -> None:
        def act() -> None:
            self.pool.layers.delete(self.layout.volume(volume_of(snapshot_id)))  # if it was never completed
            self.pool.layers.doom(snapshot_id)
            self.pool.layers.prune()

        await self._do("delete snapshot", act)

    async def _do(self, name: str, action: Callable[[], None]) -> None:
        async def act() -> None:
            action()

        await self.effects.perform(name, act)


def _unless_missing(_function: object, _path: str, failure: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(failure[1], FileNotFoundError):
        raise failure[1]
