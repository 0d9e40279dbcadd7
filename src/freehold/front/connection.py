"""One connection: uvicorn's, with the limits that it lacks.

Nothing that a client leaves unfinished is kept without bound: the bytes of a head (or of a chunk's extension, or of
trailers), the time until a head is whole, an answer that is not taken, the number of connections.
"""

from __future__ import annotations

import asyncio
import socket
import uuid
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from freehold.front.limits import Limits
from freehold.front.protocols.rest import rest_xml_error

log = structlog.get_logger()


class Gathered:
    """A transport that sends what is written in one turn of the event loop together.

    An answer's head and body are two writes of uvicorn's; sent apart they are two packets, and wake the client twice.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._send)
        self._parts.append(data)

    def _send(self) -> None:
        if self._parts:
            self._transport.writelines(self._parts)
            self._parts = []

    def close(self) -> None:
        self._send()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Connection(HttpToolsProtocol):
    """The application (``config.app``) says the limits."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._limits: Limits = self.config.app.limits  # type: ignore[union-attr]
        # What a head may take on the wire: its names, values and URL, and what stands between them.
        self._loose_bytes_max = 2 * (self._limits.header_bytes + self._limits.url_bytes)
        self._loose_bytes = 0  # since the last that was part of a body or ended a head or a message
        self._in_head = True
        self._heads = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._tls: dict[str, str] | None = None
        self._scope: dict[str, str] = {}  # what a request's scope has beside uvicorn's own

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        secure = transport.get_extra_info("ssl_object")
        most = self._limits.network_connections if secure else self._limits.connections
        if len(self.connections) >= most:
            log.warning("too many connections", connections=len(self.connections))
            transport.close()
            return
        peer = transport.get_extra_info("socket")
        if peer.family != socket.AF_UNIX:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._limits.stalled_seconds * 1000)
        if secure is not None:
            self._tls = {"tlsVersion": secure.version(), "cipherSuite": secure.cipher()[0]}
        super().connection_made(Gathered(transport, self.loop))  # type: ignore[arg-type]
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        was_in_head, heads = self._in_head, self._heads
        self._loose_bytes += len(data)
        super().data_received(data)
        if self._loose_bytes > self._loose_bytes_max:
            self._refuse(
                "RequestHeaderSectionTooLarge",
                "Your request header and query parameters exceed the maximum allowed size",
            )
        elif was_in_head and self._in_head and heads == self._heads:
            self._await_head()

    def send_400_response(self, _msg: str) -> None:
        self._refuse("BadRequest", "An error occurred when parsing the HTTP request.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._tls is not None:
            self.scope["tls"] = self._tls  # type: ignore[typeddict-unknown-key]
        self.scope.update(self._scope)  # type: ignore[typeddict-item]
        self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # else it is a trailer of HTTP's own chunks, which nobody asked for
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_is_there()
        self._in_head = False
        self._heads += 1
        self._loose_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._loose_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_head = True
        self._loose_bytes = 0
        super().on_message_complete()

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._limits.head_seconds, self._head_is_late)

    def _head_is_there(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, code: str, message: str) -> None:
        """Answer what is not HTTP, in S3's words, and close; within another answer just close."""
        if self.transport.is_closing():
            return
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            answer = rest_xml_error(400, code, message, str(uuid.uuid4()))
            assert isinstance(answer.body, bytes)
            headers = {**answer.headers, "content-length": str(len(answer.body)), "connection": "close"}
            lines = "".join(f"{name.lower()}: {value}\r\n" for name, value in headers.items())
            self.transport.write(STATUS_LINE[400] + lines.encode("latin-1") + b"\r\n" + answer.body)
        self.transport.close()
