"""The metadata service's connections: bounded in number, time, size and rate for each guest, for all are hostile.

Who asks is told by the VPC whose port the connection came in by, and the address in it: OVN lets no guest use that of
another.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import structlog

from freehold.host.allowance import Allowance
from freehold.host.metadata import http, imds
from freehold.host.metadata.tokens import Tokens
from freehold.host.wire import GuestSpec, RoleCredentials

log = structlog.get_logger()

CONNECTIONS_MAX = 512
GUEST_CONNECTIONS_MAX = 16
GUEST_REQUESTS_PER_SECOND = 100
GUEST_REQUESTS_BURST = 200  # cloud-init makes about 50 in a row
REQUEST_SECONDS_MAX = 10.0
_ROUTERS = 1  # between this service and a guest: the VPC's own

Caller = tuple[str, str]  # VPC, address in it


class Server:
    """`who` names the guest that has an address in a VPC, `credentials` are those of an instance's role."""

    def __init__(
        self,
        who: Callable[[Caller], GuestSpec | None],
        credentials: Callable[[str], RoleCredentials | None],
        tokens: Tokens,
    ) -> None:
        self._who = who
        self._credentials = credentials
        self._tokens = tokens
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: Counter[Caller] = Counter()
        self._allowances: dict[str, Allowance] = {}

    async def listen(self, vpc_id: str, listener: socket.socket) -> asyncio.Server:
        """Serve the guests of a VPC, until the server is closed."""
        return await asyncio.start_server(partial(self._accept, vpc_id), sock=listener, limit=http.HEAD_BYTES_MAX)

    async def close(self) -> None:
        """Drop all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def forget_all_but(self, instance_ids: set[str]) -> None:
        """Remember nothing of guests that are gone."""
        for instance_id in self._allowances.keys() - instance_ids:
            del self._allowances[instance_id]

    def _accept(self, vpc_id: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        caller = (vpc_id, peer[0] if peer else "")  # no peer: it has gone again
        spec = self._who(caller)
        busy = len(self._tasks) >= CONNECTIONS_MAX or self._connections[caller] >= GUEST_CONNECTIONS_MAX
        if spec is None or busy:
            writer.transport.abort()
            return
        self._connections[caller] += 1
        task = asyncio.create_task(self._serve(spec, reader, writer))
        self._tasks.add(task)
        task.add_done_callback(partial(self._served, caller, writer))

    def _served(self, caller: Caller, writer: asyncio.StreamWriter, task: asyncio.Task[None]) -> None:
        writer.transport.abort()
        self._tasks.discard(task)
        self._connections[caller] -= 1
        if not self._connections[caller]:
            del self._connections[caller]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("metadata request failed", vpc=caller[0], address=caller[1], exc_info=error)

    async def _serve(self, spec: GuestSpec, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(REQUEST_SECONDS_MAX):
                await self._answer(spec, reader, writer)
                writer.close()
                await writer.wait_closed()

    async def _answer(self, spec: GuestSpec, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method = ""
        try:
            request = await http.read(reader)
            if request is None:
                return
            method = request.method
            answer = self._answer_to(request, spec)
        except http.MalformedRequest:
            answer = imds.refusal(400)
        if method == "PUT":
            # For as long as the connection lasts, for what it carries may be sent again.
            hops = spec.metadata.http_put_response_hop_limit + _ROUTERS
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
        writer.write(answer.encode(with_body=method != "HEAD", now=time.time()))
        await writer.drain()

    def _answer_to(self, request: http.Request, spec: GuestSpec) -> http.Answer:
        now = time.monotonic()
        fresh = Allowance(GUEST_REQUESTS_PER_SECOND, GUEST_REQUESTS_BURST, now)
        allowance = self._allowances.setdefault(spec.instance_id, fresh)
        if not allowance.take(now):
            return imds.refusal(503)
        return imds.answer(request, spec, self._credentials(spec.instance_id), self._tokens, time.time())
