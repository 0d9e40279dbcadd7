"""What operations of EC2 look at in requests, beside what all services share (freehold.services.parameters)."""

from __future__ import annotations

from collections.abc import Iterable

from freehold.services.ec2.errors import InvalidParameterCombination
from freehold.services.parameters import refuse_others

__all__ = ["refuse_others", "the_only"]


def the_only(attributes: Iterable[str]) -> str:
    """The attribute that a request is about. Raises InvalidParameterCombination for none, or several."""
    named = sorted(attributes)
    if not named:
        raise InvalidParameterCombination("No attributes specified.")
    if len(named) > 1:
        raise InvalidParameterCombination(f"Fields for multiple attribute types specified: {', '.join(named)}")
    return named[0]
