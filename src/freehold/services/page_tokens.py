"""The tokens (EC2, CloudTrail) and markers (IAM) that a page of a list ends with.

A token holds the key of the page's last row: the next page begins after it, so rows that come or go meanwhile neither
shift a page nor cost anything. It also holds a hash of what was asked for, because a key means nothing under other
filters. It is no secret, since it can only name a place in the caller's own rows.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_HASH_BYTES = 8


class UnusableToken(ValueError):
    """It is none of ours, or belongs to another request."""


def asked(request: Mapping[str, Any], *whose: str, without: Sequence[str]) -> bytes:
    """The hash of what was asked for: `whose` says by whom and where, `without` names the members that are about the
    page alone."""
    rest = {name: value for name, value in request.items() if name not in without}
    return hashlib.sha256(msgspec.json.encode([*whose, rest], order="deterministic")).digest()[:_HASH_BYTES]


def write(key: Sequence[str | int], of: bytes) -> str:
    """The token of a key; `of` is what was `asked`."""
    return base64.urlsafe_b64encode(of + msgspec.json.encode(key)).decode().rstrip("=")


def read(token: str, of: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """The key in a token, as `decoder` says what keys look like. Raises UnusableToken."""
    try:
        content = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        key = decoder.decode(content[_HASH_BYTES:])
    except (binascii.Error, UnicodeError, msgspec.MsgspecError) as error:
        raise UnusableToken from error
    if content[:_HASH_BYTES] != of:
        raise UnusableToken
    return key
