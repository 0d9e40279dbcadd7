"""Temporary credentials: an access key whose session token says everything about it.

Nothing is stored of them. The token is the claim below, sealed by the cloud for its access key's id: who holds it can
neither read nor change it nor use it with another key. What it says is believed until it expires, but that its owner
is still there is looked up at every call.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from freehold.records.ids import AccountId, new_key_id
from freehold.records.secrets import Sealer, SealError

PREFIX = "ASIA"  # of the ids of temporary access keys

_PURPOSE = "session"
_SECRET_BYTES = 30  # 40 characters, as AWS's own
_BYTES_MIN = 28  # of what is sealed: nonce and tag

TOKEN_CHARACTERS_MAX = 4096
"""Session policies and tags are packed into the token, which clients and servers must take in a header. AWS's own limit
is not said, but it counts in the same way."""


class Delivery(msgspec.Struct, frozen=True, array_like=True):
    """To which server credentials were handed out, by its profile."""

    instance_arn: str
    vpc_id: str
    private_ip: str


class Session(msgspec.Struct, frozen=True, array_like=True):
    """What temporary credentials say beside whose they are. One of the `policies` (JSON texts) or of those that
    `policy_arns` name must allow what the session does, if there are any; `mfa_at` is when a code was given; `provider`
    is the ARN of the identity provider whose user's it is."""

    issued_at: dt.datetime
    expires_at: dt.datetime
    mfa_at: dt.datetime | None = None
    policies: tuple[str, ...] = ()
    policy_arns: tuple[str, ...] = ()
    tags: Mapping[str, str] = msgspec.field(default_factory=dict)
    transitive_tag_keys: tuple[str, ...] = ()
    source_identity: str | None = None
    chained: bool = False
    delivery: Delivery | None = None
    provider: str | None = None


class Holder(msgspec.Struct, frozen=True, array_like=True):
    """Whose temporary credentials are. `owner_id` is the unique id of the role or user whose policies count (the
    account's id = its root), `name` that of a role's session or a federated user."""

    account_id: AccountId
    kind: Literal["root", "user", "role", "federated"]
    owner_id: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What signs requests until it expires."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at: dt.datetime


class Opened(msgspec.Struct, frozen=True, array_like=True):
    """What a session token holds."""

    secret: str
    holder: Holder
    session: Session


class TokenError(Exception):
    """The text is not a session token of this cloud for this access key."""


_decoder = msgspec.msgpack.Decoder(Opened)


def issue(sealer: Sealer, holder: Holder, session: Session) -> Credentials:
    """Fresh credentials. Whether the token is larger than it may be is the caller's to look at."""
    key_id, secret = new_key_id(PREFIX, holder.account_id), secrets.token_urlsafe(_SECRET_BYTES)
    claim = zlib.compress(msgspec.msgpack.encode(Opened(secret, holder, session)))
    return Credentials(key_id, secret, _text(sealer.seal(_PURPOSE, key_id, claim)), session.expires_at)


def opened(sealer: Sealer, key_id: str, token: str) -> Opened:
    """What the token of an access key holds; whether it has expired is not looked at. Raises TokenError."""
    try:
        sealed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        raise TokenError from None
    if len(sealed) < _BYTES_MIN or _text(sealed) != token:
        raise TokenError
    try:
        claim = sealer.open(_PURPOSE, key_id, sealed)
    except SealError:
        raise TokenError from None
    return _decoder.decode(zlib.decompress(claim))


def _text(sealed: bytes) -> str:
    """The one way in which a token is written."""
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()
