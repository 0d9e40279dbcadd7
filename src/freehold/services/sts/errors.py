"""STS's error codes, one class each, in alphabetical order of code.

The codes and their HTTP statuses are those of the service model and of
https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html. Messages are in AWS's own words where clients are
known to show or match them.
"""

from __future__ import annotations

from freehold.services.errors import AwsError


class AccessDenied(AwsError):
    """What no policy could allow: a code that is wrong, credentials of a kind that may not do it."""

    code = "AccessDenied"
    status = 403


class ValidationError(AwsError):
    """A value that the model accepts and STS does not; the message says what would be right."""

    code = "ValidationError"
