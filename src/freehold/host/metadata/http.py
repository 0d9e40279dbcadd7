"""HTTP as the metadata service speaks it: one request per connection, read within narrow limits."""

from __future__ import annotations

import asyncio
import http
from dataclasses import dataclass, field
from email.utils import formatdate

import httptools

HEAD_BYTES_MAX = 8192


class MalformedRequest(Exception):
    """Not a request of HTTP/1, or one too long to be for this service."""


@dataclass
class Request:
    """`path` is percent-encoded, without a query. `headers` has lower-case names; of a repeated one, the last."""

    method: str = ""
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    content_type: str = "text/plain"
    headers: tuple[tuple[str, str], ...] = ()

    def encode(self, *, with_body: bool, now: float) -> bytes:
        head = [
            f"HTTP/1.1 {self.status} {http.HTTPStatus(self.status).phrase}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            f"Date: {formatdate(now, usegmt=True)}",
            "Server: EC2ws",  # some clients tell EC2 by it
            "Connection: close",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        return "\r\n".join([*head, "", ""]).encode() + (self.body if with_body else b"")


async def read(reader: asyncio.StreamReader) -> Request | None:
    """The head of a request; None if the peer went away. Raises MalformedRequest."""
    head = _Head()
    parser = httptools.HttpRequestParser(head)
    size = 0
    while not head.complete:
        data = await reader.read(HEAD_BYTES_MAX)
        size += len(data)
        if not data:
            return None
        if size > HEAD_BYTES_MAX:
            raise MalformedRequest("the head of the request is too long")
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # it asks for another protocol, and is answered in this one
        except httptools.HttpParserError as error:
            if not head.complete:  # whatever follows the head is not read
                raise MalformedRequest(type(error).__name__) from error
    try:
        path = httptools.parse_url(head.url).path or b"/"
    except httptools.HttpParserInvalidURLError as error:
        raise MalformedRequest("the address in the request is none") from error
    return Request(parser.get_method().decode(), path.decode("latin-1"), head.headers)


class _Head:
    """What the parser calls back, up to the end of the first head."""

    def __init__(self) -> None:
        self.complete = False
        self.url = b""
        self.headers: dict[str, str] = {}

    def on_url(self, url: bytes) -> None:
        if not self.complete:
            self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.complete:
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip()

    def on_headers_complete(self) -> None:
        self.complete = True
