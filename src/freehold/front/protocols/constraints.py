"""What the model allows of a value: enumerations, lengths, ranges, patterns."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable
from typing import Any

import structlog
from botocore.model import ListShape, MapShape, Shape, StringShape

from freehold.front.errors import ConstraintViolated, echo

Check = Callable[[Any], None]

log = structlog.get_logger()


def check_of(shape: Shape) -> Check | None:
    """A function that raises ConstraintViolated for a value (of the right type) that `shape` does not allow; None when
    it allows all."""
    checks = [check for check in (_enum(shape), _size(shape), _pattern(shape)) if check]
    if len(checks) <= 1:
        return checks[0] if checks else None

    def check_all(value: Any) -> None:
        for check in checks:
            check(value)

    return check_all


_OPEN = frozenset({"InstanceType"})
"""Shapes whose values the configuration may add to: the operations that take them check them."""


def _enum(shape: Shape) -> Check | None:
    if not isinstance(shape, StringShape) or not shape.enum or shape.name in _OPEN:
        return None
    allowed = frozenset(shape.enum)
    names = ", ".join(shape.enum)

    def check_enum(value: str) -> None:
        if value not in allowed:
            raise ConstraintViolated(value=echo(value), constraint=f"satisfy enum value set: [{names}]")

    return check_enum


def _size(shape: Shape) -> Check | None:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is None and high is None:
        return None
    sized = isinstance(shape, StringShape | ListShape | MapShape) or shape.type_name == "blob"
    measure: Callable[[Any], Any] = len if sized else lambda value: value
    of = "have length" if sized else "have value"

    def check_size(value: Any) -> None:
        measured = measure(value)
        if low is not None and measured < low:
            raise ConstraintViolated(value=_shown(value), constraint=f"{of} greater than or equal to {low}")
        if high is not None and measured > high:
            raise ConstraintViolated(value=_shown(value), constraint=f"{of} less than or equal to {high}")

    return check_size


def _shown(value: Any) -> str:
    return echo(value) if isinstance(value, str) else echo(str(value)) if isinstance(value, int | float) else "…"


# A pattern is tried only on a value that passed its length check; without one, on no more than this, so that a
# hostile value can not keep a slow pattern busy.
_PATTERN_TEXT_MAX = 4096


def _pattern(shape: Shape) -> Check | None:
    source = shape.metadata.get("pattern")
    if source is None or not isinstance(shape, StringShape) or shape.enum:
        return None
    matches = _compiled(source).fullmatch

    def check_pattern(value: str) -> None:
        if len(value) > _PATTERN_TEXT_MAX:
            return
        if not matches(value):
            raise ConstraintViolated(value=echo(value), constraint=f"satisfy regular expression pattern: {source}")

    return check_pattern


@functools.cache
def _compiled(source: str) -> re.Pattern[str]:
    """AWS's patterns are Java's, matched against the whole value: bring their dialect to Python's."""
    # Java reads \\uD800\\uDC00-\\uDBFF\\uDFFF as the range of all characters beyond the basic plane.
    translated = source.replace(r"\uD800\uDC00-\uDBFF\uDFFF", "\U00010000-\U0010ffff")
    # A hyphen after a class is itself in Java and an error in Python.
    translated = re.sub(r"(\\w|\\d|\\s|\\p\{\w+\})-(?!\])", r"\1\\-", translated)
    translated = re.sub(r"\\p\{(\w+)\}", lambda found: _category(found[1]), translated)
    # Java repeats what is repeated already, as in rbin's `[0-9a-zA-Z]{11}{0,1011}`.
    translated = re.sub(r"(\[[^\]]*\]\{\d+\})(?=\{)", r"(?:\1)", translated)
    return re.compile(translated, re.ASCII)


@functools.cache
def _category(name: str) -> str:
    r"""The characters of a Unicode category (``L``, ``Zs``; POSIX's ``Alnum`` …) as the inside of a ``[…]``."""
    posix = {"Alpha": "a-zA-Z", "Digit": "0-9", "Alnum": "a-zA-Z0-9", "Upper": "A-Z", "Lower": "a-z", "Print": " -~",
             "Graph": "!-~", "ASCII": r"\x00-\x7f", "Space": r" \t-\r", "XDigit": "0-9A-Fa-f"}  # fmt: skip
    if name in posix:
        return posix[name]
    ranges: list[list[int]] = []
    for code in range(0x110000):
        if unicodedata.category(chr(code)).startswith(name):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)
