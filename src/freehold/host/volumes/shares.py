"""Volumes that several guests have at once: each has a QEMU of its own (hypervisor/sharing.py), which outlives the
agent as guests do, is started again when it ends while a guest has the volume, and ended when none has it any more."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from freehold.host.errors import HostError, NotYet
from freehold.host.machine import Machine
from freehold.host.wire import VolumeKey, VolumeSpec
from freehold.host.worker import Worker

log = structlog.get_logger()

_RETRY_SECONDS = 2.0

Use = tuple[VolumeSpec, Mapping[str, VolumeKey]]


class Sharing(Worker):
    """`uses_of` has what the guests whose QEMU runs are to have of a volume, each with what opens it, as far as that is
    known; None in place of the volume of one that is to let go of it."""

    def __init__(self, machine: Machine, uses_of: Callable[[str], list[Use | None]]) -> None:
        super().__init__("shared volumes", _RETRY_SECONDS)
        self._machine = machine
        self._uses_of = uses_of
        machine.shares.changed = self.wake

    async def close(self) -> None:
        await super().close()
        await self._machine.shares.close()

    async def _round(self) -> float | None:
        pause = None
        for entry in sorted(self._machine.layout.shares.iterdir()):
            volume_id = entry.name
            async with self._machine.disks((volume_id,)):
                try:
                    await self._settle(volume_id)
                except NotYet as error:
                    pause = pause or error.seconds
                except (HostError, OSError) as error:
                    log.warning("shared volume is looked at again", volume=volume_id, error=str(error))
                    pause = _RETRY_SECONDS
        return pause

    async def _settle(self, volume_id: str) -> None:
        uses = self._uses_of(volume_id)
        if not uses:
            await self._machine.close_share(volume_id)
            return
        for use in filter(None, uses):
            volume, keys = use
            if not volume.encrypted or volume_id in keys or self._machine.find(volume_id) is not None:
                await self._machine.open_share(volume, keys)
                return
