"""The Condition element: every operator, IfExists, ForAllValues and ForAnyValue.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html

The operators whose name says Not are the negations of the others: they hold when no value of the policy matches, and
when the key is not there. What can not be read as the operator's type matches nothing.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import functools
import ipaddress
import operator as compare
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from freehold.iam import patterns
from freehold.iam.patterns import Lookup, Make, Matcher, Template

_NUMBER = re.compile(r"[-+]?[0-9]{1,64}(\.[0-9]{1,64})?")
_DATE = re.compile(
    r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})"
    r"(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?(Z|[-+][0-9]{2}:?[0-9]{2})?)?)?)?"
)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

Quantifier = Literal["", "ForAllValues", "ForAnyValue"]


def _number(text: str) -> Decimal | None:
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def _moment(text: str) -> Decimal | None:
    """Seconds since 1970, of a date as W3C writes ISO 8601, or of such seconds."""
    found = _DATE.fullmatch(text)
    if found is None:
        return _number(text)
    zone = found[8]
    year, month, day, hour, minute, second = (
        int(part or least) for part, least in zip(found.groups(), "111000", strict=False)
    )
    try:
        at = dt.datetime(year, month, day, hour, minute, second, tzinfo=dt.UTC)
        if zone not in (None, "Z"):
            offset = dt.timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
            at = at - offset if zone[0] == "+" else at + offset
    except (ValueError, OverflowError):
        return None
    passed = at - _EPOCH
    return Decimal(passed.days * 86400 + passed.seconds) + Decimal(f"0.{found[7] or 0}")


def _ordered(
    read: Callable[[str], Decimal | None], holds: Callable[[Decimal, Decimal], bool]
) -> Callable[..., Matcher]:
    def make(pattern: str) -> Matcher:
        limit = read(patterns.plain(pattern).strip())

        def matches(text: str) -> bool:
            value = read(text.strip())
            return value is not None and limit is not None and holds(value, limit)

        return matches

    return make


def _equals(pattern: str) -> Matcher:
    return patterns.plain(pattern).__eq__


def _equals_ignoring_case(pattern: str) -> Matcher:
    wanted = patterns.plain(pattern).casefold()
    return lambda text: text.casefold() == wanted


def _bytes(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _same_bytes(pattern: str) -> Matcher:
    wanted = _bytes(patterns.plain(pattern))
    return lambda text: wanted is not None and _bytes(text) == wanted


@functools.lru_cache(maxsize=4096)
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _within(pattern: str) -> Matcher:
    try:
        network = ipaddress.ip_network(patterns.plain(pattern), strict=False)
    except ValueError:
        return lambda text: False

    def matches(text: str) -> bool:
        address = _address(text)
        return address is not None and address in network

    return matches


def _arn_like(pattern: str) -> Matcher:
    matches = patterns.arn(pattern)
    return lambda text: text.count(":") >= 5 and matches(text)


_MATCHERS: dict[str, Make] = {
    "StringEquals": _equals,
    "StringEqualsIgnoreCase": _equals_ignoring_case,
    "StringLike": patterns.glob,
    "NumericEquals": _ordered(_number, compare.eq),
    "NumericLessThan": _ordered(_number, compare.lt),
    "NumericLessThanEquals": _ordered(_number, compare.le),
    "NumericGreaterThan": _ordered(_number, compare.gt),
    "NumericGreaterThanEquals": _ordered(_number, compare.ge),
    "DateEquals": _ordered(_moment, compare.eq),
    "DateLessThan": _ordered(_moment, compare.lt),
    "DateLessThanEquals": _ordered(_moment, compare.le),
    "DateGreaterThan": _ordered(_moment, compare.gt),
    "DateGreaterThanEquals": _ordered(_moment, compare.ge),
    "Bool": _equals_ignoring_case,
    "BinaryEquals": _same_bytes,
    "IpAddress": _within,
    "ArnEquals": _arn_like,
    "ArnLike": _arn_like,
    "Null": _equals_ignoring_case,
}
_NEGATIONS = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
    "NotIpAddress": "IpAddress",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
}


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator as it is written: ``ForAnyValue:StringNotLikeIfExists`` is StringLike, negated."""

    name: str
    negated: bool
    if_exists: bool
    quantifier: Quantifier


def _operators() -> dict[str, Operator]:
    made = {"Null": Operator("Null", False, False, "")}
    quantifiers: tuple[Quantifier, ...] = ("", "ForAllValues", "ForAnyValue")
    for name in [*_MATCHERS, *_NEGATIONS]:
        base, negated = _NEGATIONS.get(name, name), name in _NEGATIONS
        for quantifier in quantifiers if name != "Null" else ():
            prefix = f"{quantifier}:" if quantifier else ""
            made[f"{prefix}{name}"] = Operator(base, negated, False, quantifier)
            made[f"{prefix}{name}IfExists"] = Operator(base, negated, True, quantifier)
    return made


OPERATORS = _operators()
"""Every operator by how it is written, with IfExists and quantifiers."""


class Condition:
    """One operator, key and its values."""

    __slots__ = ("_make", "_matchers", "_negated", "_operator", "_patterns", "_plain", "_templates", "_texts", "key")

    def __init__(self, written: Operator, key: str, values: Iterable[str | Template]) -> None:
        self.key = key.lower()
        self._operator = written
        self._negated = written.negated
        self._make = _MATCHERS[written.name]
        self._plain = written.name != "Null" and not written.quantifier
        given = tuple(values)
        fixed = [value for value in given if isinstance(value, str)]
        self._templates = tuple(value for value in given if isinstance(value, Template))
        self._texts: frozenset[str] = frozenset()
        self._matchers: tuple[Matcher, ...] = ()
        if written.name == "StringEquals":
            self._texts = frozenset(map(patterns.plain, fixed))
        else:
            self._matchers = tuple(self._make(value) for value in fixed)
        self._patterns = bool(self._matchers or self._templates)

    def holds(self, lookup: Lookup) -> bool:
        """Whether the request meets the condition."""
        found = lookup(self.key)
        if self._plain and isinstance(found, str):
            return (found in self._texts or (self._patterns and self._matches(found, lookup))) is not self._negated
        written = self._operator
        if written.name == "Null":
            return self._matches("true" if not found and found != "" else "false", lookup)
        values = (found,) if isinstance(found, str) else found or ()
        match written.quantifier:
            case "ForAllValues":
                return not any(values) or all(self._matches(value, lookup) is not self._negated for value in values)
            case "ForAnyValue":
                if not values:
                    return written.if_exists
                return any(self._matches(value, lookup) is not self._negated for value in values)
        if not values:
            return written.negated or written.if_exists
        return any(self._matches(value, lookup) for value in values) is not self._negated

    def _matches(self, text: str, lookup: Lookup) -> bool:
        """Whether a value of the request matches one of the policy's."""
        if text in self._texts:
            return True
        for matches in self._matchers:
            if matches(text):
                return True
        for template in self._templates:
            pattern = template.pattern(lookup)
            if pattern is not None and self._make(pattern)(text):
                return True
        return False
