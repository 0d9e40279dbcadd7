"""What works beside the guests ends when it is told to, whatever wakes it at the same moment."""

from __future__ import annotations

import asyncio

import pytest

from freehold.host.worker import Worker


class Idle(Worker):
    async def _round(self) -> float | None:
        return 60.0


@pytest.mark.parametrize("steps", range(6))
def test_a_worker_that_was_just_woken_ends(steps: int) -> None:
    """`steps` of the event loop after it was woken."""

    async def wake_and_close() -> None:
        worker = Idle("idle", 60.0)
        worker.start()
        await asyncio.sleep(0.01)
        worker.wake()
        for _ in range(steps):
            await asyncio.sleep(0)
        closed, _ = await asyncio.wait({asyncio.create_task(worker.close())}, timeout=10)
        assert closed

    asyncio.run(wake_and_close())
