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


class ExpiredIdentityToken(AwsError):
    code = "ExpiredTokenException"

    def __init__(self) -> None:
        super().__init__("Token expired: current date/time must be before the expiration date/time of the token")


class IDPCommunicationError(AwsError):
    code = "IDPCommunicationError"

    def __init__(self) -> None:
        super().__init__(
            "Couldn't retrieve verification key from your identity provider, please reference "
            "AssumeRoleWithWebIdentity documentation for requirements"
        )


class InvalidAuthorizationMessage(AwsError):
    code = "InvalidAuthorizationMessageException"

    def __init__(self) -> None:
        super().__init__("The message is no encoded authorization message of this account.")


class InvalidIdentityToken(AwsError):
    code = "InvalidIdentityToken"


class InvalidParameterValue(AwsError):
    code = "InvalidParameterValue"


class MalformedPolicyDocument(AwsError):
    code = "MalformedPolicyDocument"


class PackedPolicyTooLarge(AwsError):
    """The token would be larger than `limit` bytes."""

    code = "PackedPolicyTooLarge"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"The session token would be {size} bytes long, with the session policies and tags packed into it; at most "
            f"{limit} bytes are allowed."
        )


class ValidationError(AwsError):
    """A value that the model accepts and STS does not; the message says what would be right."""

    code = "ValidationError"
