"""The control plane's end of the link to hosts: tells each what should be on it, and records what it reports.

A host proves who it is by its certificate: the common name is the host's id, signed by the cloud's own authority.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from freehold import pki
from freehold.config import Config
from freehold.control.acts import Acts
from freehold.control.credentials import ServerCredentials
from freehold.control.credits import apply_credits
from freehold.control.reports import apply_report, host_connected, host_disconnected
from freehold.control.specs import (
    copy_specs,
    guest_specs,
    instances_of_host,
    snapshot_specs,
    snapshots_to_delete,
    snapshots_to_take,
    volume_spec,
    volumes_to_delete,
    volumes_to_make,
)
from freehold.control.volume_keys import VolumeKeys, give_up, keys_on_host
from freehold.host.wire import FRAME_BYTES_MAX, Ask, Assignment, Hello, HostMessage, Report, VolumeKey, encode
from freehold.questions import Answer, Question, patience
from freehold.records.compute import Host, Instance, Volume, instances, volumes
from freehold.records.secrets import Sealer
from freehold.records.snapshots import DoomedSnapshot, Snapshot, doomed_snapshots, snapshots
from freehold.records.store import Store, Transaction

log = structlog.get_logger()

_HELLO_SECONDS = 10


class LinkError(Exception):
    """The peer does not speak as a host of this cloud should."""


def link_security(directory: Path) -> ssl.SSLContext:
    """TLS 1.3 with the control plane's certificate; peers must show one of the cloud's authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(directory / "control.crt", directory / "control.key")
    context.load_verify_locations(directory / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def renew_link(directory: Path, host_id: str, security: ssl.SSLContext) -> None:
    """Have certificates that are not about to expire, for connections from now on: hosts read theirs for each. Raises
    PkiError, OSError."""
    if pki.ensure(directory, host_id):
        security.load_cert_chain(directory / "control.crt", directory / "control.key")


class HostLinks:
    """All connected hosts. Database work runs in threads; a lock for each link keeps what is sent in the order it was
    read."""

    def __init__(self, store: Store, config: Config, sealer: Sealer) -> None:
        self._store = store
        self._config = config
        self._sealer = sealer
        self._acts = Acts()
        self._credentials = ServerCredentials(sealer, self._acts)
        self._keys = VolumeKeys(sealer, self._acts)
        self._links: dict[str, _Link] = {}
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(self, path: Path, security: ssl.SSLContext) -> asyncio.Server:
        """Listen on a Unix socket that only root may open."""
        await asyncio.to_thread(self._forget_connections)
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._handle, path, ssl=security)
        path.chmod(0o600)
        return server

    async def close(self) -> None:
        """End all links; what hosts have reported is recorded when this returns."""
        for writer in self._open.values():
            writer.close()
        await asyncio.gather(*self._open)

    async def send_changed(
        self, instance_ids: Sequence[str], volume_ids: Sequence[str] = (), snapshot_ids: Sequence[str] = ()
    ) -> None:
        """Tell the hosts of these instances what should now be true of them, which of these volumes are to go, and
        which of these snapshots are to be taken or to go."""
        by_host = await asyncio.to_thread(self._hosts_of, instance_ids, volume_ids, snapshot_ids)
        for host_id, on_host in by_host.items():
            if link := self._links.get(host_id):
                await link.send_changed(*on_host)

    async def renew_credentials(self) -> None:
        """Send the hosts fresh credentials of their servers' roles before the old ones are past half their time."""
        if ids := await asyncio.to_thread(self._stale):
            await self.send_changed(ids)

    async def ask(self, host_id: str, question: Question) -> Answer | None:
        """What a host answers; None if it does not in time."""
        link = self._links.get(host_id)
        return Answer(0, refusal="away") if link is None else await link.ask(question)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._open[task] = writer
        task.add_done_callback(self._open.pop)
        await task

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host_id: str | None = None
        link: _Link | None = None
        try:
            async with asyncio.timeout(_HELLO_SECONDS):
                hello = await _read(reader)
            if not isinstance(hello, Hello):
                raise LinkError("a link begins with hello")
            if _certificate_name(writer) != hello.host_id:
                raise LinkError("the certificate is another host's")
            host_id = hello.host_id
            await asyncio.to_thread(self._connected, hello)
            link = self._links[host_id] = _Link(
                self._store, self._config, self._sealer, self._acts, self._credentials, self._keys, host_id, writer
            )
            log.info("host connected", host=host_id, accelerator=hello.accelerator)
            await link.send_all()
            while True:
                match await _read(reader):
                    case Report() as report:
                        await asyncio.to_thread(self._report, host_id, report)
                        if report.keys_wanted:
                            await link.send_keys(report.keys_wanted)
                    case Answer() as answer:
                        link.answered(answer)
                    case Hello():
                        raise LinkError("hello was said twice")
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass  # the link broke: the host opens another one
        except (LinkError, msgspec.MsgspecError) as error:
            log.warning("host link refused", host=host_id, reason=str(error))
        finally:
            writer.close()
            if link is not None:
                link.end()
            if host_id is not None and (now := self._links.get(host_id)) and now.writer is writer:
                del self._links[host_id]
                await asyncio.to_thread(self._disconnected, host_id)
                log.info("host disconnected", host=host_id)

    def _hosts_of(
        self, instance_ids: Sequence[str], volume_ids: Sequence[str], snapshot_ids: Sequence[str]
    ) -> dict[str, tuple[list[str], list[str], list[str]]]:
        """The ids of instances, of volumes and of snapshots, by host."""
        found: dict[str, tuple[list[str], list[str], list[str]]] = defaultdict(lambda: ([], [], []))
        with self._store.read() as tx:
            for instance in tx.select(Instance, instances.c.id.in_(instance_ids)):
                found[instance.host_id or ""][0].append(instance.id)
            for volume in tx.select(Volume, volumes.c.id.in_(volume_ids)):
                found[volume.host_id or ""][1].append(volume.id)
            for snapshot in tx.select(Snapshot, id=list(snapshot_ids)):
                found[snapshot.host_id][2].append(snapshot.id)
            for doomed in tx.select(DoomedSnapshot, snapshot_id=list(snapshot_ids)):
                found[doomed.host_id][2].append(doomed.snapshot_id)
        return found

    def _stale(self) -> list[str]:
        with self._store.read() as tx:
            return self._credentials.stale(tx)

    def _forget_connections(self) -> None:
        with self._store.write() as tx:
            for host in tx.select(Host):
                tx.update(host, connected=False)

    def _connected(self, hello: Hello) -> None:
        with self._store.write() as tx:
            host_connected(tx, self._config, hello)

    def _disconnected(self, host_id: str) -> None:
        with self._store.write() as tx:
            host_disconnected(tx, host_id)

    def _report(self, host_id: str, report: Report) -> None:
        with self._store.write() as tx:
            apply_credits(tx, self._config, host_id, report)
            apply_report(tx, host_id, report)


