"""How many requests an account may send: token buckets, as AWS limits its callers.

https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
"""

from __future__ import annotations

from typing import ClassVar

from freehold.buckets import Buckets
from freehold.config import Throttle
from freehold.front.errors import Answers, FamilyError


class Throttled(FamilyError):
    answers: ClassVar[Answers] = {
        "ec2": (503, "RequestLimitExceeded", "Request limit exceeded."),
        "query": (400, "Throttling", "Rate exceeded"),
        "json": (400, "ThrottlingException", "Rate exceeded"),
        "rest-json": (429, "ThrottlingException", "Rate exceeded"),
        "rest-xml": (503, "SlowDown", "Please reduce your request rate."),
    }


class Limiter:
    """Holds accounts to the configured rates."""

    def __init__(self, limits: Throttle) -> None:
        self._limits = limits
        self._buckets = Buckets()

    def admit(self, account_id: str, service: str, *, read_only: bool) -> None:
        """Raises Throttled when the account has sent too many requests of this family: a service's reads or writes."""
        limits = self._limits
        rate, burst = limits.reads_per_second, limits.reads_burst
        if not read_only:
            rate, burst = limits.writes_per_second, limits.writes_burst
        if not self._buckets.take((account_id, service, read_only), rate, burst):
            raise Throttled()

    def admit_stranger(self, source_ip: str) -> None:
        """The same for one who sends requests without a signature, known by the address alone."""
        limits = self._limits
        if not self._buckets.take(source_ip, limits.unsigned_per_second, limits.unsigned_burst):
            raise Throttled()
