"""The actions of some levels as few patterns: ``ec2:Describe*`` if all that begins so is of these levels."""

from __future__ import annotations

import bisect
import re
from collections.abc import Collection, Iterator, Sequence

from freehold.iam import data
from freehold.iam.data import Level

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z]+|.")


def patterns_of(service: str, levels: Collection[Level], excepted: Collection[str] = ()) -> list[str]:
    """Patterns that match every action of a service that is of one of the levels, and none of its others. `excepted`
    actions (``secretsmanager:GetSecretValue``) are none of them, whatever their level."""
    chosen: set[str] = set()
    others: list[str] = []  # in lower case: policies match actions whatever their case
    for name, level in data.levels(service).items():
        wanted = level in levels and f"{service}:{name}" not in excepted
        if wanted:
            chosen.add(name)
        else:
            others.append(name.lower())
    others.sort()
    return sorted({f"{service}:{_pattern(name, others)}" for name in chosen})


def _pattern(name: str, others: Sequence[str]) -> str:
    """The shortest beginning of the name, by words, that none of the `others`, in order, has; else the name itself."""
    for beginning in _beginnings(name):
        folded = beginning.lower()
        place = bisect.bisect_left(others, folded)
        if place == len(others) or not others[place].startswith(folded):
            return f"{beginning}*"
    return name


def _beginnings(name: str) -> Iterator[str]:
    """``Get``, ``GetBucket``, ``GetBucketAcl`` of GetBucketAcl."""
    for word in _WORD.finditer(name):
        yield name[: word.end()]
