"""Guests that hold still while a snapshot is taken, and what a host bears from the program in them that it asks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.host import freezing
from freehold.host.cgroup import Cgroups
from freehold.host.effects import Effects
from freehold.host.freezing import Freezing
from freehold.host.hypervisor import guest_agent
from freehold.host.hypervisor.guest_agent import LINE_BYTES_MAX, AgentError, GuestAgent, GuestAgents
from freehold.host.layout import GuestPaths, Layout, process_name
from freehold.host.machine import Machine
from freehold.host.ports.vswitch import Vswitch
from freehold.paths import Paths
from tests.cli.clouds import short_place

INSTANCE = "i-0123456789abcdef0"
T = TypeVar("T")


class Agent:
    """One that answers as QEMU's does. `deaf` to these commands, it says nothing at all."""

    def __init__(self, *, frozen: bool = False) -> None:
        self.frozen = frozen
        self.deaf: set[str] = set()
        self.heard: list[str] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(b'half an answer to somebody el\n{"return": 7}\nse')
        while line := await reader.readline():
            said = json.loads(line.lstrip(b"\xff"))
            command = said["execute"].removeprefix("guest-")
            self.heard.append(command)
            if command in self.deaf:
                continue
            match command:
                case "sync-delimited":
                    writer.write(b"\xff" + json.dumps({"return": said["arguments"]["id"]}).encode() + b"\n")
                case "fsfreeze-freeze" if self.frozen:
                    writer.write(b'{"error": {"class": "CommandNotFound", "desc": "disabled while frozen"}}\n')
                case "fsfreeze-freeze":
                    self.frozen = True
                    writer.write(b'{"return": 1}\n')
                case "fsfreeze-thaw":
                    writer.write(json.dumps({"return": int(self.frozen)}).encode() + b"\n")
                    self.frozen = False
        writer.close()
        await writer.wait_closed()
        self.connections -= 1


@pytest.fixture(autouse=True)
def _again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezing, "_RETRY_SECONDS", 0.05)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """For tests whose agent will not do that: from now on it has less time to."""
    return lambda do: monkeypatch.setattr(guest_agent, f"{do}_SECONDS_MAX", 0.3)


class Guest:
    """A guest without a machine: a process with its name, and an agent."""

    def __init__(self, machine: Machine, agent: Agent) -> None:
        self.machine = machine
        self.agent = agent
        self.settled = asyncio.Event()
        self.freezing = Freezing(machine, self.settled.set)

    @property
    def paths(self) -> GuestPaths:
        return self.machine.layout.guest(INSTANCE)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.01)

    async def hold(self) -> None:
        """As a round of the snapshots does, which is woken."""
        async with asyncio.timeout(20):
            while not self.freezing.hold(INSTANCE):
                self.settled.clear()
                await self.settled.wait()

    async def until_thawed(self) -> None:
        await self.until(lambda: not self.agent.frozen and not self.paths.frozen.exists())


