"""Limits on guessing: passwords and codes are not found by trying."""

from __future__ import annotations

from freehold.buckets import Buckets

_AT_ONCE = 10
_PER_SECOND = _AT_ONCE / 300


class Guesses:
    """Wrong answers, of which ten may be given for a secret at once and then one each half minute: of a million codes
    of an MFA device three are right at any time."""

    def __init__(self) -> None:
        self._buckets = Buckets()

    def too_many(self, secret: str) -> bool:
        """`secret` is a name of it: the device's ARN, the user's id."""
        return not self._buckets.has(secret, _PER_SECOND, _AT_ONCE)

    def add(self, secret: str) -> None:
        """Count a wrong answer."""
        self._buckets.take(secret, _PER_SECOND, _AT_ONCE)
