"""The ASGI application: bytes in, bytes out, limits on everything that a client sends."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa
import structlog

from freehold.config import Config
from freehold.front.dispatch import Arrival, Dispatcher
from freehold.front.errors import IncompleteBody, InvalidUri, TooLarge, TooSlow
from freehold.front.protocols.message import HttpRequest, HttpResponse, pairs
from freehold.records.secrets import Sealer
from freehold.records.store import Store
from freehold.services.errors import AwsError
from freehold.services.operation import Catalog

log = structlog.get_logger()

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_BYTES_MAX = 1 << 20  # of a body that does not stream
BODY_SECONDS_MAX = 30  # from the head of a request to the end of such a body
HEADER_BYTES_MAX = 16 << 10
URL_BYTES_MAX = 16 << 10
HEALTH_PATH = "/_freehold/health"  # no bucket can have this name: underscores are not allowed in one

_THREADS = 16


def create_app(
    catalog: Catalog, store: Store, sealer: Sealer, config: Config, *, package: str = "freehold.services"
) -> FrontDoor:
    """The front door as an ASGI application."""
    return FrontDoor(Dispatcher(catalog, store, sealer, config, package=package), store)


class FrontDoor:
    """Receives requests in the event loop and answers each by one hop to a thread."""

    def __init__(self, dispatcher: Dispatcher, store: Store) -> None:
        self._dispatcher = dispatcher
        self._store = store
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="request")

    def close(self) -> None:
        """Finish what runs and write the audit records that wait."""
        self._threads.shutdown()
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
        request_id = str(uuid.uuid4())
        request = HttpRequest(scope["method"], "", [], {})
        try:
            _read_head(scope, request)
            if request.path == HEALTH_PATH:
                await _send(send, await loop.run_in_executor(self._threads, self._health), request.method)
                return
            request.body = await _receive_body(request, receive)
        except AwsError as error:
            response = self._dispatcher.refuse(request, request_id, error)
            response.headers["connection"] = "close"
        else:
            source = scope["client"][0] if scope.get("client") else ""
            arrival = Arrival(request, request_id, source)
            response = await loop.run_in_executor(self._threads, self._dispatcher.answer, arrival)
        await _send(send, response, request.method)

    def _health(self) -> HttpResponse:
        """200 when the database answers: for the supervisor, without a signature."""
        try:
            with self._store.read() as tx:
                tx.connection.execute(sa.text("SELECT 1"))
        except sa.exc.SQLAlchemyError:
            log.exception("the database does not answer")
            return HttpResponse(503, {"content-type": "text/plain"}, b"the database does not answer\n")
        return HttpResponse(200, {"content-type": "text/plain"}, b"ok\n")


def _read_head(scope: Scope, request: HttpRequest) -> None:
    """Fill in what the head says. Raises TooLarge, InvalidUri."""
    headers: dict[str, str] = {}
    size = 0
    for raw_name, raw_value in scope["headers"]:
        size += len(raw_name) + len(raw_value)
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    request.headers = headers
    if size > HEADER_BYTES_MAX:
        raise TooLarge(limit=f"at most {HEADER_BYTES_MAX} bytes of headers")
    raw_path, raw_query = scope["raw_path"], scope["query_string"]
    if len(raw_path) + len(raw_query) > URL_BYTES_MAX:
        raise TooLarge(limit=f"at most {URL_BYTES_MAX} bytes of path and query string")
    try:
        request.path = raw_path.decode("ascii")
        request.query = pairs(raw_query.decode("ascii"))
    except UnicodeDecodeError:
        raise InvalidUri() from None


async def _receive_body(request: HttpRequest, receive: Receive) -> bytes:
    """The whole body. Raises TooLarge (before reading, when the length is declared), TooSlow, IncompleteBody."""
    declared = request.headers.get("content-length", "")
    if declared == "0" or (not declared and "transfer-encoding" not in request.headers):
        return b""
    too_large = TooLarge(limit=f"at most {BODY_BYTES_MAX} bytes of body")
    if declared.isdigit() and int(declared) > BODY_BYTES_MAX:
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise IncompleteBody()
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > BODY_BYTES_MAX:
                    raise too_large
                if not message.get("more_body"):
                    return parts[0] if len(parts) == 1 else b"".join(parts)
    except TimeoutError:
        raise TooSlow() from None


async def _send(send: Send, response: HttpResponse, method: str) -> None:
    body = response.body
    assert isinstance(body, bytes)
    response.headers["content-length"] = str(len(body))
    await send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
