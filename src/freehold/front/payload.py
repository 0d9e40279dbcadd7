"""Proof of a body that streams: it is what its signature says, to the last byte.

Either the head names the body's SHA-256, which is compared at the end; or the body comes in chunks (``aws-chunked``),
each signed over the one before, which is compared at the end of each chunk. So whoever reads may have been given bytes
that turn out to be wrong: nothing of a stream may be kept before `read` has given its end.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and …/sigv4-streaming-trailers.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping

from freehold.front import signature
from freehold.front.caller import Caller
from freehold.front.errors import echo
from freehold.front.incoming import Reader
from freehold.front.signature import EMPTY_SHA256, Claim
from freehold.front.signature_errors import PayloadHashMismatch, SignatureDoesNotMatch
from freehold.front.stream_errors import (
    BodyTerminated,
    EntityTooLarge,
    InvalidChunkSize,
    InvalidDecodedLength,
    MalformedTrailer,
    MissingContentLength,
)

STREAM_BYTES_MAX = 5 << 30  # of PutObject and UploadPart

_LINE_BYTES_MAX = 8 << 10
_TRAILERS_MAX = 16
_CHUNK_BYTES_MIN = 8 << 10  # of all but the last that has data
_READ_BYTES = 64 << 10
_SIGNED_HEAD = re.compile(rb"([0-9a-fA-F]{1,16});chunk-signature=([0-9a-f]{64})")
_HEAD = re.compile(rb"([0-9a-fA-F]{1,16})()")
_TRAILER = re.compile(rb"([a-zA-Z0-9-]{1,128}):[ \t]*([\x21-\x7e]+)[ \t]*")
_TRAILER_SIGNATURE = "x-amz-trailer-signature"


class Body:
    """A proven stream. `length` is its number of bytes, as announced and proven at its end; `trailers` are the headers
    that came after the last chunk (checksums, for the operation to compare), there when the end was read."""

    def __init__(self, reader: Reader, length: int) -> None:
        self._reader = reader
        self._left = length
        self.length = length
        self.trailers: Mapping[str, str] = {}

    def read(self, size: int = _READ_BYTES) -> bytes:
        """From 1 to `size` bytes; none at the end. Raises an AwsError when the body is not as announced or signed."""
        part = self._reader.read(size)
        self._left -= len(part)
        if self._left < 0 or (not part and self._left):
            raise BodyTerminated()
        if not part and isinstance(self._reader, Chunked):
            self.trailers = self._reader.trailers
        return part

    def exhaust(self) -> None:
        """Read to the end, so that all of it is proven."""
        while self.read():
            pass


def proven(raw: Reader, headers: Mapping[str, str], caller: Caller) -> Body:
    """The stream that `raw` carries. Raises MissingContentLength, EntityTooLarge before anything is read."""
    named = caller.claim.payload_hash
    if named in signature.IN_CHUNKS:
        length = _length(headers.get("x-amz-decoded-content-length"))
        chain = None if named == signature.UNSIGNED_CHUNKS_TRAILER else Chain(caller.claim, caller.signing_key)
        announced = headers.get("x-amz-trailer", "") if named != signature.SIGNED_CHUNKS else ""
        trailers = frozenset(name.strip().lower() for name in announced.split(",") if name.strip())
        return Body(Chunked(raw, chain, trailers), length)
    length = _length(headers.get("content-length"))
    if named is None or named == signature.UNSIGNED_PAYLOAD:
        return Body(raw, length)
    return Body(Hashed(raw, named), length)


def _length(text: str | None) -> int:
    if text is None:
        raise MissingContentLength()
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InvalidDecodedLength(value=echo(text))
    if int(text) > STREAM_BYTES_MAX:
        raise EntityTooLarge()
    return int(text)


class Hashed:
    """A stream whose SHA-256 is known beforehand."""

    def __init__(self, raw: Reader, expected: str) -> None:
        self._raw = raw
        self._expected = expected
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        part = self._raw.read(size)
        self._hash.update(part)
        if not part and self._hash.hexdigest() != self._expected:
            raise PayloadHashMismatch()
        return part


class Chain:
    """The signatures of chunks, each over the one before; the first over the head's."""

    def __init__(self, claim: Claim, key: bytes) -> None:
        self._claim = claim
        self._key = key
        self._last = claim.signature

    def check(self, given: str, kind: str, *hashes: str) -> None:
        """Raises SignatureDoesNotMatch."""
        text = "\n".join((f"AWS4-HMAC-SHA256-{kind}", self._claim.amz_date, self._claim.scope, self._last, *hashes))
        expected = hmac.digest(self._key, text.encode("ascii"), "sha256").hex()
        if not hmac.compare_digest(expected, given):
            raise SignatureDoesNotMatch()
        self._last = expected