@contextmanager
def process_of(layout: Layout) -> Iterator[subprocess.Popen[bytes]]:
    name = f"guest={process_name(layout.tag, INSTANCE)}"
    with subprocess.Popen(("sh", "-c", "echo; read line", "qemu", "-name", name), stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def machine_of(layout: Layout, effects: Effects) -> Machine:
    return Machine(layout, "tcg", Vswitch(layout.ovsdb), Cgroups(layout.tag, ()), effects)


def with_guest(
    act: Callable[[Guest, subprocess.Popen[bytes]], Awaitable[None]],
    agent: Agent,
    *,
    marked: bool = False,
    effects: Effects | None = None,
) -> None:
    async def run(layout: Layout, process: subprocess.Popen[bytes]) -> None:
        machine = machine_of(layout, effects or Effects())
        guest = Guest(machine, agent)
        guest.paths.directory.mkdir()
        if marked:
            guest.paths.frozen.touch()
        async with await asyncio.start_unix_server(agent.serve, guest.paths.guest_agent):
            guest.freezing.start()
            await act(guest, process)
            await guest.freezing.close()
            machine.agents.drop(INSTANCE)
            await guest.until(lambda: not agent.connections)
        assert not guest.freezing._holds

    with short_place() as place:
        layout = Layout(Paths(place))
        layout.prepare()
        with process_of(layout) as process:
            asyncio.run(run(layout, process))


def test_a_guest_is_frozen_until_it_is_released_and_each_time_anew() -> None:
    async def act(guest: Guest, _: object) -> None:
        for _ in range(2):
            assert not guest.freezing.hold(INSTANCE)
            await guest.hold()
            assert guest.agent.frozen
            assert guest.paths.frozen.exists()
            guest.freezing.release(INSTANCE)
            assert not guest.freezing.hold(INSTANCE)  # for another instant
            await guest.hold()
            assert guest.agent.frozen
            guest.freezing.release(INSTANCE)
            await guest.until_thawed()
            await guest.until(lambda: not guest.freezing._holds)
        done = [command for command in guest.agent.heard if command != "sync-delimited"]
        assert done == ["fsfreeze-freeze", "fsfreeze-thaw"] * 4

    with_guest(act, Agent())


def test_a_guest_that_nobody_releases_is_thawed_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezing, "_HOLD_SECONDS", 0.1)

    async def act(guest: Guest, _: object) -> None:
        await guest.hold()
        await guest.until_thawed()

    with_guest(act, Agent())


def test_guests_are_thawed_when_the_host_agent_ends() -> None:
    agent = Agent()

    async def act(guest: Guest, _: object) -> None:
        await guest.hold()
        assert agent.frozen

    with_guest(act, agent)
    assert not agent.frozen


def test_what_an_agent_that_was_cut_left_frozen_is_thawed_by_the_next() -> None:
    async def act(guest: Guest, _: object) -> None:
        await guest.until_thawed()

    with_guest(act, Agent(frozen=True), marked=True)


class Cut(Effects):
    """After its effect number `last` nothing more is done."""

    def __init__(self, last: int) -> None:
        self.left = last
        self.over = asyncio.Event()

    async def perform(self, name: str, action: Callable[[], Awaitable[T]]) -> T:
        result = await action()
        self.left -= 1
        if self.left == 0:
            self.over.set()
            await asyncio.Event().wait()
        return result


