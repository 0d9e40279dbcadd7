"""What keeps a thing of this machine as it should be, beside the guests' own loops."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod

import structlog

from freehold.host.errors import HostError

log = structlog.get_logger()


class Worker(ABC):
    """Goes its round whenever it is woken, until it is closed; again after `retry_seconds` when one has failed."""

    def __init__(self, name: str, retry_seconds: float) -> None:
        self._name = name
        self._retry_seconds = retry_seconds
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def _round(self) -> float | None:
        """Look at what is and at what should be, and make it so. Returns the seconds until the next round; None = not
        before it is woken. May be cut anywhere."""

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    def wake(self) -> None:
        self._woken.set()

    async def close(self) -> None:
        """Work no more; what was made stays."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            pause: float | None = self._retry_seconds
            try:
                pause = await self._round()
            except (HostError, OSError) as error:
                log.warning(self._name, error=str(error))
            except Exception:
                log.exception(f"{self._name} failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()
