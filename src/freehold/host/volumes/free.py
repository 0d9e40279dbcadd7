"""Volumes that are to be made or deleted though they are no guest's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import structlog

from freehold.host.errors import HostError, NotYet
from freehold.host.layout import MalformedSpec, check_volume, is_volume_id
from freehold.host.machine import Machine
from freehold.host.wire import VolumeKey, VolumeSpec
from freehold.host.worker import Worker

log = structlog.get_logger()

_RETRY_SECONDS = 10.0


class FreeVolumes(Worker):
    """Told which volumes are to be there and which are to go; makes and deletes them by itself, until it is closed.
    `changed` is called when there is something to report.

    It keeps nothing across a restart: the control plane says so again until it has heard that it is done.
    """

    def __init__(self, machine: Machine, changed: Callable[[], None]) -> None:
        super().__init__("free volumes", _RETRY_SECONDS)
        self._machine = machine
        self._changed = changed
        self._wanted: dict[str, VolumeSpec] = {}
        self._keys: dict[str, VolumeKey] = {}
        self._made: set[str] = set()
        self._doomed: set[str] = set()
        self._deleted: set[str] = set()

    def make(self, wanted: Iterable[VolumeSpec], keys: Mapping[str, VolumeKey]) -> None:
        """Have these volumes, some time soon. `keys` open those that are encrypted."""
        for volume in wanted:
            try:
                check_volume(volume)
            except MalformedSpec as error:
                log.error("volume refused", error=str(error))
                continue
            if not volume.encrypted or volume.volume_id in keys:
                self._wanted[volume.volume_id] = volume
                self._keys.update((each, key) for each, key in keys.items() if each == volume.volume_id)
                self.wake()

    def sources(self) -> set[str]:
        """The ids of the snapshots that volumes are still to be made from."""
        return {volume.snapshot_id for volume in self._wanted.values() if volume.snapshot_id is not None}

    def made(self) -> tuple[str, ...]:
        """What is there and was not yet reported to be."""
        return tuple(sorted(self._made))

    def delete(self, volume_ids: Iterable[str]) -> None:
        """Have these volumes gone, some time soon."""
        for volume_id in volume_ids:
            if is_volume_id(volume_id):
                self._forget(volume_id)
                self._doomed.add(volume_id)
                self.wake()
            else:
                log.error("not the id of a volume", volume=volume_id)

    def deleted(self) -> tuple[str, ...]:
        """What is gone and was not yet reported to be. `reported` must follow once it has been sent."""
        return tuple(sorted(self._deleted))

    def reported(self, made: Iterable[str], deleted: Iterable[str]) -> None:
        self._made.difference_update(made)
        self._deleted.difference_update(deleted)

    def _forget(self, volume_id: str) -> None:
        self._wanted.pop(volume_id, None)
        self._keys.pop(volume_id, None)

    async def _round(self) -> float | None:
        return min((pause for pause in (await self._make(), await self._delete()) if pause is not None), default=None)

    async def _make(self) -> float | None:
        pause: float | None = None
        for volume_id, volume in list(self._wanted.items()):
            try:
                await self._machine.make_volume(volume, self._keys)
            except NotYet as error:
                pause = pause or error.seconds
            except (HostError, OSError) as error:
                log.warning("volume not made, it is tried again", volume=volume_id, error=str(error))
                pause = _RETRY_SECONDS
            else:
                if self._wanted.get(volume_id) is volume:
                    self._forget(volume_id)
                    self._made.add(volume_id)
                    self._changed()
        return pause

    async def _delete(self) -> float | None:
        pause: float | None = None
        for volume_id in sorted(self._doomed):
            try:
                await self._machine.delete_volume(volume_id)
            except NotYet as error:
                pause = pause or error.seconds
            except OSError as error:
                log.warning("volume not deleted, it is tried again", volume=volume_id, error=error.strerror)
                pause = _RETRY_SECONDS
            else:
                self._doomed.discard(volume_id)
                self._deleted.add(volume_id)
                self._changed()
        return pause