@pytest.mark.parametrize("last", range(1, 5))
def test_an_agent_may_be_cut_after_any_effect(last: int) -> None:
    cut = Cut(last)

    async def live(guest: Guest) -> None:
        await guest.hold()
        guest.freezing.release(INSTANCE)

    async def act(guest: Guest, _: object) -> None:
        living = asyncio.create_task(live(guest))
        async with asyncio.timeout(20):
            await cut.over.wait()
        tasks = [living, *(hold.task for hold in guest.freezing._holds.values() if hold.task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        guest.machine.agents.drop(INSTANCE)
        assert guest.agent.frozen == (last == 2)
        following = Guest(machine_of(guest.machine.layout, Effects()), guest.agent)
        following.freezing.start()
        await following.until_thawed()
        await following.freezing.close()
        following.machine.agents.drop(INSTANCE)

    with_guest(act, Agent(), effects=cut)


class Twice(Effects):
    async def perform(self, name: str, action: Callable[[], Awaitable[T]]) -> T:
        await action()
        return await action()


def test_every_effect_may_be_done_twice() -> None:
    async def act(guest: Guest, _: object) -> None:
        await guest.hold()
        guest.freezing.release(INSTANCE)
        await guest.until_thawed()

    with_guest(act, Agent(), effects=Twice())


@pytest.mark.parametrize("deaf", ["sync-delimited", "fsfreeze-freeze"])
def test_a_snapshot_does_not_wait_for_an_agent_that_is_silent(deaf: str, impatient: Callable[[str], None]) -> None:
    impatient("SYNC" if deaf == "sync-delimited" else "FREEZE")

    async def act(guest: Guest, _: object) -> None:
        guest.agent.deaf = {deaf}
        await guest.hold()
        assert not guest.agent.frozen
        assert guest.paths.frozen.exists() == (deaf == "fsfreeze-freeze")  # it may freeze later
        guest.freezing.release(INSTANCE)
        await guest.until_thawed()

    with_guest(act, Agent())


def test_a_guest_that_does_not_thaw_is_told_again_while_snapshots_are_taken(impatient: Callable[[str], None]) -> None:
    async def act(guest: Guest, _: object) -> None:
        await guest.hold()
        impatient("FREEZE")
        guest.agent.deaf = {"fsfreeze-thaw"}
        guest.freezing.release(INSTANCE)
        for _ in range(2):
            await guest.hold()
            guest.freezing.release(INSTANCE)
        assert guest.agent.frozen
        assert guest.paths.frozen.exists()
        guest.agent.deaf = set()
        await guest.until_thawed()

    with_guest(act, Agent())


def test_a_guest_that_has_ended_needs_no_thaw(impatient: Callable[[str], None]) -> None:
    async def act(guest: Guest, process: subprocess.Popen[bytes]) -> None:
        guest.agent.deaf = {"fsfreeze-thaw"}
        await guest.hold()
        impatient("FREEZE")
        guest.freezing.release(INSTANCE)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        await guest.until(lambda: not guest.paths.frozen.exists())

    async def memory(guest: Guest, process: subprocess.Popen[bytes]) -> None:
        """But one whose memory is kept goes on as it was."""
        kept = guest.machine.memories.path(INSTANCE)
        kept.parent.mkdir(exist_ok=True)
        kept.touch()
        guest.agent.deaf = {"fsfreeze-thaw"}
        await guest.hold()
        guest.freezing.release(INSTANCE)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        await guest.until(lambda: guest.agent.heard.count("fsfreeze-thaw") > 2)
        assert guest.paths.frozen.exists()
        guest.agent.deaf = set()
        await guest.until_thawed()

    with_guest(act, Agent())
    with_guest(memory, Agent())


@asynccontextmanager
async def speaking(answers: bytes, *, silent: bool = False) -> AsyncIterator[GuestAgent]:
    """A connection on which all this comes, and then its end, or nothing more."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours, limit=LINE_BYTES_MAX)
    theirs.setblocking(False)
    sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(theirs, answers))
    if not silent:
        sending.add_done_callback(lambda _: theirs.close())
    try:
        yield GuestAgent(reader, writer)
    finally:
        writer.transport.abort()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        theirs.close()


async def refuses(do: str, answers: bytes, *, silent: bool = False) -> None:
    async with speaking(answers, silent=silent) as agent:
        with pytest.raises(AgentError):
            await getattr(agent, do)()


WRONG = {
    "nothing": b"",
    "another number": b'\xff{"return": 2147483648}\n' * 99,
    "no number": b'\xff{"return": "1"}\n',
    "deep": b'\xff{"return": ' + b"[" * 15000 + b"\n",
    "deep aside": b'\xff{"x": ' + b'{"x": ' * 2000 + b"\n",
    "no text": b"\xff\xfe\x00\n",
    "an endless line": b"a" * (1 << 20),
    "endless lines": b"a\n" * (1 << 20),
    "an error": b'{"error": {"class": "GenericError", "desc": "no"}}\n',
}


@pytest.mark.parametrize("answers", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("silent", [False, True], ids=["ends", "stays"])
def test_nonsense_is_refused(answers: bytes, silent: bool, impatient: Callable[[str], None]) -> None:
    impatient("SYNC")
    asyncio.run(refuses("sync", answers, silent=silent))


@pytest.mark.parametrize("name", sorted(WRONG.keys() - {"another number"}))
def test_an_agent_that_answers_nonsense_has_not_done_it(name: str) -> None:
    for do in ("freeze", "thaw"):
        asyncio.run(refuses(do, WRONG[name]))


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_whatever_is_said_is_an_answer_or_an_agents_error(answers: bytes) -> None:
    async def hear() -> None:
        async with speaking(answers) as agent:
            for do in (agent.sync, agent.freeze, agent.thaw):
                try:
                    await do()
                except AgentError:
                    return

    asyncio.run(hear())


def test_nobody_behind_the_port(tmp_path: Path) -> None:
    with pytest.raises(AgentError):
        asyncio.run(GuestAgents().get(INSTANCE, tmp_path / "agent.sock"))
