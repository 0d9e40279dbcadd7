"""Signature Version 4: who signed a request, and whether they did.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html and, for S3's payload
rules, https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html

`claim` reads what the request says of itself; `verify` proves it with the secret. Nothing in a claim is to be
believed before that.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from freehold.front.errors import FamilyError, echo
from freehold.front.protocols.message import HttpRequest
from freehold.front.signature_errors import (
    ClockSkew,
    IncompleteQuerySignature,
    IncompleteSignature,
    InvalidPayloadHash,
    MissingPayloadHash,
    MissingSignature,
    PayloadHashMismatch,
    PresignedExpired,
    PresignedTooEarly,
    SignatureDoesNotMatch,
    TwoSignatures,
    UnsignedHeaders,
    UnsupportedSignature,
)

ALGORITHM: Final = "AWS4-HMAC-SHA256"
EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()
UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
# What S3 lets stand for the hash of a body that comes in chunks (see `chunked`).
SIGNED_CHUNKS: Final = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_CHUNKS_TRAILER: Final = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_CHUNKS_TRAILER: Final = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
IN_CHUNKS: Final = frozenset({SIGNED_CHUNKS, SIGNED_CHUNKS_TRAILER, UNSIGNED_CHUNKS_TRAILER})

# Over HTTPS their clients do not sign a body (`v4-unsigned-body` in the service model), but a checksum of it.
_UNSIGNED_BODIES = frozenset({"ebs"})
_PRESIGNED_SECONDS_MAX = 7 * 24 * 3600
_SKEW = dt.timedelta(minutes=5)
_S3_SKEW = dt.timedelta(minutes=15)

_SCOPE = re.compile(
    r"(?P<key>[A-Za-z0-9]{8,128})/(?P<date>[0-9]{8})/(?P<region>[a-z0-9]+(?:-[a-z0-9]+){0,8})/"
    r"(?P<service>[a-z0-9-]{1,64})/aws4_request",
    re.ASCII,
)
_SIGNATURE = re.compile(r"[0-9a-f]{64}", re.ASCII)
_HEADER_NAMES = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+(?:;[a-z0-9!#$%&'*+.^_`|~-]+)*", re.ASCII)
_AMZ_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z", re.ASCII)
_BLANKS = re.compile(r"[ \t]+")
_UNRESERVED: Final = "-_.~"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of its signature. `payload_hash` is the ``x-amz-content-sha256`` that it names, if it does;
    `expires` the seconds that a presigned request is valid."""

    access_key_id: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str
    amz_date: str
    signed_at: dt.datetime
    token: str | None
    payload_hash: str | None
    presigned: bool
    expires: int | None

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


def none(service: str, region: str) -> Claim:
    """What stands for the signature of a request that needs none."""
    at = dt.datetime.now(dt.UTC)
    return Claim("", f"{at:%Y%m%d}", region, service, (), "", f"{at:%Y%m%dT%H%M%SZ}", at, None, None, False, None)


def claim(request: HttpRequest) -> Claim:
    """The signature as the request presents it. Raises MissingSignature, TwoSignatures, IncompleteSignature …"""
    header = request.headers.get("authorization")
    presigned = any(name == "X-Amz-Algorithm" for name, _ in request.query)
    if header is None:
        if not presigned:
            raise MissingSignature()
        return _query_claim(request)
    if presigned:
        raise TwoSignatures()
    return _header_claim(request, header)


def _header_claim(request: HttpRequest, header: str) -> Claim:
    algorithm, _, rest = header.partition(" ")
    if algorithm != ALGORITHM:
        raise UnsupportedSignature(algorithm=echo(algorithm))
    fields = {}
    for part in rest.split(","):
        name, _, value = part.strip().partition("=")
        fields[name] = value
    for name in ("Credential", "Signature", "SignedHeaders"):
        if not fields.get(name):
            raise IncompleteSignature(problem=f"Authorization header requires '{name}' parameter.")
    amz_date = request.headers.get("x-amz-date")
    if amz_date is None and "date" in request.headers:
        amz_date = _from_date_header(request.headers["date"])
    if amz_date is None:
        raise IncompleteSignature(problem="Authorization header requires existence of a 'X-Amz-Date' header.")
    return _claim(
        request,
        IncompleteSignature,
        credential=fields["Credential"],
        signed_headers=fields["SignedHeaders"],
        signature=fields["Signature"],
        amz_date=amz_date,
        token=request.headers.get("x-amz-security-token"),
        expires=None,
    )


