"""The link to a host: who may open it, what it is told, and what its reports do, over real TLS on a Unix socket."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from freehold import pki
from freehold.config import Config
from freehold.control.hosts import HostLinks, link_security
from freehold.control.questions import take_questions
from freehold.front.questions import HostQuestions
from freehold.host.wire import Ask, Assignment, ControlMessage, GuestReport, Hello, Report, encode
from freehold.questions import Answer, ConsoleText, NoAnswer, Taken
from freehold.records.compute import Host, Instance, Volume, VolumeAttachment
from freehold.records.migrations import upgrade
from freehold.records.secrets import Sealer
from freehold.records.store import Store
from freehold.records.volumes import begin_deleting
from freehold.records.wake import SocketBell

from .builders import HOST, make_host, make_instance, make_network

T = TypeVar("T")
HELLO = Hello(HOST, None, 2, 4096, "tcg")


class HostEnd:
    """A host's end of a link. Assignments and questions may come in any order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._told: list[ControlMessage] = []

    async def send(self, message: Hello | Report | Answer) -> None:
        self._writer.write(encode(message))
        await self._writer.drain()

    async def assigned(self) -> Assignment:
        return await self._next(Assignment)

    async def asked(self) -> Ask:
        return await self._next(Ask)

    async def _next(self, kind: type[T]) -> T:
        """What it was told first of this kind."""
        while not (found := [message for message in self._told if isinstance(message, kind)]):
            length = int.from_bytes(await self._reader.readexactly(4), "big")
            self._told.append(msgspec.json.decode(await self._reader.readexactly(length), type=ControlMessage))
        self._told.remove(found[0])
        return found[0]

    async def closed(self) -> bool:
        return await self._reader.read(1) == b""

    async def close(self) -> None:
        self._writer.close()


@pytest.fixture
def plane(tmp_path: Path) -> Callable[[Callable[..., Awaitable[None]]], None]:
    """Run a coroutine function with (links, connect, store), `connect(common name)` giving a host's end; its
    certificate is of the cloud's authority, or of the one in another directory."""
    ours = tmp_path / "pki"
    pki.ensure(ours, HOST)
    (tmp_path / "bells").mkdir()
    url = f"sqlite:///{tmp_path / 'state.db'}"
    upgrade(url)

    async def connect(name: str, issuer: Path = ours) -> HostEnd:
        pki.Authority.of(issuer).ensure_leaf(issuer, name, name, server=False)
        security = ssl.create_default_context(cafile=str(ours / "ca.crt"))
        security.load_cert_chain(issuer / f"{name}.crt", issuer / f"{name}.key")
        streams = await asyncio.open_unix_connection(tmp_path / "hosts.sock", ssl=security, server_hostname="control")
        return HostEnd(*streams)

    async def serve(test: Callable[..., Awaitable[None]]) -> None:
        store = Store(url, SocketBell(tmp_path / "bells"))
        links = HostLinks(store, Config(), Sealer(bytes(32)))
        server = await links.serve(tmp_path / "hosts.sock", link_security(ours))
        try:
            await asyncio.wait_for(test(links, connect, store), 30)
        finally:
            server.close()
            store.close()

    return lambda test: asyncio.run(serve(test))


def records(store: Store) -> Instance:
    with store.write() as tx:
        make_network(tx)
        make_host(tx)
        return make_instance(tx)


def test_a_host_is_told_everything_and_then_what_changes(plane: Any) -> None:
    async def test(links: HostLinks, connect: Any, store: Store) -> None:
        instance = records(store)
        host = await connect(HOST)
        await host.send(HELLO)
        everything = await host.assigned()
        assert everything.complete
        assert [guest.instance_id for guest in everything.guests] == [instance.id]

        with store.write() as tx:
            tx.update(instance, state="stopping", generation=2)
        await links.send_changed([instance.id, "i-unknown"])
        change = await host.assigned()
        assert not change.complete
        assert [(guest.desired, guest.generation) for guest in change.guests] == [("stopped", 2)]
        await host.close()

    plane(test)


def test_a_host_is_told_which_volumes_are_to_go_until_it_says_they_are_gone(plane: Any) -> None:
    async def test(links: HostLinks, connect: Any, store: Store) -> None:
        records(store)
        host = await connect(HOST)
        await host.send(HELLO)
        assert (await host.assigned()).delete_volumes == ()
        with store.write() as tx:
            (volume,) = tx.select(Volume)
            tx.delete_where(VolumeAttachment, volume_id=volume.id)
            begin_deleting(tx, volume)
        await links.send_changed([], [volume.id, "vol-unknown"])
        assert await host.assigned() == Assignment((), complete=False, delete_volumes=(volume.id,))
        await host.close()

        again = await connect(HOST)
        await again.send(HELLO)
        assert (await again.assigned()).delete_volumes == (volume.id,)
        await again.send(Report((), (), (volume.id,)))
        await until(store, lambda tx: tx.count(Volume) == 0)
        await again.close()

    plane(test)


def test_its_reports_are_recorded_and_its_absence_too(plane: Any) -> None:
    async def test(links: HostLinks, connect: Any, store: Store) -> None:
        instance = records(store)
        host = await connect(HOST)
        await host.send(HELLO)
        await host.assigned()
        await host.send(Report((GuestReport(instance.id, 1, "running", instance.launched_at),)))
        await until(store, lambda tx: tx.get(Instance, instance.id).state == "running")
        await until(store, lambda tx: tx.get(Host, HOST).connected)
        await host.close()
        await until(store, lambda tx: not tx.get(Host, HOST).connected)

    plane(test)


