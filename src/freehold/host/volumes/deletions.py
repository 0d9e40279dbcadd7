"""Volumes that are to be deleted though no guest goes with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from freehold.host.errors import NotYet
from freehold.host.layout import is_volume_id
from freehold.host.machine import Machine
from freehold.host.worker import Worker

log = structlog.get_logger()

_RETRY_SECONDS = 10.0


class Deletions(Worker):
    """Told which volumes are to go; deletes them by itself, until it is closed. `changed` is called when there is
    something to report.

    It keeps nothing across a restart: the control plane says so again until it has heard that a volume is gone.
    """

    def __init__(self, machine: Machine, changed: Callable[[], None]) -> None:
        super().__init__("deletion of volumes", _RETRY_SECONDS)
        self._machine = machine
        self._changed = changed
        self._doomed: set[str] = set()
        self._deleted: set[str] = set()

    def delete(self, volume_ids: Iterable[str]) -> None:
        """Have these volumes gone, some time soon."""
        for volume_id in volume_ids:
            if is_volume_id(volume_id):
                self._doomed.add(volume_id)
                self.wake()
            else:
                log.error("not the id of a volume", volume=volume_id)

    def deleted(self) -> tuple[str, ...]:
        """What is gone and was not yet reported to be. `reported` must follow once it has been sent."""
        return tuple(sorted(self._deleted))

    def reported(self, volume_ids: Iterable[str]) -> None:
        self._deleted.difference_update(volume_ids)

    async def _round(self) -> float | None:
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