def _query_claim(request: HttpRequest) -> Claim:
    fields: dict[str, str] = {}
    for name, value in request.query:
        if name.startswith("X-Amz-"):
            if name in fields:
                raise IncompleteQuerySignature(problem=f"The parameter {echo(name)} is given more than once.")
            fields[name] = value
    if fields["X-Amz-Algorithm"] != ALGORITHM:
        raise IncompleteQuerySignature(problem=f"X-Amz-Algorithm only supports {ALGORITHM}.")
    for name in ("X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"):
        if not fields.get(name):
            raise IncompleteQuerySignature(problem=f"Query-string authentication requires the {name} parameter.")
    expires = fields.get("X-Amz-Expires")
    if expires is None:
        if fields["X-Amz-Credential"].endswith("/s3/aws4_request"):
            raise IncompleteQuerySignature(problem="Query-string authentication requires the X-Amz-Expires parameter.")
    elif not (
        expires.isascii() and expires.isdigit() and len(expires) < 8 and 0 < int(expires) <= _PRESIGNED_SECONDS_MAX
    ):
        raise IncompleteQuerySignature(problem=f"X-Amz-Expires must be from 1 to {_PRESIGNED_SECONDS_MAX} seconds.")
    return _claim(
        request,
        IncompleteQuerySignature,
        credential=fields["X-Amz-Credential"],
        signed_headers=fields["X-Amz-SignedHeaders"],
        signature=fields["X-Amz-Signature"],
        amz_date=fields["X-Amz-Date"],
        token=fields.get("X-Amz-Security-Token"),
        expires=None if expires is None else int(expires),
        presigned=True,
        payload_hash=fields.get("X-Amz-Content-Sha256"),
    )


def _claim(
    request: HttpRequest,
    incomplete: type[FamilyError],
    *,
    credential: str,
    signed_headers: str,
    signature: str,
    amz_date: str,
    token: str | None,
    expires: int | None,
    presigned: bool = False,
    payload_hash: str | None = None,
) -> Claim:
    scope = _SCOPE.fullmatch(credential)
    if scope is None:
        raise incomplete(
            problem="Credential must have the form <access key id>/<YYYYMMDD>/<region>/<service>/aws4_request, "
            f"given '{echo(credential)}'."
        )
    if not _SIGNATURE.fullmatch(signature):
        raise incomplete(problem="Signature must be 64 hexadecimal digits in lower case.")
    names = tuple(signed_headers.split(";"))
    if not _HEADER_NAMES.fullmatch(signed_headers) or list(names) != sorted(set(names)):
        raise incomplete(problem="SignedHeaders must be header names in lower case, sorted, joined by semicolons.")
    try:
        if not _AMZ_DATE.fullmatch(amz_date):
            raise ValueError
        # 20261125T183519Z; several times as fast as strptime, which every request would pay.
        day, time = amz_date[:8], amz_date[9:15]
        date = (int(day[:4]), int(day[4:6]), int(day[6:]))
        signed_at = dt.datetime(*date, int(time[:2]), int(time[2:4]), int(time[4:]), tzinfo=dt.UTC)
    except ValueError:
        raise incomplete(problem=f"Date must be in ISO-8601 'basic format'. Got '{echo(amz_date)}'.") from None
    if amz_date[:8] != scope["date"]:
        raise incomplete(
            problem=f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{scope['date']}' != '{amz_date[:8]}'."
        )
    if "host" not in names:
        raise incomplete(problem="'Host' must be a 'SignedHeader' in the AWS Authorization.")
    return Claim(
        access_key_id=scope["key"],
        date=scope["date"],
        region=scope["region"],
        service=scope["service"],
        signed_headers=names,
        signature=signature,
        amz_date=amz_date,
        signed_at=signed_at,
        token=token,
        payload_hash=request.headers.get("x-amz-content-sha256", payload_hash),
        presigned=presigned,
        expires=expires,
    )


def _from_date_header(value: str) -> str | None:
    try:
        moment = email.utils.parsedate_to_datetime(value)
        return _shown(moment.astimezone(dt.UTC))
    except (ValueError, TypeError, OverflowError):
        return None


def check_time(claimed: Claim, now: dt.datetime) -> None:
    """Raises ClockSkew or PresignedExpired unless the request was signed about now."""
    skew = _S3_SKEW if claimed.service == "s3" else _SKEW
    if claimed.signed_at > now + skew:
        raise (PresignedTooEarly if claimed.presigned else ClockSkew)(
            problem=f"Signature not yet current: {claimed.amz_date} is still later than "
            f"{_shown(now + skew)} ({_shown(now)} + {skew.seconds // 60} min.)"
        )
    if claimed.expires is not None:
        if now > claimed.signed_at + dt.timedelta(seconds=claimed.expires):
            raise PresignedExpired(
                problem=f"Signature expired: {claimed.amz_date} + {claimed.expires} s is now earlier than {_shown(now)}"
            )
    elif claimed.signed_at < now - skew:
        raise ClockSkew(
            problem=f"Signature expired: {claimed.amz_date} is now earlier than "
            f"{_shown(now - skew)} ({_shown(now)} - {skew.seconds // 60} min.)"
        )


