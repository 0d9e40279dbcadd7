"""The threads that answer requests."""

from __future__ import annotations

import asyncio
import time

import pytest

from freehold.front.threads import Threads


def test_work_is_done_beside_other_work() -> None:
    async def test() -> None:
        threads = Threads(4, "test")
        try:
            results = await asyncio.gather(*(threads.do(lambda number=number: number * 2) for number in range(100)))
            assert results == [number * 2 for number in range(100)]
            with pytest.raises(ZeroDivisionError):
                await threads.do(lambda: 1 // 0)
        finally:
            threads.close()

    asyncio.run(test())


def test_what_nobody_waits_for_is_finished_before_it_closes() -> None:
    done: list[int] = []

    def slowly(number: int) -> None:
        time.sleep(0.05)
        done.append(number)

    async def test() -> None:
        threads = Threads(1, "test")
        waiting = [asyncio.ensure_future(threads.do(slowly, number)) for number in range(3)]
        await asyncio.sleep(0)
        for each in waiting:
            each.cancel()
        await asyncio.to_thread(threads.close)

    asyncio.run(test())
    assert done == [0, 1, 2]