class Chunked:
    """The data of ``aws-chunked``: ``SIZE[;chunk-signature=…]CRLF DATA CRLF … 0[;…]CRLF [NAME:VALUE CRLF …] CRLF``."""

    def __init__(self, raw: Reader, chain: Chain | None, announced: frozenset[str]) -> None:
        self._raw = raw
        self._chain = chain
        self._announced = announced
        self._buffer = bytearray()
        self._left = 0
        self._size: int | None = None  # of the chunk that is being read, None before the first
        self._hash = hashlib.sha256()
        self._signature = ""
        self.trailers: dict[str, str] = {}
        self._over = False

    def read(self, size: int) -> bytes:
        if self._left == 0 and not self._over:
            self._next_chunk()
        if self._over:
            return b""
        part = self._take(min(size, self._left))
        self._left -= len(part)
        if self._chain:
            self._hash.update(part)
        if self._left == 0:
            self._end_chunk()
        return part

    def _next_chunk(self) -> None:
        head = (_SIGNED_HEAD if self._chain else _HEAD).fullmatch(self._line())
        if head is None:
            raise BodyTerminated()
        before, self._size = self._size, int(head[1], 16)
        self._left, self._signature = self._size, head[2].decode("ascii")
        if before is not None and self._size and before < _CHUNK_BYTES_MIN:
            raise InvalidChunkSize()
        if self._size == 0:
            self._end_chunk()

    def _end_chunk(self) -> None:
        if self._chain:
            self._chain.check(self._signature, "PAYLOAD", EMPTY_SHA256, self._hash.hexdigest())
            self._hash = hashlib.sha256()
        if self._size == 0:
            self._end()
        elif self._line():
            raise BodyTerminated()

    def _end(self) -> None:
        canonical, given = "", None
        while line := self._line():
            found = _TRAILER.fullmatch(line)
            if found is None or given is not None or len(self.trailers) == _TRAILERS_MAX:
                raise MalformedTrailer()
            name, value = found[1].decode("ascii").lower(), found[2].decode("ascii")
            if name == _TRAILER_SIGNATURE and self._chain:
                given = value
            elif name in self._announced and name not in self.trailers:
                self.trailers[name] = value
                canonical += f"{name}:{value}\n"
            else:
                raise MalformedTrailer()
        if self.trailers.keys() != self._announced or self._raw.read(1) or self._buffer:
            raise MalformedTrailer()
        if self._chain and (self._announced or given):
            trailers = hashlib.sha256(canonical.encode("ascii")).hexdigest()
            self._chain.check(given or "", "TRAILER", trailers)
        self._over = True

    def _take(self, size: int) -> bytes:
        if not self._buffer:
            part = self._raw.read(size)
            if not part:
                raise BodyTerminated()
            return part
        part = bytes(self._buffer[:size])
        del self._buffer[:size]
        return part

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            part = self._raw.read(_READ_BYTES) if len(self._buffer) < _LINE_BYTES_MAX else b""
            if not part:
                raise BodyTerminated()
            self._buffer += part
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line