def test_a_host_that_connects_again_takes_the_place_of_its_old_link(plane: Any) -> None:
    async def test(links: HostLinks, connect: Any, store: Store) -> None:
        instance = records(store)
        old, new = await connect(HOST), await connect(HOST)
        for host in (old, new):
            await host.send(HELLO)
            await host.assigned()
        await old.close()
        await links.send_changed([instance.id])
        assert (await new.assigned()).guests
        await until(store, lambda tx: tx.get(Host, HOST).connected)
        await new.close()

    plane(test)


def test_only_the_host_itself_may_speak_for_it(plane: Any) -> None:
    async def test(_links: HostLinks, connect: Any, store: Store) -> None:
        records(store)
        other = await connect("host-2")
        await other.send(HELLO)
        assert await other.closed()

    plane(test)


def test_a_certificate_of_another_authority_is_refused(plane: Any, tmp_path: Path) -> None:
    async def test(_links: HostLinks, connect: Any, _store: Store) -> None:
        stranger = await connect(HOST, tmp_path / "theirs")  # TLS 1.3: the refusal comes with the first answer
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await stranger.assigned()
        await stranger.close()

    plane(test)


@pytest.mark.parametrize("frame", [b"\xff\xff\xff\xff", b"\0\0\0\2{}", b'\0\0\0\x13{"type":"report"}  '])
def test_a_link_that_does_not_begin_with_hello_is_closed(plane: Any, frame: bytes) -> None:
    async def test(_links: HostLinks, connect: Any, _store: Store) -> None:
        host = await connect(HOST)
        host._writer.write(frame)
        assert await host.closed()

    plane(test)


def test_a_host_is_asked_and_answers_or_does_not(plane: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """The whole way of a question: from the front door's thread to the host and back."""
    asking = HostQuestions(tmp_path / "questions.sock")
    question = ConsoleText("i-0123456789abcdef0")

    def refused(reason: str) -> Any:
        return pytest.raises(NoAnswer, check=lambda error: error.reason == reason)

    async def test(links: HostLinks, connect: Any, store: Store) -> None:
        with refused("away"):
            await asyncio.to_thread(asking.ask, HOST, question)
        server = await take_questions(tmp_path / "questions.sock", links)
        with refused("away"):
            await asyncio.to_thread(asking.ask, HOST, question)
        records(store)
        host = await connect(HOST)
        await host.send(HELLO)
        await host.assigned()

        asked = [asyncio.create_task(asyncio.to_thread(asking.ask, HOST, question)) for _ in range(3)]
        first, second, third = [await host.asked() for _ in asked]
        assert first.question == question
        await host.send(Answer(99, b"to nothing"))
        await host.send(Answer(second.number, b"2"))
        await host.send(Answer(third.number, refusal="gone"))
        await host.send(Answer(first.number, b"1"))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sorted(each for each in answers if isinstance(each, bytes)) == [b"1", b"2"]
        (error,) = [each for each in answers if isinstance(each, NoAnswer)]
        assert error.reason == "gone"

        monkeypatch.setattr("freehold.questions.ASK_SECONDS", 0.1)
        with refused("late"):
            await asyncio.to_thread(asking.ask, HOST, question)
        server.close()
        await host.close()

    plane(test)


def test_who_waits_for_a_host_waits_until_it_is_there_and_has_answered(
    plane: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    asking, question = HostQuestions(tmp_path / "questions.sock"), Taken(("snap-0",))

    async def test(links: HostLinks, connect: Any, store: Store) -> None:
        waiting = asyncio.create_task(asking.wait(HOST, question))
        await asyncio.sleep(0.1)  # no controllers
        server = await take_questions(tmp_path / "questions.sock", links)
        await asyncio.sleep(0.3)  # no host
        records(store)
        host = await connect(HOST)
        await host.send(HELLO)
        await host.assigned()
        await host.send(Answer((await host.asked()).number, refusal="failed"))
        again = await host.asked()
        assert again.question == question
        assert not waiting.done()
        await host.close()  # it has died before it could answer
        host = await connect(HOST)
        await host.send(HELLO)
        await host.send(Answer((await host.asked()).number))
        assert await waiting

        monkeypatch.setattr("freehold.questions.WAIT_SECONDS", 0.1)
        assert not await asking.wait(HOST, question)
        await asyncio.sleep(0.3)  # the controllers see that nobody waits
        server.close()
        await host.close()

    plane(test)


def test_as_many_wait_for_a_host_as_want_to(plane: Any, tmp_path: Path) -> None:
    """None is refused, and none keeps others from being answered."""
    asking = HostQuestions(tmp_path / "questions.sock")

    async def test(links: HostLinks, connect: Any, store: Store) -> None:
        server = await take_questions(tmp_path / "questions.sock", links)
        records(store)
        host = await connect(HOST)
        await host.send(HELLO)
        await host.assigned()
        waiting = [asyncio.create_task(asking.wait(HOST, Taken((f"snap-{number}",)))) for number in range(100)]
        asked = [await host.asked() for _ in waiting]
        assert len({each.question for each in asked}) == 100

        other = asyncio.create_task(asyncio.to_thread(asking.ask, HOST, ConsoleText("i-0123456789abcdef0")))
        await host.send(Answer((await host.asked()).number, b"meanwhile"))
        assert await other == b"meanwhile"
        assert not any(each.done() for each in waiting)
        for each in asked:
            await host.send(Answer(each.number))
        await asyncio.gather(*waiting)
        server.close()
        await host.close()

    plane(test)


async def until(store: Store, condition: Callable[[Any], bool]) -> None:
    """Wait until the records meet a condition."""
    while True:
        with store.read() as tx:
            if condition(tx):
                return
        await asyncio.sleep(0.02)
