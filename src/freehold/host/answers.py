"""What this host answers when it is asked (freehold.questions): few questions at a time, each within its time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import assert_never

import structlog

from freehold.host.console import Console
from freehold.host.errors import HostError
from freehold.host.guest import Guest
from freehold.host.hypervisor import screen
from freehold.host.hypervisor.monitor import Monitor
from freehold.host.layout import guest_uid
from freehold.host.volumes.blocks import Blocks, NoSuchSnapshot
from freehold.host.volumes.snapshots import Snapshots
from freehold.host.wire import Ask
from freehold.questions import (
    WAITING_MAX,
    Answer,
    ChangedBlocks,
    Complete,
    ConsoleText,
    Interrupt,
    Question,
    ReadBlock,
    Screenshot,
    SnapshotBlocks,
    Taken,
    WriteBlock,
    patience,
)

log = structlog.get_logger()

_AT_ONCE_MAX = 16


class _Gone(Exception):
    """There is nothing to answer from."""


class Answers:
    """From the guests of an agent and their consoles, by instance id, and its snapshots."""

    def __init__(
        self, guests: Mapping[str, Guest], consoles: Mapping[str, Console], snapshots: Snapshots, blocks: Blocks
    ) -> None:
        self._guests = guests
        self._consoles = consoles
        self._snapshots = snapshots
        self._blocks = blocks
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()  # for what others do

    def take(self, ask: Ask, send: Callable[[Answer], None]) -> None:
        """Answer by `send`, once."""
        waits = isinstance(ask.question, Taken)
        tasks, most = (self._waiting, WAITING_MAX) if waits else (self._tasks, _AT_ONCE_MAX)
        if len(tasks) >= most:
            send(Answer(ask.number, refusal="busy"))
            return
        task = asyncio.create_task(self._answer(ask, send))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def close(self) -> None:
        tasks = (*self._tasks, *self._waiting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, ask: Ask, send: Callable[[Answer], None]) -> None:
        try:
            async with asyncio.timeout(patience(ask.question)):
                send(Answer(ask.number, await self._find(ask.question)))
        except _Gone:
            send(Answer(ask.number, refusal="gone"))
        except (HostError, OSError, TimeoutError) as error:
            log.warning("a question is not answered", question=type(ask.question).__name__, error=str(error))
            send(Answer(ask.number, refusal="failed"))
        except Exception:
            log.exception("a question is not answered")
            send(Answer(ask.number, refusal="failed"))

    async def _find(self, question: Question) -> bytes:
        match question:
            case ConsoleText():
                if question.instance_id not in self._consoles:
                    raise _Gone
                return self._consoles[question.instance_id].end()
            case Interrupt():
                await self._monitor(question.instance_id).interrupt()
                return b""
            case Screenshot():
                monitor = self._monitor(question.instance_id)
                return await screen.picture(monitor, guest_uid(question.instance_id), wake_up=question.wake_up)
            case Taken():
                await self._snapshots.until_taken(question.snapshot_ids)
                return b""
            case SnapshotBlocks() | ChangedBlocks() | ReadBlock() | WriteBlock() | Complete():
                try:
                    return await self._block(question)
                except NoSuchSnapshot:
                    raise _Gone from None
        assert_never(question)

    async def _block(self, question: SnapshotBlocks | ChangedBlocks | ReadBlock | WriteBlock | Complete) -> bytes:
        blocks, each = self._blocks, question
        match each:
            case SnapshotBlocks():
                return await blocks.allocated(each.snapshot_id, each.first, each.most)
            case ChangedBlocks():
                return await blocks.changed(each.before_id, each.after_id, each.first, each.most)
            case ReadBlock():
                return await blocks.read(each.snapshot_id, each.number, _keys(each))
            case WriteBlock():
                await blocks.begin(each.snapshot_id, each.size_gib, each.parent_id, each.key)
                await blocks.write(each.snapshot_id, each.number, each.data, _keys(each))
                return b""
            case Complete():
                await blocks.begin(each.snapshot_id, each.size_gib, each.parent_id, each.key)
                return await blocks.complete(each.snapshot_id)

    def _monitor(self, instance_id: str) -> Monitor:
        guest = self._guests.get(instance_id)
        if guest is None or guest.monitor is None:
            raise _Gone
        return guest.monitor


def _keys(question: ReadBlock | WriteBlock) -> tuple[bytes, ...]:
    return () if question.key is None else (question.key, *question.below)
