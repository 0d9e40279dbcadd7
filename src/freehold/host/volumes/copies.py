"""Copies of snapshots. Under the same key a copy is an empty layer over what it is a copy of; under another one all
data is read and written anew, by a QEMU of our own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import structlog

from freehold.host.errors import CannotStart, HostError
from freehold.host.hypervisor import devices, layering
from freehold.host.hypervisor.disks import Disk, Layer
from freehold.host.layout import is_snapshot_id
from freehold.host.machine import Machine
from freehold.host.volumes import luks, qcow2
from freehold.host.volumes.keeper import keeper
from freehold.host.volumes.layers import NEW
from freehold.host.wire import CopySpec, VolumeKey
from freehold.host.worker import Worker

log = structlog.get_logger()

_RETRY_SECONDS = 10.0
_LOOK_SECONDS = 0.5
_SOURCE, _TARGET = "vol-00000001", "vol-00000002"  # what the two are called in our QEMU


class Copies(Worker):
    """Told which copies are to be made. `made` is called with the id of each that is, how far it has come (in percent),
    and what is wrong if it can not be made. `machine.to_keep` has what they are copies of while they are made.

    It keeps nothing across a restart: the control plane says again what it has not heard to be done.
    """

    def __init__(self, machine: Machine, made: Callable[[str, int, str | None], None]) -> None:
        super().__init__("copies of snapshots", _RETRY_SECONDS)
        self._machine = machine
        self._made = made
        self._wanted: dict[str, CopySpec] = {}
        self._keys: dict[str, VolumeKey] = {}

    def make(self, wanted: Iterable[CopySpec], keys: Mapping[str, VolumeKey]) -> None:
        """Have these copies made. `keys` open the encrypted ones, and their sources, by snapshot id."""
        for spec in wanted:
            if not (is_snapshot_id(spec.snapshot_id) and is_snapshot_id(spec.source_id)):
                log.error("not the ids of snapshots", copy=spec.snapshot_id, source=spec.source_id)
                continue
            self._wanted[spec.snapshot_id] = spec
            self._machine.to_keep.add(spec.source_id)
            self._keys |= {each: keys[each] for each in (spec.snapshot_id, spec.source_id) if each in keys}
            self.wake()

    async def _round(self) -> float | None:
        pause = None
        for spec in list(self._wanted.values()):
            failure = None
            try:
                if not self._machine.pool.layers.frozen(spec.snapshot_id):
                    await self._copy(spec)
            except CannotStart as error:
                failure = str(error)
            except (HostError, OSError) as error:
                log.warning("snapshot not copied, it is tried again", copy=spec.snapshot_id, error=str(error))
                pause = _RETRY_SECONDS
                continue
            del self._wanted[spec.snapshot_id]
            left = {source for each in self._wanted.values() for source in (each.source_id, each.snapshot_id)}
            self._keys = {each: key for each, key in self._keys.items() if each in left}
            self._machine.to_keep.intersection_update(each.source_id for each in self._wanted.values())
            self._made(spec.snapshot_id, 100, failure)
        return pause

    async def _copy(self, spec: CopySpec) -> None:
        source = self._machine.layout.layer(spec.source_id)
        if not source.exists():
            raise CannotStart(f"The data of {spec.source_id} is not on this host.")
        for snapshot_id, encrypted in ((spec.snapshot_id, spec.encrypted), (spec.source_id, qcow2.encrypted(source))):
            if encrypted and snapshot_id not in self._keys:
                raise CannotStart(f"There is no key for {snapshot_id}: its KMS key can not be used.")
        key = self._keys[spec.snapshot_id].key if spec.encrypted else None
        pool = self._machine.pool
        if spec.rewritten:
            await pool.make_layer(spec.snapshot_id, qcow2.size(source), None, key, partial(self._fill, spec))
        else:
            await pool.make_layer(spec.snapshot_id, qcow2.size(source), source, key, None)

    async def _fill(self, spec: CopySpec) -> None:
        """Write the source's data into the copy's file."""
        source = self._machine.layout.layer(spec.source_id)
        key, own = self._keys.get(spec.source_id), self._keys.get(spec.snapshot_id)
        files = tuple(Layer.of(path) for path in self._machine.pool.layers.chain(source))
        target = Layer.of(self._machine.layout.layer(spec.snapshot_id).with_suffix(NEW))
        async with keeper(self._machine.layout, "copy") as monitor:
            opening = {} if key is None else luks.passphrases(key.all)
            await devices.add_disk(monitor, Disk(_SOURCE, files, keys=opening, writable=False))
            opening = {} if own is None else luks.passphrases(own.all)
            await devices.add_disk(monitor, Disk(_TARGET, (target,), keys=opening))
            await layering.begin_copying(monitor, _SOURCE, _TARGET)
            while not await layering.copying_ended(monitor, _TARGET):
                self._made(spec.snapshot_id, min(99, await layering.percent(monitor, _TARGET)), None)
                await asyncio.sleep(_LOOK_SECONDS)
