"""``aws-chunked`` bodies from the client's side, written anew from AWS's description."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from tests.cloudapi import Keys
from tests.front.signing import EMPTY, Unsigned, signed, signing_key

SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


def head(
    request: Unsigned, keys: Keys, host: str, kind: str, parts: Sequence[bytes], trailers: dict[str, str]
) -> Unsigned:
    """The signed head of `request` for a body of `parts`; its own body is the encoded one."""
    headers = {
        **request.headers,
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": str(sum(map(len, parts))),
    }
    if trailers:
        headers["x-amz-trailer"] = ",".join(trailers)
    result = signed(replace(request, headers=headers), keys, host, payload=kind)
    if kind == UNSIGNED:
        return replace(result, body=b"".join(unsigned(parts, trailers)))
    return replace(result, body=b"".join(chained(result, keys, kind, parts, trailers)))


def unsigned(parts: Sequence[bytes], trailers: dict[str, str]) -> Iterator[bytes]:
    for part in parts:
        yield b"%x\r\n%s\r\n" % (len(part), part)
    yield b"0\r\n"
    for name, value in trailers.items():
        yield f"{name}:{value}\r\n".encode()
    yield b"\r\n"


def chained(
    request: Unsigned, keys: Keys, kind: str, parts: Sequence[bytes], trailers: dict[str, str]
) -> Iterator[bytes]:
    when = request.headers["x-amz-date"]
    (scope, last) = re.findall(r"Credential=[^/]+/(\S+), .*Signature=(\w+)", request.headers["authorization"])[0]
    key = signing_key(keys.secret_access_key, scope)

    def link(what: str, *hashes: str) -> str:
        text = "\n".join((f"AWS4-HMAC-SHA256-{what}", when, scope, last, *hashes))
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

    for part in (*parts, b""):
        last = link("PAYLOAD", EMPTY, hashlib.sha256(part).hexdigest())
        yield b"%x;chunk-signature=%s\r\n" % (len(part), last.encode())
        if part:
            yield part + b"\r\n"
    if kind == TRAILER:
        lines = "".join(f"{name}:{value}\n" for name, value in trailers.items())
        yield lines.replace("\n", "\r\n").encode()
        signature = link("TRAILER", hashlib.sha256(lines.encode()).hexdigest())
        yield f"x-amz-trailer-signature:{signature}\r\n".encode()
    yield b"\r\n"
