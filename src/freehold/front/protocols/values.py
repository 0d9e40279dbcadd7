"""Single values on the wire: numbers, booleans, timestamps and blobs as text, and back.

Smithy's definitions: https://smithy.io/2.0/aws/protocols/index.html and
https://smithy.io/2.0/spec/protocol-traits.html#timestampformat-trait
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import email.utils
import re
from collections.abc import Callable
from typing import Any

from botocore.model import Shape

from freehold.front.errors import ConstraintViolated, WrongType, echo

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
_FLOAT = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", re.ASCII)
_ISO = re.compile(
    r"([0-9]{4}-?[0-9]{2}-?[0-9]{2})"
    r"([T ]([0-9]{2}:?[0-9]{2}(:?[0-9]{2}([.,][0-9]{1,9})?)?)(Z|[+-][0-9]{2}:?[0-9]{2})?)?",
    re.ASCII,
)
_BITS = {"integer": 32, "long": 64}
# Characters that XML 1.0 can not carry (https://www.w3.org/TR/xml/#charsets): a caller's text is stored only if every
# protocol can give it back.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def text(value: str) -> str:
    if _NOT_XML.search(value):
        raise ConstraintViolated(
            value=echo(_NOT_XML.sub("?", value)), constraint="contain only characters that XML 1.0 allows"
        )
    return value


def parse_boolean(value: str) -> bool:
    lowered = value.lower()
    if lowered == "true":
        return True
    if lowered == "false":
        return False
    raise WrongType(value=echo(value), expected="a boolean (true or false)")


def integer_parser(shape: Shape) -> Callable[[str], int]:
    bits = _BITS.get(shape.type_name, 64)
    limit = 1 << (bits - 1)

    def parse_integer(value: str) -> int:
        if not _INTEGER.fullmatch(value) or not -limit <= (number := int(value)) < limit:
            raise WrongType(value=echo(value), expected=f"an integer of {bits} bits")
        return number

    return parse_integer


def parse_float(value: str) -> float:
    if value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    if not _FLOAT.fullmatch(value):
        raise WrongType(value=echo(value), expected="a number")
    return float(value)


def parse_blob(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise WrongType(value=echo(value), expected="base64") from None


def parse_iso8601(value: str) -> dt.datetime:
    """ISO 8601 with any of its usual omissions; a time without an offset is UTC, as AWS reads it."""
    try:
        if not _ISO.fullmatch(value):
            raise ValueError
        moment = dt.datetime.fromisoformat(value)
        return (moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise WrongType(value=echo(value), expected="a timestamp (2026-11-25T12:30:00Z)") from None


def from_unix(seconds: float) -> dt.datetime:
    try:
        # Milliseconds are the finest that AWS gives; a float's own error is smaller.
        return _EPOCH + dt.timedelta(milliseconds=round(seconds * 1000))
    except (OverflowError, ValueError):
        raise WrongType(value=echo(str(seconds)), expected="a timestamp in seconds since 1970") from None


def parse_unix(value: str) -> dt.datetime:
    return from_unix(parse_float(value))


def parse_rfc822(value: str) -> dt.datetime:
    try:
        moment = email.utils.parsedate_to_datetime(value)
        return (moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment).astimezone(dt.UTC)
    except (ValueError, TypeError, OverflowError):
        raise WrongType(value=echo(value), expected="a date (Wed, 25 Nov 2026 12:30:00 GMT)") from None


def parse_timestamp(value: str) -> dt.datetime:
    """Any of the three formats: clients differ, and each is told from the others by its first characters."""
    if value[3:4] == ",":
        return parse_rfc822(value)
    return parse_unix(value) if _FLOAT.fullmatch(value) and len(value) != 8 else parse_iso8601(value)


def text_parser(shape: Shape) -> Callable[[str], Any]:
    """How a value of this scalar shape is read from text (form, header, query string, XML)."""
    match shape.type_name:
        case "string" | "character":
            return text
        case "boolean":
            return parse_boolean
        case "integer" | "long" | "short" | "byte" | "bigInteger":
            return integer_parser(shape)
        case "float" | "double":
            return parse_float
        case "timestamp":
            return parse_timestamp
        case "blob":
            return parse_blob
    raise TypeError(f"{shape.name} ({shape.type_name}) is not a scalar")


def format_iso8601(moment: dt.datetime) -> str:
    if moment.tzinfo is not dt.UTC:
        moment = moment.astimezone(dt.UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def to_unix(moment: dt.datetime) -> int | float:
    """Seconds since 1970, to the millisecond; an int when whole."""
    milliseconds = (moment - _EPOCH) // dt.timedelta(milliseconds=1)
    return milliseconds // 1000 if milliseconds % 1000 == 0 else milliseconds / 1000


def format_rfc822(moment: dt.datetime) -> str:
    return email.utils.format_datetime(moment.astimezone(dt.UTC), usegmt=True)


def format_float(value: float) -> str:
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value) if isinstance(value, float) else str(value)


def timestamp_format(shape: Shape, default: str) -> str:
    return str(shape.serialization.get("timestampFormat", default)).lower()


_TIMESTAMPS: dict[str, Callable[[dt.datetime], str]] = {
    "iso8601": format_iso8601,
    "unixtimestamp": lambda moment: str(to_unix(moment)),
    "rfc822": format_rfc822,
}


def text_formatter(shape: Shape, default_timestamp: str) -> Callable[[Any], str]:
    """How a value of this scalar shape is written as text. Blobs may be given as bytes or str."""
    match shape.type_name:
        case "string" | "character":
            return str
        case "boolean":
            return lambda value: "true" if value else "false"
        case "integer" | "long" | "short" | "byte" | "bigInteger":
            return lambda value: str(int(value))
        case "float" | "double":
            return lambda value: format_float(float(value))
        case "timestamp":
            return _TIMESTAMPS[timestamp_format(shape, default_timestamp)]
        case "blob":
            return format_blob
    raise TypeError(f"{shape.name} ({shape.type_name}) is not a scalar")


def format_blob(value: bytes | str) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode("ascii")
