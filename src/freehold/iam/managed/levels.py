"""The actions of some levels as few patterns: ``ec2:Describe*`` if all that begins so is of these levels."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from freehold.iam import data
from freehold.iam.data import Level

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z]+|.")


def patterns_of(service: str, levels: Collection[Level], excepted: Collection[str] = ()) -> list[str]:
    """Patterns that match every action of a service that is of one of the levels, and none of its others. `excepted`
    actions (``secretsmanager:GetSecretValue``) are none of them, whatever their level."""
    chosen: set[str] = set()
    others: set[str] = set()
    for name, level in data.levels(service).items():
        wanted = level in levels and f"{service}:{name}" not in excepted
        (chosen if wanted else others).add(name)
    return sorted({f"{service}:{_pattern(name, others)}" for name in chosen})


def _pattern(name: str, others: Collection[str]) -> str:
    """The shortest beginning of the name, by words, that no other name has; else the name itself."""
    for beginning in _beginnings(name):
        # Policies match actions whatever their case.
        if not any(other.lower().startswith(beginning.lower()) for other in others):
            return f"{beginning}*"
    return name


def _beginnings(name: str) -> Iterator[str]:
    """``Get``, ``GetBucket``, ``GetBucketAcl`` of GetBucketAcl."""
    for word in _WORD.finditer(name):
        yield name[: word.end()]
