"""The ASGI application: bytes in, bytes out, limits on everything that a client sends."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
import structlog

from freehold.config import Config
from freehold.front.dispatch import Arrival, Dispatcher
from freehold.front.errors import HeadTooLarge, InvalidUri, TooLarge, TooSlow
from freehold.front.incoming import Incoming, Receive
from freehold.front.limits import Limits
from freehold.front.protocols.message import HttpRequest, HttpResponse, pairs
from freehold.front.stream_errors import SlowDown
from freehold.front.threads import Threads
from freehold.front.throttle import Limiter
from freehold.questions import Ask, Wait, ask_nobody, wait_for_nobody
from freehold.records.secrets import Sealer
from freehold.records.store import Store
from freehold.services.errors import AwsError
from freehold.services.operation import Catalog

log = structlog.get_logger()

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEALTH_PATH = "/_freehold/health"  # no bucket can have this name: underscores are not allowed in one

_THREADS = 16


def create_app(
    catalog: Catalog,
    store: Store,
    sealer: Sealer,
    config: Config,
    *,
    package: str = "freehold.services",
    limits: Limits | None = None,
    limiter: Limiter | None = None,
    ask: Ask = ask_nobody,
    wait: Wait = wait_for_nobody,
) -> FrontDoor:
    """The front door as an ASGI application."""
    dispatcher = Dispatcher(catalog, store, sealer, config, package=package, limiter=limiter, ask=ask)
    return FrontDoor(dispatcher, store, limits or Limits(), wait)


class FrontDoor:
    """Receives requests in the event loop and answers each by one hop to a thread."""

    def __init__(self, dispatcher: Dispatcher, store: Store, limits: Limits, wait: Wait) -> None:
        self.limits = limits
        self._dispatcher = dispatcher
        self._store = store
        self._wait = wait
        self._threads = Threads(_THREADS, "request")
        self._stream_threads = ThreadPoolExecutor(limits.streams, thread_name_prefix="stream")
        self._streams = 0

    def close(self) -> None:
        """Finish what runs and write the audit records that wait."""
        self._stream_threads.shutdown()
        self._threads.close()
        self._dispatcher.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                await asyncio.get_running_loop().run_in_executor(None, self.close)
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        source = scope["client"][0] if scope.get("client") else ""
        arrival = Arrival(
            HttpRequest(scope["method"], "", [], {}), str(uuid.uuid4()), source, scope.get("tls"), scope.get("vpc")
        )
        request = arrival.request
        incoming = Incoming(receive, loop, seconds=self.limits.body_seconds)
        try:
            request.headers, size = _headers(scope)
            incoming.over = not _has_body(request)
            _check_head(scope, request, size, self.limits)
            if request.path == HEALTH_PATH:
                response = await self._threads.do(self._health)
            else:
                response = await self._answer(arrival, incoming)
        except AwsError as error:
            response = await self._threads.do(self._dispatcher.refuse, arrival, error)
            response.headers["connection"] = "close"
        if not incoming.over:
            response.headers["connection"] = "close"
        # A client that waits for "100 Continue" sends no body now; of any other the rest has to be read, or the answer
        # is lost when the connection is reset under it.
        sends = not incoming.over and (incoming.begun or request.headers.get("expect", "").lower() != "100-continue")
        await self._send(send, receive, response, arrival, linger=sends)

    async def _answer(self, arrival: Arrival, incoming: Incoming) -> HttpResponse:
        loop = asyncio.get_running_loop()
        journey = self._dispatcher.begin(arrival)
        if journey.body != "stream":
            if journey.body == "whole":
                arrival.request.body = await self._receive_body(arrival.request, incoming, journey.body_bytes_max)
            response = await self._threads.do(self._dispatcher.answer, arrival, journey)
            for awaited in journey.answered_after:
                if not await self._wait(awaited.host_id, awaited.question):
                    undone = await self._threads.do(self._dispatcher.unanswered, arrival, journey, awaited)
                    response = undone or response
            return response
        if self._streams == self.limits.streams:
            raise SlowDown()
        self._streams += 1
        try:
            arrival.request.body = incoming
            return await loop.run_in_executor(self._stream_threads, self._dispatcher.answer, arrival, journey)
        finally:
            self._streams -= 1

    async def _receive_body(self, request: HttpRequest, incoming: Incoming, bytes_max: int) -> bytes:
        """The whole body. Raises TooLarge (before reading, when the length is declared), TooSlow, IncompleteBody."""
        if incoming.over:
            return b""
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > bytes_max:
            raise _too_large(bytes_max)
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                while not incoming.over:
                    parts.append(await incoming.receive())
                    size += len(parts[-1])
                    if size > bytes_max:
                        raise _too_large(bytes_max)
        except TimeoutError:
            raise TooSlow() from None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _health(self) -> HttpResponse:
        """200 when the database answers: for the supervisor, without a signature."""
        try:
            with self._store.read() as tx:
                tx.connection.execute(sa.text("SELECT 1"))
        except sa.exc.SQLAlchemyError:
            log.exception("the database does not answer")
            return HttpResponse(503, {"content-type": "text/plain"}, b"the database does not answer\n")
        return HttpResponse(200, {"content-type": "text/plain"}, b"ok\n")

    async def _send(
        self, send: Send, receive: Receive, response: HttpResponse, arrival: Arrival, *, linger: bool
    ) -> None:
        body = response.body
        headers = {name.lower(): value for name, value in response.headers.items()}
        if isinstance(body, bytes) and (arrival.request.method != "HEAD" or "content-length" not in headers):
            headers["content-length"] = str(len(body))
        await send(
            {
                "type": "http.response.start",
                "status": response.status,
                "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
            }
        )
        if not isinstance(body, bytes):
            await self._send_stream(send, receive, body, arrival)
        elif linger:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await self._drain(receive)
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "http.response.body", "body": body})

    async def _drain(self, receive: Receive) -> None:
        """Let the client finish sending a body that nobody wants."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.limits.linger_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect" or not message.get("more_body"):
                        return

    async def _send_stream(self, send: Send, receive: Receive, parts: Iterable[bytes], arrival: Arrival) -> None:
        """Send what an operation streams, part by part as the client takes them. It has sent its head already, so that
        a failure can only be told by breaking off."""
        gone = asyncio.ensure_future(_disconnected(receive))
        iterator = iter(parts)
        try:
            while not gone.done():
                part = await self._threads.do(_next, iterator)
                if part is None:
                    await send({"type": "http.response.body", "body": b""})
                    return
                await send({"type": "http.response.body", "body": part, "more_body": True})
        except Exception:
            log.exception("answer broken off", request_id=arrival.request_id)
        finally:
            gone.cancel()
            close = getattr(iterator, "close", None)  # of a generator: what it holds open
            if close is not None:
                await self._threads.do(close)


