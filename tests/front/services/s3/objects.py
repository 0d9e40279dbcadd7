"""Bytes that stream in and out: objects are files of the directory that FREEHOLD_TEST_OBJECTS names."""

from __future__ import annotations

import base64
import hashlib
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from freehold.config import Config
from freehold.services.errors import AwsError
from freehold.services.operation import Call, Request, Response, operation


class NoSuchKey(AwsError):
    code = "NoSuchKey"
    status = 404

    def __init__(self) -> None:
        super().__init__("The specified key does not exist.")


class BadDigest(AwsError):
    code = "BadDigest"

    def __init__(self) -> None:
        super().__init__("The CRC32 you specified did not match the calculated checksum.")


def objects() -> Path:
    return Path(os.environ["FREEHOLD_TEST_OBJECTS"])


def file_of(request: Request) -> Path:
    return objects() / hashlib.sha256(f"{request['Bucket']}/{request['Key']}".encode()).hexdigest()


@contextmanager
def taken_in(_config: Config, request: Any) -> Iterator[tuple[Path, str]]:
    """The new object's file and its MD5; the file is removed unless the operation renamed it."""
    body = request["Body"]
    coming = objects() / f"coming-{os.urandom(8).hex()}"
    md5, crc32 = hashlib.md5(usedforsecurity=False), 0
    try:
        with coming.open("xb") as file:
            while part := body.read(1 << 20):
                file.write(part)
                md5.update(part)
                crc32 = zlib.crc32(part, crc32)
        expected = body.trailers.get("x-amz-checksum-crc32", request.get("ChecksumCRC32"))
        if expected is not None and base64.b64decode(expected) != crc32.to_bytes(4, "big"):
            raise BadDigest()
        yield coming, md5.hexdigest()
    finally:
        coming.unlink(missing_ok=True)


@operation(resources=lambda _call, request: [f"arn:aws:s3:::{request['Bucket']}/{request['Key']}"], receive=taken_in)
def put_object(_call: Call, request: Request) -> Response:
    coming, etag = request["Body"]
    assert coming.stat().st_size == request["ContentLength"]
    coming.rename(file_of(request))
    return {"ETag": f'"{etag}"'}


@operation(resources=lambda _call, request: [f"arn:aws:s3:::{request['Bucket']}/{request['Key']}"])
def get_object(_call: Call, request: Request) -> Response:
    path = file_of(request)
    if not path.exists():
        raise NoSuchKey()
    return {"Body": parts_of(path), "ContentLength": path.stat().st_size, "ContentType": "text/x-test"}


def parts_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(256 << 10):
            if part == b"broken":
                raise OSError("the disk is broken")
            yield part


@operation(resources=lambda _call, request: [f"arn:aws:s3:::{request['Bucket']}/{request['Key']}"])
def head_object(_call: Call, request: Request) -> Response:
    path = file_of(request)
    if not path.exists():
        raise NoSuchKey()
    return {"ContentLength": path.stat().st_size}
