"""Bodies in chunks: AWS's own examples, any split of what comes in, any change on its way."""

from __future__ import annotations

import datetime as dt
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.front import payload, signature
from freehold.front.caller import Caller
from freehold.front.payload import Body, Chain, Chunked
from freehold.front.protocols.message import HttpRequest
from freehold.front.signature import Claim
from freehold.records.ids import AccountId
from freehold.services.errors import AwsError
from freehold.services.operation import Principal
from tests.cloudapi import Keys
from tests.front import chunks
from tests.front.signing import Unsigned

# https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
PARTS = (b"a" * 65536, b"a" * 1024)
SIGNATURES = (
    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
)


def aws_claim(seed: str) -> Claim:
    return Claim(
        access_key_id="AKIAIOSFODNN7EXAMPLE",
        date="20130524",
        region="us-east-1",
        service="s3",
        signed_headers=("host",),
        signature=seed,
        amz_date="20130524T000000Z",
        signed_at=dt.datetime(2013, 5, 24, tzinfo=dt.UTC),
        token=None,
        payload_hash=signature.SIGNED_CHUNKS,
        presigned=False,
        expires=None,
    )


class Split(io.BytesIO):
    """A stream that comes in pieces of at most `most` bytes."""

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self._most = most

    def read(self, size: int | None = -1) -> bytes:
        return super().read(self._most if size is None or size < 0 else min(size, self._most))


def all_of(reader: Body | Chunked, size: int = 65536) -> bytes:
    return b"".join(iter(lambda: reader.read(size), b""))


def test_the_example_of_aws() -> None:
    encoded = b"".join(
        b"%x;chunk-signature=%s\r\n" % (len(part), sign.encode()) + (part and part + b"\r\n")
        for part, sign in zip((*PARTS, b""), SIGNATURES, strict=True)
    )
    claim = aws_claim("4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9")
    key = signature.signing_key(SECRET.encode(), claim)
    reader = Chunked(io.BytesIO(encoded + b"\r\n"), Chain(claim, key), frozenset())
    assert all_of(reader) == b"".join(PARTS)


KEYS = Keys("AKIAIOSFODNN7EXAMPLE", SECRET)
kinds = st.sampled_from([chunks.SIGNED, chunks.TRAILER, chunks.UNSIGNED])
contents = st.lists(st.sampled_from([8192, 8193, 20000]), max_size=3).flatmap(
    lambda sizes: st.integers(0, 9).map(lambda last: tuple(b"x" * size for size in sizes) + (b"y" * last,) * (last > 0))
)


def request_of(kind: str, parts: tuple[bytes, ...]) -> tuple[Unsigned, Caller]:
    trailers = {} if kind == chunks.SIGNED else {"x-amz-checksum-crc32": "AAAAAA=="}
    request = chunks.head(Unsigned("s3", "PUT", "/b/k"), KEYS, "localhost", kind, parts, trailers)
    claim = signature.claim(HttpRequest("PUT", "/b/k", [], request.headers))
    principal = Principal(AccountId("1" * 12), "arn", "1" * 12, "root", KEYS.access_key_id)
    return request, Caller(principal, claim, signature.signing_key(SECRET.encode(), claim))


@given(kind=kinds, parts=contents, most=st.sampled_from([1, 7, 100, 65536]), size=st.sampled_from([1, 1000, 65536]))
def test_however_it_is_split(kind: str, parts: tuple[bytes, ...], most: int, size: int) -> None:
    request, caller = request_of(kind, parts)
    body = payload.proven(Split(request.body, most), request.headers, caller)
    assert body.length == sum(map(len, parts))
    assert all_of(body, size) == b"".join(parts)
    assert dict(body.trailers) == ({} if kind == chunks.SIGNED else {"x-amz-checksum-crc32": "AAAAAA=="})


@given(data=st.data(), kind=st.sampled_from([chunks.SIGNED, chunks.TRAILER]), parts=contents)
def test_any_change_is_refused(data: st.DataObject, kind: str, parts: tuple[bytes, ...]) -> None:
    request, caller = request_of(kind, parts)
    changed = bytearray(request.body)
    index = data.draw(st.integers(0, len(changed) - 1))
    what = data.draw(st.sampled_from(["replace", "remove", "add", "cut"]))
    if what == "replace":
        changed[index] ^= data.draw(st.integers(1, 255))
        # Names of trailers and sizes may be in either case.
        if changed.lower() == request.body.lower():
            return
    elif what == "remove":
        del changed[index]
    elif what == "add":
        changed.insert(index, data.draw(st.integers(0, 255)))
    else:
        del changed[index:]
    if changed == request.body or bytes(changed).replace(b" ", b"").replace(b"\t", b"") == request.body:
        return
    body = payload.proven(io.BytesIO(bytes(changed)), request.headers, caller)
    with pytest.raises(AwsError):
        all_of(body)


@given(data=st.binary(max_size=300), announced=st.sampled_from([frozenset(), frozenset({"x-amz-checksum-crc32"})]))
def test_random_bytes_are_refused_or_whole(data: bytes, announced: frozenset[str]) -> None:
    try:
        all_of(Chunked(io.BytesIO(data), None, announced))
    except AwsError:
        return
    assert data.startswith(b"0") or b"\r\n0" in data