def _shown(moment: dt.datetime) -> str:
    return moment.strftime("%Y%m%dT%H%M%SZ")


def signed_hash(claimed: Claim, received: str | None) -> str:
    """What stands for the body in the signature. `received` is the hash of the body, None if it is yet to come.

    S3 lets a client sign another value than the hash, all others sign the hash itself. Raises PayloadHashMismatch,
    MissingPayloadHash, InvalidPayloadHash.
    """
    named = claimed.payload_hash
    if claimed.service == "s3":
        if named is None:
            if claimed.presigned:
                return UNSIGNED_PAYLOAD
            raise MissingPayloadHash()
        if named == UNSIGNED_PAYLOAD or named in IN_CHUNKS:
            return named
        if not _SIGNATURE.fullmatch(named):
            raise InvalidPayloadHash(value=echo(named))
    if named == UNSIGNED_PAYLOAD and claimed.service in _UNSIGNED_BODIES:
        return named
    if named is None:
        return received or EMPTY_SHA256
    if received is not None and named != received:
        raise PayloadHashMismatch()
    return named


def signing_key(secret: bytes, claimed: Claim) -> bytes:
    key = b"AWS4" + secret
    for part in (claimed.date, claimed.region, claimed.service, "aws4_request"):
        key = hmac.digest(key, part.encode("ascii"), "sha256")
    return key


def verify(request: HttpRequest, claimed: Claim, key: bytes, payload_hash: str) -> None:
    """Raises SignatureDoesNotMatch unless the request was signed with the signing key `key`; `payload_hash` is what
    stands for the body in the signature. Raises UnsignedHeaders when a header that AWS acts on is not covered."""
    for name in request.headers:
        # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-signed-request-elements.html: host, and
        # every x-amz-* header that is present, must be signed.
        if name.startswith("x-amz-") and name not in claimed.signed_headers and name != "x-amz-user-agent":
            raise UnsignedHeaders(header=echo(name))
    rest = "\n".join(
        (
            canonical_query(request.query, presigned=claimed.presigned),
            *(f"{name}:{_canonical_value(request.headers, name)}" for name in claimed.signed_headers),
            "",
            ";".join(claimed.signed_headers),
            payload_hash,
        )
    )
    for path in canonical_paths(request.path, claimed.service):
        canonical = f"{request.method}\n{path}\n{rest}".encode("latin-1")
        text = f"{ALGORITHM}\n{claimed.amz_date}\n{claimed.scope}\n{hashlib.sha256(canonical).hexdigest()}"
        if hmac.compare_digest(hmac.digest(key, text.encode("ascii"), "sha256").hex(), claimed.signature):
            return
    raise SignatureDoesNotMatch()


def _canonical_value(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if value is None:
        raise SignatureDoesNotMatch()
    # Only ASCII blanks: the header's bytes are read as Latin-1, where parts of UTF-8 characters look like other blanks.
    return _BLANKS.sub(" ", value.strip(" \t"))


def normalised_path(path: str) -> str:
    """The path without empty and dot segments (RFC 3986 §5.2.4): what all services but S3 sign and route."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts) + ("/" if path.endswith("/") and parts else "")


def canonical_paths(path: str, service: str) -> tuple[str, ...]:
    """The forms of the path that may have been signed.

    S3 signs it encoded once: as it was sent, or part by part as AWS would encode it (clients differ in what they leave
    unencoded; %2F stays within its part). All others normalise it and encode it once more.
    """
    if path in ("", "/"):
        return ("/",)
    if service == "s3":
        encoded = "/".join(quote(unquote_to_bytes(part), safe=_UNRESERVED) for part in path.split("/"))
        return (path,) if encoded == path else (path, encoded)
    return (quote(normalised_path(path), safe="/" + _UNRESERVED),)


def canonical_query(query: list[tuple[str, str]], *, presigned: bool) -> str:
    encoded = [
        (quote(name, safe=_UNRESERVED), quote(value, safe=_UNRESERVED))
        for name, value in query
        if not (presigned and name == "X-Amz-Signature")
    ]
    return "&".join(f"{name}={value}" for name, value in sorted(encoded))
