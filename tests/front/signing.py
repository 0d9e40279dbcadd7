"""Signature Version 4 from the client's side, written anew from AWS's description, so that tests can sign wrongly."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from tests.cloudapi import Keys

EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Unsigned:
    """A request yet to be signed; `path` and `query` as they go over the wire."""

    service: str
    method: str = "POST"
    path: str = "/"
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def canonical_query(query: str) -> str:
    pairs = [part.partition("=")[::2] for part in query.split("&") if part]
    encoded = [(quote(unquote(name), safe="-_.~"), quote(unquote(value), safe="-_.~")) for name, value in pairs]
    return "&".join(f"{name}={value}" for name, value in sorted(encoded))


def signing_key(secret: str, scope: str) -> bytes:
    key = b"AWS4" + secret.encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def signature_of(
    request: Unsigned, headers: dict[str, str], secret: str, scope: str, when: str, payload: str, query: str
) -> str:
    path = request.path if request.service == "s3" else quote(request.path, safe="/-_.~")
    lines = [request.method, path, canonical_query(query)]
    lines += [f"{name}:{' '.join(headers[name].split())}" for name in sorted(headers)]
    lines += ["", ";".join(sorted(headers)), payload]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{when}\n{scope}\n{digest}"
    return hmac.new(signing_key(secret, scope), text.encode(), hashlib.sha256).hexdigest()


def signed(
    request: Unsigned,
    keys: Keys,
    host: str,
    *,
    at: dt.datetime | None = None,
    region: str = "us-east-1",
    payload: str | None = None,
    unsigned: dict[str, str] | None = None,
) -> Unsigned:
    """`request` with an Authorization header. `unsigned` headers are added and left out of the signature."""
    when = (at or dt.datetime.now(dt.UTC)).strftime("%Y%m%dT%H%M%SZ")
    payload = payload or hashlib.sha256(request.body).hexdigest()
    headers = {"host": host, "x-amz-date": when, **request.headers}
    if request.service == "s3":
        headers["x-amz-content-sha256"] = payload
    if keys.session_token is not None:
        headers["x-amz-security-token"] = keys.session_token
    scope = f"{when[:8]}/{region}/{request.service}/aws4_request"
    signature = signature_of(request, headers, keys.secret_access_key, scope, when, payload, request.query)
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={keys.access_key_id}/{scope}, SignedHeaders={';'.join(sorted(headers))}, "
        f"Signature={signature}"
    )
    return replace(request, headers={**headers, **(unsigned or {}), "authorization": authorization})


def presigned(
    request: Unsigned, keys: Keys, host: str, *, at: dt.datetime | None = None, expires: int | None = 60
) -> Unsigned:
    """`request` with its signature in the query string."""
    when = (at or dt.datetime.now(dt.UTC)).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{when[:8]}/us-east-1/{request.service}/aws4_request"
    headers = {"host": host, **request.headers}
    fields = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{keys.access_key_id}/{scope}",
        "X-Amz-Date": when,
        "X-Amz-SignedHeaders": ";".join(sorted(headers)),
    }
    if expires is not None:
        fields["X-Amz-Expires"] = str(expires)
    if keys.session_token is not None:
        fields["X-Amz-Security-Token"] = keys.session_token
    query = "&".join([request.query] * bool(request.query) + [f"{n}={quote(v, safe='')}" for n, v in fields.items()])
    payload = "UNSIGNED-PAYLOAD" if request.service == "s3" else hashlib.sha256(request.body).hexdigest()
    signature = signature_of(request, headers, keys.secret_access_key, scope, when, payload, query)
    return replace(request, headers=headers, query=f"{query}&X-Amz-Signature={signature}")


def send(url: str, request: Unsigned, body: Any = None) -> Answer:
    """Send the request as it stands. `body` replaces its body: bytes, or an iterable of bytes (sent in HTTP chunks)."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        target = request.path + (f"?{request.query}" if request.query else "")
        connection.request(request.method, target, request.body if body is None else body, request.headers)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())
    finally:
        connection.close()
