"""Recycle Bin's error codes (https://docs.aws.amazon.com/recyclebin/latest/APIReference/CommonErrors.html)."""

from __future__ import annotations

from freehold.services.errors import AwsError


class RuleLocked(AwsError):
    """The rule's lock does not allow this, or there is no lock to change."""

    code = "ConflictException"
    status = 409


class RuleNotFound(AwsError):
    code = "ResourceNotFoundException"
    status = 404

    def __init__(self, identifier: str) -> None:
        super().__init__(f"The retention rule '{identifier}' does not exist.")


class RuleQuotaExceeded(AwsError):
    code = "ServiceQuotaExceededException"
    status = 402

    def __init__(self, limit: int) -> None:
        super().__init__(f"At most {limit} retention rules may be there in a region.")


class ValidationError(AwsError):
    """What the model accepts and Recycle Bin does not."""

    code = "ValidationException"
