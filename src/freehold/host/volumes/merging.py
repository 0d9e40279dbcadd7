"""Layers that no snapshot has any more are merged into the one that lies on them, so that a chain is as long as its
snapshots are many, and what nobody can see takes no room.

    snap-1 ◄── snap-2 ◄── snap-3 ◄── vol-1          snapshot 2 is deleted
    snap-1 ◄────────────── snap-3 ◄── vol-1          what 2 had and 3 does not is 3's now

One with several on it stays until only one is left. A volume's tip takes the layer in where it is, in the QEMU that has
it open or in one of our own; a layer is never written to, so that it is copied, the copy takes in the other, and every
QEMU goes over to it. All may be cut anywhere: every file has the same data before and after, and a new agent has every
QEMU follow what the one before it has made of the files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import structlog

from freehold.host.commands import run
from freehold.host.errors import HostError, NotYet
from freehold.host.hypervisor import devices, layering
from freehold.host.hypervisor.disks import Disk, Layer, file_name, layer_node
from freehold.host.hypervisor.monitor import Monitor, MonitorError, Refused
from freehold.host.layout import is_volume_id
from freehold.host.machine import Machine
from freehold.host.volumes import luks, qcow2
from freehold.host.volumes.keeper import keeper
from freehold.host.volumes.layers import NEW
from freehold.host.wire import VolumeKey
from freehold.host.worker import Worker

log = structlog.get_logger()

_RETRY_SECONDS = 60.0
_SOON_SECONDS = 3.0
_LOOK_SECONDS = 0.1
_COPY_SECONDS_MAX = 3600.0

MonitorOf = Callable[[str], Monitor | None]


class Merging(Worker):
    """`user_of` says whose guest has a volume, `monitor_of` gives the monitor of a guest's QEMU while the agent has it,
    `attached` the ids of all guests and their volumes. `merged` is called with the id of a layer that holds more than
    before, `want_keys` when there are `missing` ones."""

    def __init__(
        self,
        machine: Machine,
        user_of: Callable[[str], str | None],
        monitor_of: MonitorOf,
        attached: Callable[[], Iterable[tuple[str, str]]],
        merged: Callable[[str], None],
        want_keys: Callable[[], None],
    ) -> None:
        super().__init__("merging layers", _RETRY_SECONDS)
        self._machine = machine
        self._user_of = user_of
        self._monitor_of = monitor_of
        self._attached = attached
        self._merged = merged
        self._want_keys = want_keys
        self._keys: dict[str, VolumeKey] = {}
        self._followed: set[str] = set()  # volumes whose QEMU has the files that the pool has
        self.missing: set[str] = set()
        """The ids of volumes and snapshots whose keys are needed, and have not come yet."""

    def give_keys(self, keys: Mapping[str, VolumeKey]) -> None:
        """What opens these volumes and snapshots."""
        wanted = {each: keys[each] for each in self.missing & keys.keys()}
        if wanted:
            self._keys |= wanted
            self.missing -= wanted.keys()
            self.wake()

    async def _round(self) -> float | None:
        layers = self._machine.pool.layers
        layers.prune()
        pause = await self._follow()
        for doomed in layers.dooms():
            children = layers.children(doomed)
            if len(children) != 1:
                continue
            try:
                await self._merge(doomed, children[0])
                self.wake()  # the next may be merged now
            except (HostError, OSError) as error:
                if soon := _passes(error):
                    log.info("layer is not merged yet", layer=doomed.name, reason=str(error))
                else:
                    log.warning("layer not merged, it is tried again", layer=doomed.name, error=str(error))
                pause = _SOON_SECONDS if soon else pause or _RETRY_SECONDS
        return pause

    async def _follow(self) -> float | None:
        """Have every QEMU that has a volume open have the files that the pool has. Seconds until it is to be tried
        again. One that is started later has them from the beginning."""
        pause = None
        for user, volume_id in self._attached():
            if volume_id in self._followed:
                continue
            try:
                await self._follow_one(user, volume_id)
                self._followed.add(volume_id)
            except NotYet as error:
                pause = error.seconds
            except (HostError, OSError) as error:
                log.warning("layers not followed, it is tried again", volume=volume_id, error=str(error))
                pause = pause or (_SOON_SECONDS if _passes(error) else _RETRY_SECONDS)
        return pause

    async def _follow_one(self, user: str, volume_id: str) -> None:
        async with self._machine.disks([volume_id]):
            if self._machine.find(user) is None:
                return
            monitor, layers = self._monitor_of(user), self._machine.pool.layers
            if monitor is None:
                raise NotYet(f"the monitor of {user} is not connected")
            if any(volume_id == prepared for prepared, _ in layers.prepared()):
                raise NotYet(f"a snapshot of {volume_id} is being taken")
            if self._machine.has_volume(volume_id):
                chain, merged = layers.chain(self._machine.layout.volume(volume_id)), layers.dooms()
                of = [Layer.of(path) for path in chain], [Layer.of(path) for path in chain if path in merged]
                act = partial(layering.follow, monitor, volume_id, *of)
                await self._machine.effects.perform("follow layers", act)

    async def _merge(self, doomed: Path, child: Path) -> None:
        if not is_volume_id(child.stem):
            await self._into_layer(doomed, child)
            return
        volume_id = child.stem
        if volume_id in self._machine.written:
            raise NotYet(f"{volume_id} is being written")
        user = self._user_of(volume_id)
        if user is not None and self._machine.find(user) is not None:
            monitor = self._monitor_of(user)
            if monitor is None:
                raise NotYet(f"the monitor of {user} is not connected")
            await self._into_open_tip(monitor, volume_id, doomed)
        else:
            await self._into_resting_tip(volume_id, doomed, self._key(child))

    async def _into_resting_tip(self, volume_id: str, doomed: Path, key: VolumeKey | None) -> None:
        """Raises NotYet when somebody wants the volume before it is done."""
        tip = self._machine.layout.volume(volume_id)

        async def work() -> None:
            async with self._machine.disks([volume_id]):
                user, task = self._user_of(volume_id), asyncio.current_task()
                if user is not None and self._machine.find(user) is not None:
                    raise NotYet(f"{volume_id} is open")
                if self._machine.pool.layers.parent(tip) != doomed:
                    raise NotYet(f"{volume_id} lies on another layer")
                assert task is not None
                self._machine.yielding[volume_id] = task
                try:
                    await self._stream(tip, doomed, key)
                finally:
                    del self._machine.yielding[volume_id]
                await self._machine.drop_layer(tip, doomed)

        task = asyncio.create_task(work())
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
        if task.cancelled():
            raise NotYet(f"{volume_id} is wanted")
        task.result()

    async def _into_open_tip(self, monitor: Monitor, volume_id: str, doomed: Path) -> None:
        layers = self._machine.pool.layers
        tip, below = self._machine.layout.volume(volume_id), layers.parent(doomed)
        nodes = await devices.nodes(monitor)
        if not {layer_node(volume_id, file_name(each)) for each in (tip, below) if each} <= nodes.keys():
            raise NotYet(f"{volume_id} is open with other files")
        name = file_name(tip)
        upper, base = Layer.of(tip), Layer.of(below) if below else None
        if not await devices.has_job(monitor, volume_id):
            header = layers.name(below) if below else None
            begin = partial(layering.begin_merging, monitor, volume_id, upper, base, header)
            await self._machine.effects.perform("begin merging", begin)
        while not await layering.merging_ended(monitor, volume_id, upper, base):
            await asyncio.sleep(_LOOK_SECONDS)
        async with self._machine.disks([volume_id]):
            if file_name(tip) != name or layers.parent(tip) != doomed:
                raise NotYet(f"a snapshot of {volume_id} was taken meanwhile")
            await self._machine.effects.perform("flush merged", partial(layering.flush, monitor, volume_id, upper))
            await self._machine.drop_layer(tip, doomed)
            forget = partial(devices.close_unused, monitor, volume_id)
            await self._machine.effects.perform("close layer", forget)

    async def _into_layer(self, doomed: Path, child: Path) -> None:
        """Have a copy of `child` that has what is in `doomed` as well in its place."""
        key, layers = self._key(child), self._machine.pool.layers
        copy = child.with_suffix(NEW)

        async def replace() -> None:
            if copy.exists():
                copy.chmod(0o400)
                copy.rename(child)

        try:
            copying = ("cp", "--sparse=always", "--reflink=auto", "--no-preserve=mode", str(child), str(copy))
            await run(copying, seconds_max=_COPY_SECONDS_MAX)
            await self._stream(copy, doomed, key)
            if layers.parent(child) != doomed or not child.exists():
                return  # both have gone meanwhile
            tips = {volume_id: self._machine.layout.volume(volume_id) for volume_id in self._followed}
            self._followed -= {volume_id for volume_id, tip in tips.items() if child in layers.chain(tip)}
            await self._machine.effects.perform("replace layer", replace)
        finally:
            copy.unlink(missing_ok=True)
        await self._machine.drop_layer(child, doomed)
        self._merged(child.stem)
        self.wake()  # those that have it open follow

    async def _stream(self, upper: Path, doomed: Path, key: VolumeKey | None) -> None:
        """Bring into a file that no guest has open what is in the layer below it."""
        layers = self._machine.pool.layers
        files = [upper, *layers.chain(doomed)]
        disk = Disk("vol-00000000", tuple(map(Layer.of, files)), keys={} if key is None else luks.passphrases(key.all))
        below = files[2] if len(files) > 2 else None
        async with keeper(self._machine.layout, "merge") as monitor:
            await devices.add_disk(monitor, disk)
            header = layers.name(below) if below else None
            base = Layer.of(below) if below else None
            await layering.begin_merging(monitor, disk.volume_id, Layer.of(upper), base, header)
            while not await layering.merging_ended(monitor, disk.volume_id, Layer.of(upper), base):
                await asyncio.sleep(_LOOK_SECONDS)

    def _key(self, child: Path) -> VolumeKey | None:
        """What opens a file and those below it. Raises NotYet if it has to be asked for."""
        if not any(map(qcow2.encrypted, self._machine.pool.layers.chain(child))):
            return None
        living = child
        while living in self._machine.pool.layers.dooms():  # its key is asked for by one that the control plane knows
            (living,) = self._machine.pool.layers.children(living)[:1] or [child]
        if living.stem not in self._keys:
            self.missing.add(living.stem)
            self._want_keys()
            raise NotYet(f"the key of {living.stem} is still to come")
        return self._keys.pop(living.stem)


def _passes(error: Exception) -> bool:
    """Whether it is no more than a matter of time: QEMU ended meanwhile, or did not answer."""
    return isinstance(error, NotYet | MonitorError) and not isinstance(error, Refused)