def _too_large(bytes_max: int) -> TooLarge:
    return TooLarge(limit=f"at most {bytes_max} bytes of body")


def _next(parts: Iterator[bytes]) -> bytes | None:
    return next(parts, None)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _headers(scope: Scope) -> tuple[dict[str, str], int]:
    """The headers, repeated ones joined by a comma, and how many bytes they are."""
    headers: dict[str, str] = {}
    size = 0
    for raw_name, raw_value in scope["headers"]:
        size += len(raw_name) + len(raw_value)
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers, size


def _check_head(scope: Scope, request: HttpRequest, size: int, limits: Limits) -> None:
    """Fill in path and query string. Raises InvalidUri, HeadTooLarge."""
    raw_path, raw_query = scope["raw_path"], scope["query_string"]
    try:
        request.path = raw_path.decode("ascii")
        request.query = pairs(raw_query.decode("ascii"))
    except UnicodeDecodeError:
        raise InvalidUri() from None
    if size > limits.header_bytes:
        raise HeadTooLarge(limit=f"at most {limits.header_bytes} bytes of headers")
    if len(raw_path) + len(raw_query) > limits.url_bytes:
        raise HeadTooLarge(limit=f"at most {limits.url_bytes} bytes of path and query string")


def _has_body(request: HttpRequest) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