class _Link:
    def __init__(
        self,
        store: Store,
        config: Config,
        sealer: Sealer,
        acts: Acts,
        credentials: ServerCredentials,
        keys: VolumeKeys,
        host_id: str,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._store = store
        self._config = config
        self._sealer = sealer
        self._acts = acts
        self._credentials = credentials
        self._keys = keys
        self._host_id = host_id
        self._lock = asyncio.Lock()
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._number = 0
        self.writer = writer

    async def ask(self, question: Question) -> Answer | None:
        """None if there is no answer in time."""
        self._number += 1
        number = self._number
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            async with asyncio.timeout(patience(question)):
                await self._send(Ask(number, question))
                return await answer
        except TimeoutError:
            return None
        finally:
            del self._asked[number]

    def answered(self, answer: Answer) -> None:
        """What nobody waits for any longer is passed over."""
        waiting = self._asked.get(answer.number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def end(self) -> None:
        """Whoever waits for an answer has none by this link: the host may have another one by then."""
        for number in list(self._asked):
            self.answered(Answer(number, refusal="away"))

    async def send_all(self) -> None:
        async with self._lock:
            await self._send(await asyncio.to_thread(self._read_all))

    async def send_keys(self, ids: Sequence[str]) -> None:
        """Send what opens these volumes and snapshots, as far as they are on this host and their keys can be used."""
        keys = await asyncio.to_thread(self._read_keys, ids)
        if keys:
            await self._send(Assignment((), complete=False, keys=keys))

    def _read_keys(self, ids: Sequence[str]) -> tuple[VolumeKey, ...]:
        with self._store.read() as tx:
            return keys_on_host(tx, self._sealer, self._host_id, ids)

    async def send_changed(self, instance_ids: list[str], volume_ids: list[str], snapshot_ids: list[str]) -> None:
        async with self._lock:
            await self._send(await asyncio.to_thread(self._read_some, instance_ids, volume_ids, snapshot_ids))

    async def _send(self, message: Assignment | Ask) -> None:
        try:
            self.writer.write(encode(message))
            await self.writer.drain()
        except OSError:
            pass  # its reader sees the broken link and ends it

    def _read_all(self) -> Assignment:
        def read(tx: Transaction) -> _Wanted:
            return _Wanted(
                instances_of_host(tx, self._host_id),
                volumes_to_make(tx, self._host_id),
                volumes_to_delete(tx, self._host_id),
                snapshots_to_take(tx, self._host_id),
                snapshots_to_delete(tx, self._host_id),
            )

        return self._assignment(read, complete=True)

    def _read_some(self, instance_ids: list[str], volume_ids: list[str], snapshot_ids: list[str]) -> Assignment:
        def read(tx: Transaction) -> _Wanted:
            # Those of one instant are told of together.
            instants = {each.instant for each in tx.select(Snapshot, id=snapshot_ids)}
            return _Wanted(
                tx.select(Instance, instances.c.id.in_(instance_ids)),
                volumes_to_make(tx, self._host_id, volumes.c.id.in_(volume_ids)),
                volumes_to_delete(tx, self._host_id, volumes.c.id.in_(volume_ids)),
                snapshots_to_take(tx, self._host_id, snapshots.c.instant.in_(instants)),
                snapshots_to_delete(tx, self._host_id, doomed_snapshots.c.snapshot_id.in_(snapshot_ids)),
            )

        return self._assignment(read, complete=False)

    def _assignment(self, read: Callable[[Transaction], _Wanted], *, complete: bool) -> Assignment:
        """What `read` finds."""
        while True:
            with self._store.read() as tx:
                wanted = read(tx)
                keys, hopeless = self._keys.of(
                    tx, self._host_id, wanted.instances, wanted.volumes_to_make, complete=complete
                )
                if not hopeless:
                    assignment = Assignment(
                        guest_specs(tx, self._config, wanted.instances),
                        complete,
                        wanted.volumes_to_delete,
                        self._credentials.of(tx, wanted.instances),
                        (*keys, *self._keys.of_snapshots(tx, self._host_id, wanted.snapshots)),
                        snapshot_specs(wanted.snapshots),
                        wanted.snapshots_to_delete,
                        copy_specs(wanted.snapshots),
                        tuple(map(volume_spec, wanted.volumes_to_make)),
                    )
                    break
            with self._store.write() as tx:
                instance_ids = {each.instance_id for each in hopeless if each.instance_id is not None}
                give_up(tx, self._sealer, instance_ids, {each.volume_id for each in hopeless})
        self._acts.record(self._store)
        return assignment


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a host is to be told of."""

    instances: Sequence[Instance]
    volumes_to_make: Sequence[Volume]
    volumes_to_delete: tuple[str, ...]
    snapshots: Sequence[Snapshot]
    snapshots_to_delete: tuple[str, ...]


async def _read(reader: asyncio.StreamReader) -> HostMessage:
    length = int.from_bytes(await reader.readexactly(4), "big")
    if length > FRAME_BYTES_MAX:
        raise LinkError(f"a frame of {length} bytes is too large")
    return _decoder.decode(await reader.readexactly(length))


_decoder: msgspec.json.Decoder[HostMessage] = msgspec.json.Decoder(HostMessage)


def _certificate_name(writer: asyncio.StreamWriter) -> str | None:
    certificate = writer.get_extra_info("peercert") or {}
    for attribute in certificate.get("subject", ()):
        for name, value in attribute:
            if name == "commonName":
                return str(value)
    return None
