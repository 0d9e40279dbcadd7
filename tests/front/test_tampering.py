"""A signed request of which anything is changed on its way is refused: botocore signs, hypothesis changes."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import replace
from urllib.parse import unquote_to_bytes

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import assume, given
from hypothesis import strategies as st

from freehold.front import signature
from freehold.front.protocols.message import HttpRequest, pairs
from freehold.front.signature_errors import UnknownKey
from freehold.services.errors import AwsError

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
CREDENTIALS = Credentials("AKIAIOSFODNN7EXAMPLE", SECRET, "token/+=")

segments = st.sampled_from(["a", "a%20b", "%C3%BC", "a+b", "%2F", "~", "a=b", "%25"])
paths = st.lists(segments, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
texts = st.sampled_from(["", "a", "a%20b", "%C3%BC", "%2B", "~", "%26", "b%3Dc"])
queries = st.lists(st.tuples(st.sampled_from("abc"), texts), max_size=3).map(
    lambda drawn: "&".join(f"{name}={value}" for name, value in drawn)
)
headers = st.dictionaries(
    st.sampled_from(["x-amz-meta-a", "content-type", "range"]), st.sampled_from(["b", "b  c", "ü"])
)


def sign(service: str, method: str, path: str, query: str, extra: dict[str, str], body: bytes) -> HttpRequest:
    url = f"http://localhost:4600{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, headers=extra, data=body)
    (S3SigV4Auth if service == "s3" else SigV4Auth)(CREDENTIALS, service, "us-east-1").add_auth(request)
    received = {name.lower(): value.encode().decode("latin-1") for name, value in request.headers.items()}
    return HttpRequest(method, path, pairs(query), {"host": "localhost:4600", **received}, body)


def accept(request: HttpRequest) -> None:
    claimed = signature.claim(request)
    if claimed.access_key_id != CREDENTIALS.access_key:
        raise UnknownKey()
    signature.check_time(claimed, dt.datetime.now(dt.UTC))
    payload = signature.signed_hash(claimed, hashlib.sha256(request.body).hexdigest())
    signature.verify(request, claimed, signature.signing_key(SECRET.encode(), claimed), payload)


def changed(data: st.DataObject, text: str) -> str:
    """`text` with one character replaced, removed or added."""
    # Blanks at the ends of a header, and how many there are between words, are not signed.
    other = data.draw(st.characters(min_codepoint=0x21, max_codepoint=0x7E))
    index = data.draw(st.integers(0, max(len(text) - 1, 0)))
    kept = data.draw(st.integers(0, 1))
    result = text[:index] + other + text[index + 1 - kept :]
    assume(result != text)
    return result


@pytest.mark.parametrize("service", ["s3", "ec2", "elasticfilesystem"])
@given(data=st.data(), path=paths, query=queries, extra=headers, body=st.binary(max_size=20))
def test_any_change_is_refused(
    service: str, data: st.DataObject, path: str, query: str, extra: dict[str, str], body: bytes
) -> None:
    request = sign(service, "PUT", path, query, extra, body)
    accept(request)
    parts = ["method", "path", "query", "body", *request.headers]
    part = data.draw(st.sampled_from(parts))
    if part == "method":
        tampered = replace(request, method=changed(data, request.method))
    elif part == "path":
        tampered = replace(request, path=changed(data, request.path))
        assume(unquote_to_bytes(tampered.path) != unquote_to_bytes(request.path))  # %2f for %2F
        if service != "s3":
            assume(signature.normalised_path(tampered.path) != signature.normalised_path(request.path))
    elif part == "query":
        name, value = data.draw(st.sampled_from(request.query)) if request.query else ("", "")
        rest = list(request.query)
        if request.query:
            rest.remove((name, value))
        tampered = replace(request, query=[*rest, (changed(data, name), value)])
    elif part == "body":
        tampered = replace(request, body=changed(data, request.body.decode("latin-1")).encode("latin-1"))
    else:
        value = changed(data, request.headers[part])
        if part == "authorization":
            # The order and spacing of its three fields, and fields beside them, are not signed.
            assume(fields(value) != fields(request.headers[part]))
        tampered = replace(request, headers={**request.headers, part: value})
    with pytest.raises(AwsError):
        accept(tampered)


def fields(authorization: str) -> dict[str, str]:
    algorithm, _, rest = authorization.partition(" ")
    found = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    return {"": algorithm} | {name: found.get(name, "") for name in ("Credential", "SignedHeaders", "Signature")}


@given(query=queries, path=paths, extra=headers)
def test_removing_a_signed_header_is_refused(query: str, path: str, extra: dict[str, str]) -> None:
    request = sign("s3", "GET", path, query, extra, b"")
    for name in request.headers:
        rest = {other: value for other, value in request.headers.items() if other != name}
        with pytest.raises(AwsError):
            accept(replace(request, headers=rest))
