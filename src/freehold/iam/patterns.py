"""The patterns of policies: wildcards, ARNs, and policy variables.

A pattern is text in which ``*`` stands for any characters and ``?`` for one; ``${*}``, ``${?}`` and ``${$}`` stand for
the characters themselves. Patterns are regular expressions without backtracking from one wildcard into another (atomic
groups), so that no pattern takes longer than the length of the pattern times that of the text.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Value: TypeAlias = str | Sequence[str] | None
"""What a request has under a condition key: one text, the texts of a multivalued key, or nothing."""

Lookup: TypeAlias = Callable[[str], Value]
"""The request's context: from a condition key in lower case to its value."""

Matcher: TypeAlias = Callable[[str], object]
"""Whether a text matches, by its truth."""

_REMEMBERED_MAX = 2048
_REMEMBERED_CHARACTERS_MAX = 256

_TOKEN = re.compile(r"\$\{([*?$:])\}|(\*+)|(\?)|([^*?$]+|\$)")
_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_NAME = re.compile(r"\s*([^,]+?)\s*(?:,\s*'([^']*)'\s*)?")
_SPECIAL_IN_TEXT = re.compile(r"[*?]|\$\{")
_SPECIAL = re.compile(r"[*?$:]")
_ESCAPED = re.compile(r"\$\{([*?$:])\}")


Make = Callable[[str], Matcher]


def remembered(make: Make) -> Make:
    """Makes matchers of patterns, and keeps those of short ones: tenants write them."""
    kept = functools.lru_cache(maxsize=_REMEMBERED_MAX)(make)
    return lambda pattern: kept(pattern) if len(pattern) <= _REMEMBERED_CHARACTERS_MAX else make(pattern)


@remembered
def glob(pattern: str) -> Matcher:
    """Matches texts as a whole."""
    return re.compile(regex(pattern), re.DOTALL).fullmatch


@remembered
def arn(pattern: str) -> Matcher:
    """Matches ARNs, part by part: wildcards do not reach beyond a colon, but in the last part of the pattern."""
    return re.compile(arn_regex(pattern), re.DOTALL).fullmatch


def any_of(written: Iterable[str], as_regex: Callable[[str], str]) -> Matcher | None:
    """Matches what one of many patterns matches, which `as_regex` makes regular expressions of (`regex`, `arn_regex`);
    None if there are none. Most need none: they are a text, or the beginning of one."""
    texts, beginnings, others = set(), [], []
    for pattern in written:
        beginning = pattern.removesuffix("*")
        if not _SPECIAL_IN_TEXT.search(beginning):
            if beginning == pattern:
                texts.add(pattern)
            else:
                beginnings.append(beginning)
        else:
            others.append(as_regex(pattern))
    begins = tuple(beginnings)
    other = re.compile("|".join(others), re.DOTALL).fullmatch if others else None
    if not texts and not begins:
        return other
    return lambda text: text in texts or text.startswith(begins) or (other is not None and other(text))


def arn_regex(pattern: str) -> str:
    if pattern == "*":
        return ".*"
    *parts, last = pattern.replace("${:}", "\0").split(":", 5)
    if any("\0" in part for part in parts):  # a variable's value does not make parts of an ARN
        return "(?!)"
    written = [regex(part, "[^:]") for part in parts]
    return ":".join([*written, regex(last.replace("\0", "${:}"))])


def regex(pattern: str, one: str = ".") -> str:
    """The pattern as a regular expression; `one` matches what a wildcard may stand for."""
    pieces = [""]
    for escaped, many, single, literal in _TOKEN.findall(pattern):
        if many:
            pieces.append("")
        else:
            pieces[-1] += one if single else re.escape(escaped or literal)
    first, *rest = pieces
    if not rest:
        return first
    middle = "".join(f"(?>{one}*?{piece})" for piece in rest[:-1] if piece)
    return f"{first}{middle}{one}*{rest[-1]}"


def plain(pattern: str) -> str:
    """A pattern in which wildcards mean nothing, as the text that it is."""
    return _ESCAPED.sub(r"\1", pattern) if "$" in pattern else pattern


def escaped(text: str) -> str:
    """A text as a pattern that matches only it."""
    return _SPECIAL.sub(r"${\g<0>}", text) if _SPECIAL.search(text) else text


@dataclass(frozen=True, slots=True)
class Template:
    """A pattern with variables: `parts` are texts and (condition key in lower case, default) in turn."""

    parts: tuple[str | tuple[str, str | None], ...]

    def pattern(self, lookup: Lookup) -> str | None:
        """The pattern with the request's values, which are no patterns; None if a variable has none, or has many."""
        made = []
        for part in self.parts:
            if isinstance(part, str):
                made.append(part)
                continue
            key, default = part
            value = lookup(key)
            if not isinstance(value, str):
                value = default
            if value is None:
                return None
            made.append(escaped(value))
        return "".join(made)

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(part[0] for part in self.parts if not isinstance(part, str))


def parse(text: str, *, variables: bool) -> str | Template:
    """The pattern that a policy says; `variables`: the policy's version has them, in others they are mere text."""
    if "${" not in text:
        return text
    if not variables:
        return text.replace("${", "${$}{")
    parts: list[str | tuple[str, str | None]] = []
    end = 0
    for found in _VARIABLE.finditer(text):
        parts.append(_literal(text[end : found.start()]))
        name, end = found[1], found.end()
        named = _NAME.fullmatch(name)
        if name in ("*", "?", "$"):
            parts.append(found[0])
        else:  # what is no name is the name of nothing
            parts.append((named[1].lower(), named[2]) if named else ("", None))
    parts.append(_literal(text[end:]))
    if all(isinstance(part, str) for part in parts):
        return "".join(str(part) for part in parts)
    return Template(tuple(part for part in parts if part))


def _literal(text: str) -> str:
    """Text between variables: what is left of ``${`` there begins none."""
    return text.replace("${", "${$}{")


def variables(text: str) -> list[str]:
    """The condition keys that a text names as variables, as they are written there."""
    named = [_NAME.fullmatch(name) for name in _VARIABLE.findall(text) if name not in ("*", "?", "$")]
    return [name[1] for name in named if name]
