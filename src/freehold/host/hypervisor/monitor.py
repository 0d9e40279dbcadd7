"""QEMU's monitor (QMP): what state a guest's machine is in, and the few commands that change it.

Runstates that matter here (QEMU's qapi/run-state.json): ``prelaunch`` CPUs not started yet; ``running``; ``shutdown``
the guest powered off (QEMU stays, by ``-no-shutdown``); ``paused`` by command; ``io-error`` paused because the disk of
the host is full; ``internal-error``, ``guest-panicked``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from qemu.qmp import EventListener, ExecuteError, Message, QMPClient, QMPError

from freehold.host.errors import HostError

_ANSWER_SECONDS_MAX = 30.0
_EVENTS = ("SHUTDOWN", "RESET", "STOP", "RESUME", "BLOCK_IO_ERROR", "DEVICE_DELETED", "JOB_STATUS_CHANGE")


class MonitorError(HostError):
    """The monitor did not answer, or QEMU refused a command."""


class Refused(MonitorError):
    """QEMU heard the command and did not do it."""


class _Client(QMPClient):
    """One that does not put each message into words for a log that nobody keeps: that is a fifth of its work."""

    def _cb_outbound(self, msg: Message) -> Message:
        return msg

    def _cb_inbound(self, msg: Message) -> Message:
        return msg


class Monitor:
    """A connection to one QEMU. `changed` is called whenever its state may have changed, also when it is gone."""

    def __init__(self, client: QMPClient, changed: Callable[[], None]) -> None:
        self._client = client
        self._changed = changed
        self._sending = asyncio.Lock()
        self._hanging_up: asyncio.Task[None] | None = None
        self._watchers = (asyncio.create_task(self._watch_events()), asyncio.create_task(self._watch_connection()))
        self.alive = True

    @classmethod
    async def connect(cls, path: Path, changed: Callable[[], None]) -> Monitor:
        """Raises MonitorError if nobody answers there: QEMU ended, or hangs."""
        client = _Client(path.parent.name)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS_MAX):
                await client.connect(str(path))
        except (QMPError, OSError, TimeoutError) as error:
            raise MonitorError(f"QEMU's monitor does not answer: {error or 'time limit'}") from error
        return cls(client, changed)

    async def status(self) -> str:
        answer = await self.execute("query-status")
        return str(answer["status"]) if isinstance(answer, dict) else "unknown"

    async def start_cpus(self) -> None:
        await self.execute("cont")

    async def stop_cpus(self) -> None:
        await self.execute("stop")

    async def press_power_button(self) -> None:
        await self.execute("system_powerdown")

    async def reset(self) -> None:
        await self.execute("system_reset")

    async def interrupt(self) -> None:
        """Raise a non-maskable interrupt in the guest."""
        await self.execute("inject-nmi")

    async def quit(self) -> None:
        """Tell QEMU to end; it may end before it answers."""
        try:
            await self.execute("quit")
        except MonitorError:
            if self.alive:
                raise

    async def close(self) -> None:
        self.alive = False
        for watcher in self._watchers:
            if watcher is not asyncio.current_task():
                watcher.cancel()
        await self._disconnect()

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        """QEMU's answer to a command (QEMU QMP Reference Manual). Raises Refused, MonitorError."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS_MAX):
                return await self._client.execute(command, arguments)
        except ExecuteError as error:
            raise Refused(f"QEMU refused {command}: {error}") from error
        except (QMPError, OSError, EOFError, TimeoutError) as error:
            if not isinstance(error, TimeoutError) and self._client.runstate.name != "RUNNING":
                self.alive = False
            raise MonitorError(f"QEMU did not do {command}: {error or 'time limit'}") from error

    async def hand_over(self, descriptor: int, command: str, arguments: Mapping[str, object]) -> object:
        """QEMU's answer to a command that takes an open descriptor: `getfd` or `add-fd`. The caller keeps its own."""
        async with self._sending:  # QEMU gives a command the descriptor that came last
            try:
                self._client.send_fd_scm(descriptor)
            except OSError as error:
                raise MonitorError(f"QEMU was not handed a descriptor: {error.strerror}") from error
            return await self.execute(command, arguments)

    async def execute_until(
        self, command: str, arguments: Mapping[str, object], event: str, over: Callable[[Mapping[str, object]], bool]
    ) -> None:
        """Give a command and wait for an event of which `over` says, by its data, that what was begun is at its end.

        Raises Refused, MonitorError, the latter also when QEMU ends meanwhile.
        """
        with self._client.listener(event) as events:
            await self.execute(command, arguments)
            waiting = asyncio.create_task(_found(events, over))
            gone = self._watchers[1]
            await asyncio.wait((waiting, gone), timeout=_ANSWER_SECONDS_MAX, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                waiting.cancel()
                raise MonitorError(f"QEMU did not finish {command}.")

    async def _watch_events(self) -> None:
        with self._client.listener(_EVENTS) as events:
            await self._follow(events)

    async def _follow(self, events: EventListener) -> None:
        async for _ in events:
            self._changed()

    async def _watch_connection(self) -> None:
        await self._client.runstate_changed()
        self.alive = False
        await self._disconnect()
        self._watchers[0].cancel()
        self._changed()

    async def _disconnect(self) -> None:
        if self._hanging_up is None:
            self._hanging_up = asyncio.create_task(self._hang_up())
        # Once, to its end, whoever asks and is cancelled meanwhile: what the client gathers would be nobody's.
        await asyncio.shield(self._hanging_up)

    async def _hang_up(self) -> None:
        # It raises what ended the connection: the end of QEMU is no error here.
        with contextlib.suppress(QMPError, OSError, EOFError):
            await self._client.disconnect()


async def _found(events: EventListener, over: Callable[[Mapping[str, object]], bool]) -> None:
    async for event in events:
        if over(cast(Mapping[str, object], event["data"])):
            return
