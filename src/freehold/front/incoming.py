"""A body while it comes in: received in the event loop, read in a request's thread, in bounded memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from freehold.front.errors import IncompleteBody, TooSlow

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_SLOWEST_BYTES = 64 << 10


class Reader(Protocol):
    """A stream of bytes."""

    def read(self, size: int) -> bytes:
        """From 1 to `size` bytes, as many as are there; none at the end."""


class Incoming:
    """The body of an ASGI request as a reader. While nobody reads, the client is made to wait (by TCP). It may be slow,
    but not so slow that it keeps a thread for nothing: 64 KiB in `seconds`.

    `begun`: something was read, so a client that waits for "100 Continue" got it; `over`: all was."""

    def __init__(self, receive: Receive, loop: asyncio.AbstractEventLoop, *, seconds: float) -> None:
        self._receive = receive
        self._loop = loop
        self._held = memoryview(b"")
        self._since = 0  # bytes received since the clock was last set back
        self._seconds = self._seconds_left = seconds
        self.begun = False
        self.over = False

    def read(self, size: int) -> bytes:
        """Raises IncompleteBody when the client is gone, TooSlow."""
        if not self._held and not self.over:
            self._held = memoryview(asyncio.run_coroutine_threadsafe(self._next(), self._loop).result())
        part, self._held = self._held[:size], self._held[size:]
        return bytes(part)

    async def receive(self) -> bytes:
        """What has come in since the last call, at least a byte unless it was the end; in the event loop."""
        self.begun = True
        while not self.over:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise IncompleteBody()
            self.over = not message.get("more_body")
            if body := message.get("body"):
                return bytes(body)
        return b""

    async def _next(self) -> bytes:
        started = self._loop.time()
        try:
            async with asyncio.timeout(self._seconds_left):
                part = await self.receive()
        except TimeoutError:
            raise TooSlow() from None
        self._since += len(part)
        if self._since < _SLOWEST_BYTES:
            self._seconds_left -= self._loop.time() - started
        else:
            self._since, self._seconds_left = 0, self._seconds
        return part
