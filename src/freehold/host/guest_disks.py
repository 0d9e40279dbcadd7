"""The disks of one guest that runs: plugged in and out, and as large and as fast as they are to be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import structlog

from freehold.host.errors import CannotStart, CommandError
from freehold.host.hypervisor import devices
from freehold.host.hypervisor.devices import NoFreeSlot
from freehold.host.hypervisor.monitor import Monitor, Refused
from freehold.host.hypervisor.sharing import ShareBroken
from freehold.host.machine import Machine
from freehold.host.wire import GuestSpec, VolumeKey, VolumeSpec

log = structlog.get_logger()

_RETRY_SECONDS = 30.0
_LOOK_SECONDS = 0.1


class GuestDisks:
    """`held` are the volumes whose files QEMU has open; None: not looked at yet. `plugged` are those that are in the
    machine as well: an agent may have been cut between. `fitted` is the generation of the spec for which all have their
    sizes and limits. `changed` is called when one of them is another."""

    def __init__(self, machine: Machine, changed: Callable[[], None]) -> None:
        self._machine = machine
        self._changed = changed
        self.held: frozenset[str] | None = None
        self.plugged: frozenset[str] = frozenset()
        self.fitted = 0

    def hold(self, held: frozenset[str], plugged: frozenset[str]) -> None:
        if (self.held, self.plugged) != (held, plugged):
            self.held, self.plugged = held, plugged
            self._changed()

    async def fit(self, monitor: Monitor, spec: GuestSpec, keys: Mapping[str, VolumeKey]) -> float | None:
        """Have the guest have its volumes and no others. Seconds until it is to be looked at again. `keys` open the
        encrypted ones, by volume id; one without is not plugged in, which is no failure of the guest: the key is still
        to come, or there is none, and the control plane gives up attaching it. Raises MonitorError, NotYet."""
        plugged, held = await self._look(monitor)
        wanted = {volume.volume_id: volume for volume in spec.volumes}
        pauses: list[float] = []
        for volume_id in sorted((plugged | held) - (held & wanted.keys())):
            torn_out = volume_id in held.intersection(spec.torn_out)
            if not await self._unplug(monitor, volume_id, torn_out=torn_out):
                pauses.append(devices.UNPLUG_SECONDS)
        plugged = await devices.plugged_disks(monitor)
        missing = sorted(wanted.keys() - plugged)
        if missing and not await self._has_found_its_root(monitor, spec, plugged):
            return min([_LOOK_SECONDS, *pauses])
        for volume_id in missing:
            volume = wanted[volume_id]
            if (not volume.encrypted or volume_id in keys) and not await self._plug(monitor, volume, keys):
                pauses.append(_RETRY_SECONDS)
        _, held = await self._look(monitor)
        if self.fitted != spec.generation and not await self._adjust(monitor, spec, held):
            pauses.append(_RETRY_SECONDS)
        return min(pauses, default=None)

    async def _look(self, monitor: Monitor) -> tuple[frozenset[str], frozenset[str]]:
        plugged, held = await devices.plugged_disks(monitor), await devices.held(monitor)
        self.hold(held, plugged)
        return plugged, held

    async def _has_found_its_root(self, monitor: Monitor, spec: GuestSpec, plugged: Collection[str]) -> bool:
        """A clone takes the first disk that it finds for its root. It looks into all slots at once when it wakes: a
        disk that came before it has found the boot disk could be the first."""
        boot = [volume.volume_id for volume in spec.volumes if volume.boot and volume.volume_id in plugged]
        return all([await devices.is_found(monitor, each) for each in boot])

    async def _unplug(self, monitor: Monitor, volume_id: str, *, torn_out: bool) -> bool:
        """Whether the guest has let go of the disk, or lost it."""
        try:
            if torn_out:
                await self._machine.tear_out(monitor, volume_id)
            return await self._machine.unplug_disk(monitor, volume_id)
        except Refused as error:  # something else works on it
            log.warning("disk not unplugged", volume=volume_id, error=str(error))
            return False

    async def _plug(self, monitor: Monitor, volume: VolumeSpec, keys: Mapping[str, VolumeKey]) -> bool:
        """Whether the guest has the disk. One that can not be had is no failure of the guest, which runs without it."""
        try:
            await self._machine.plug_disk(monitor, volume, keys)
        except (CannotStart, CommandError, NoFreeSlot, Refused, ShareBroken) as error:
            log.warning("disk not plugged in", volume=volume.volume_id, error=str(error))
            return False
        return True

    async def _adjust(self, monitor: Monitor, spec: GuestSpec, held: Collection[str]) -> bool:
        """Whether the disks have their sizes and limits."""
        try:
            for volume in spec.volumes:
                if volume.volume_id in held:
                    await self._machine.adjust_disk(monitor, volume)
        except (Refused, ShareBroken) as error:  # no space left on the host
            log.warning("disk not adjusted", instance=spec.instance_id, error=str(error))
            return False
        self.fitted = spec.generation
        self._changed()
        return True
