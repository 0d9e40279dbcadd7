"""A request and a response as the protocols see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

from freehold.front.errors import InvalidUri, Malformed, TooLarge

PARAMETERS_MAX = 20_000


@dataclass(slots=True)
class HttpRequest:
    """`path` is the raw path, percent-encoded as sent; `query` the decoded pairs of the query string in their order;
    header names are in lower case, repeated headers joined by a comma. `body` is bytes, or for an operation whose
    input streams, a reader."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    body: Any = b""


@dataclass(slots=True)
class HttpResponse:
    """`body` is bytes, or an iterable of bytes for an output that streams."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Iterable[bytes] = b""


def pairs(text: str) -> list[tuple[str, str]]:
    """The pairs of a query string or form, decoded (``+`` is a space). Raises InvalidUri when they are not UTF-8."""
    if not text:
        return []
    parts = text.split("&")
    if len(parts) > PARAMETERS_MAX:
        raise TooLarge(limit=f"at most {PARAMETERS_MAX} parameters")
    result = []
    try:
        for part in parts:
            if part:
                name, _, value = part.partition("=")
                if "%" in part or "+" in part:
                    name, value = unquote_plus(name, errors="strict"), unquote_plus(value, errors="strict")
                result.append((name, value))
    except UnicodeDecodeError:
        raise InvalidUri() from None
    return result


def form(body: bytes) -> list[tuple[str, str]]:
    """The pairs of a form body. Raises Malformed when it is not the ASCII that percent-encoding gives."""
    try:
        return pairs(body.decode("ascii"))
    except UnicodeDecodeError:
        raise Malformed(problem="The form has bytes that are not percent-encoded") from None
