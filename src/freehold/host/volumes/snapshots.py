"""Snapshots that are to be taken of volumes, whether a guest writes to them or not, and snapshots that are to go."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import structlog

from freehold.host.errors import CannotStart, HostError, NotYet
from freehold.host.freezing import Freezing
from freehold.host.hypervisor import devices, guest_agent, layering
from freehold.host.hypervisor.disks import Layer, file_name, layer_node
from freehold.host.hypervisor.monitor import Monitor
from freehold.host.layout import is_snapshot_id, is_volume_id
from freehold.host.machine import Machine
from freehold.host.volumes import qcow2
from freehold.host.wire import MESSAGE_CHARACTERS_MAX, SnapshotReport, SnapshotSpec, VolumeKey
from freehold.host.worker import Worker

log = structlog.get_logger()

_RETRY_SECONDS = 10.0
_PATIENCE_SECONDS = 120.0  # for a volume to be made, or attached

UserOf = Callable[[str], str | None]
MonitorOf = Callable[[str], Monitor | None]
Rests = Callable[[str], bool]


class Snapshots(Worker):
    """Told which snapshots are to be taken and which are to go. `changed` is called when there is something to report;
    `user_of` says whose guest has a volume, `monitor_of` gives the monitor of a guest's QEMU while the agent has it,
    `rests` says whether a guest has shut down.

    It keeps nothing across a restart: the control plane says again what it has not heard to be done.
    """

    def __init__(
        self,
        machine: Machine,
        changed: Callable[[], None],
        user_of: UserOf,
        monitor_of: MonitorOf,
        rests: Rests,
        sources: Callable[[], set[str]],
    ) -> None:
        super().__init__("snapshots", _RETRY_SECONDS)
        self._machine = machine
        self._changed = changed
        self._user_of = user_of
        self._monitor_of = monitor_of
        self._rests = rests
        self._sources = sources
        self._wanted: dict[str, SnapshotSpec] = {}
        self._since: dict[str, float] = {}  # when a group was first looked at
        self._keys: dict[str, VolumeKey] = {}
        self._doomed: set[str] = set()
        self._taken: dict[str, SnapshotReport] = {}
        self._deleted: set[str] = set()
        self._progress = asyncio.Condition()
        self._freezing = Freezing(machine, self.wake)

    def start(self) -> None:
        self._freezing.start()
        super().start()

    async def close(self) -> None:
        await super().close()
        await self._freezing.close()

    def take(self, wanted: Iterable[SnapshotSpec], keys: Mapping[str, VolumeKey]) -> None:
        """Have these snapshots taken, as soon as can be. `keys` open the encrypted ones' volumes, by volume id."""
        for spec in wanted:
            if is_snapshot_id(spec.snapshot_id) and is_volume_id(spec.volume_id):
                self._wanted[spec.snapshot_id] = spec
                self._machine.to_freeze.add(spec.volume_id)
                if spec.volume_id in keys:
                    self._keys[spec.volume_id] = keys[spec.volume_id]
                self.wake()
            else:
                log.error("not the ids of a snapshot and a volume", snapshot=spec.snapshot_id, volume=spec.volume_id)

    def delete(self, snapshot_ids: Iterable[str]) -> None:
        """Have these snapshots gone, some time soon."""
        for snapshot_id in snapshot_ids:
            if is_snapshot_id(snapshot_id):
                self._doomed.add(snapshot_id)
                self.wake()
            else:
                log.error("not the id of a snapshot", snapshot=snapshot_id)

    async def until_taken(self, snapshot_ids: Sequence[str]) -> None:
        """Wait until these are taken, or can not be: also for those of which nobody has told yet."""

        def over(snapshot_id: str) -> bool:
            return snapshot_id in self._taken or self._machine.pool.layers.frozen(snapshot_id)

        async with self._progress:
            await self._progress.wait_for(lambda: all(map(over, filter(is_snapshot_id, snapshot_ids))))

    def report_again(self, snapshot_id: str) -> None:
        """Say what a snapshot holds: it has changed."""
        if is_snapshot_id(snapshot_id):
            self._taken[snapshot_id] = self._taking(snapshot_id)
            self._changed()

    def copied(self, snapshot_id: str, percent: int, failure: str | None) -> None:
        """Say how far a copy has come."""
        if percent == 100 and failure is None:
            self.report_again(snapshot_id)
        else:
            message = failure and failure[:MESSAGE_CHARACTERS_MAX]
            self._taken[snapshot_id] = SnapshotReport(snapshot_id, 0, 0, message, percent)
            self._changed()
        self.wake()  # what it was a copy of may go now

    def _taking(self, snapshot_id: str) -> SnapshotReport:
        files = self._machine.pool.layers.chain(self._machine.layout.layer(snapshot_id))
        return SnapshotReport(snapshot_id, qcow2.allocated(files[0]), sum(map(qcow2.allocated, files)))

    def taken(self) -> tuple[SnapshotReport, ...]:
        """What was taken, or can not be, and was not yet reported to be."""
        return tuple(self._taken.values())

    def deleted(self) -> tuple[str, ...]:
        """What is gone and was not yet reported to be."""
        return tuple(sorted(self._deleted))

    def reported(self, taken: Iterable[SnapshotReport], deleted: Iterable[str]) -> None:
        for report in taken:
            self._taken.pop(report.snapshot_id, None)
        self._deleted.difference_update(deleted)

    async def _round(self) -> float | None:
        pause: float | None = None
        groups: dict[str, list[SnapshotSpec]] = defaultdict(list)
        for spec in self._wanted.values():
            groups[spec.group].append(spec)
        for group in groups.values():
            try:
                await self._take(group)
            except NotYet as error:
                since = self._since.setdefault(group[0].group, time.monotonic())
                if not group[0].at_rest and time.monotonic() - since > _PATIENCE_SECONDS:
                    await self._report(group, str(error))
                pause = error.seconds
            except CannotStart as error:
                await self._report(group, str(error))
            except (HostError, OSError) as error:
                log.warning("snapshot not taken, it is tried again", snapshot=group[0].snapshot_id, error=str(error))
                pause = pause or _RETRY_SECONDS
            else:
                await self._report(group, None)
        begun = {snapshot_id: volume_id for volume_id, snapshot_id in self._machine.pool.layers.prepared()}
        if (sources := self._sources()) & self._doomed:
            pause = pause or NotYet.seconds
        for snapshot_id in sorted(self._doomed - self._wanted.keys() - self._machine.to_keep - sources):
            if snapshot_id in begun:  # and QEMU may have gone over
                await self._take([SnapshotSpec(snapshot_id, begun[snapshot_id], snapshot_id)], still=False)
            await self._machine.delete_snapshot(snapshot_id)
            self._doomed.discard(snapshot_id)
            self._deleted.add(snapshot_id)
            self._changed()
        return pause

    async def _report(self, group: Sequence[SnapshotSpec], failure: str | None) -> None:
        self._since.pop(group[0].group, None)
        for spec in group:
            if failure is None:
                self._taken[spec.snapshot_id] = self._taking(spec.snapshot_id)
            else:
                message = failure[:MESSAGE_CHARACTERS_MAX]
                self._taken[spec.snapshot_id] = SnapshotReport(spec.snapshot_id, 0, 0, message)
            del self._wanted[spec.snapshot_id]
            if not any(other.volume_id == spec.volume_id for other in self._wanted.values()):
                self._keys.pop(spec.volume_id, None)
                self._machine.to_freeze.discard(spec.volume_id)
        self._changed()
        async with self._progress:
            self._progress.notify_all()

    async def _take(self, group: Sequence[SnapshotSpec], *, still: bool = True) -> None:
        """Take what is not taken yet of a group, while its guest holds `still`. Raises NotYet, CannotStart for what is
        not to be tried again, HostError, OSError."""
        async with self._machine.disks(spec.volume_id for spec in group):
            left = [spec for spec in group if not self._machine.pool.layers.frozen(spec.snapshot_id)]
            for spec in left:
                user = self._user_of(spec.volume_id)
                if spec.at_rest and user is not None and not self._rests(user):
                    raise NotYet(f"{user} has not shut down yet")
                await self._prepare(spec)
            by_user: dict[str, list[SnapshotSpec]] = defaultdict(list)
            for spec in left:
                if (user := self._user_of(spec.volume_id)) is not None and self._machine.find(user) is not None:
                    by_user[user].append(spec)
            for user, specs in by_user.items():
                monitor = self._monitor_of(user)
                if monitor is None:
                    raise NotYet(f"the monitor of {user} is not connected")
                if still and not await self._holds_still(user, monitor):
                    raise NotYet(f"{user} is made to hold still")
                try:
                    await self._machine.effects.perform("go over", partial(self._go_over, monitor, specs))
                finally:
                    self._freezing.release(user)
            for spec in left:
                await self._machine.freeze(spec.volume_id, spec.snapshot_id)

    async def _holds_still(self, user: str, monitor: Monitor) -> bool:
        """Whether a guest writes nothing, as far as it can be had to: one whose CPUs are stopped writes nothing new."""
        speaks = await guest_agent.is_there(monitor) and await monitor.status() == "running"
        return not speaks or self._freezing.hold(user)

    async def _prepare(self, spec: SnapshotSpec) -> None:
        layers = self._machine.pool.layers
        if layers.next_tip(spec.volume_id, spec.snapshot_id).exists():
            return
        if not self._machine.layout.volume(spec.volume_id).exists():
            raise NotYet(f"{spec.volume_id} is not made yet")
        key = self._keys.get(spec.volume_id)
        if spec.encrypted and key is None:
            raise CannotStart(f"There is no key for {spec.volume_id}: its KMS key can not be used.")
        own = key.key if spec.encrypted and key is not None else None
        make = partial(self._machine.pool.make_next_tip, spec.volume_id, spec.snapshot_id, own)
        await self._machine.effects.perform("make next tip", make)

    async def _go_over(self, monitor: Monitor, specs: Sequence[SnapshotSpec]) -> None:
        """Have QEMU write to the new tips from one instant on, unless it does so already."""
        nodes = await devices.nodes(monitor)
        tips = {}
        for spec in specs:
            tip = self._machine.layout.volume(spec.volume_id)
            path = self._machine.pool.layers.next_tip(spec.volume_id, spec.snapshot_id)
            old, new = (layer_node(spec.volume_id, file_name(each)) for each in (tip, path))
            if nodes.get(new):
                continue  # it lies on the old one
            if old not in nodes:
                raise NotYet(f"{spec.volume_id} is not attached yet")
            if new not in nodes:
                await layering.put_under(monitor, spec.volume_id, Layer.of(path))
            tips[old] = new
        if tips:
            await layering.go_over(monitor, tips)
