"""IAM's error codes, one class each, in alphabetical order of code.

The codes and their HTTP statuses are those of the service model and of
https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html. Messages are in AWS's own words where clients are
known to show or match them.
"""

from __future__ import annotations

from freehold.services.errors import AwsError


class DeleteConflict(AwsError):
    """Something still depends on what is to be deleted; `first` says what has to be done before."""

    code = "DeleteConflict"
    status = 409

    def __init__(self, first: str) -> None:
        super().__init__(f"Cannot delete entity, must {first} first.")


class EntityAlreadyExists(AwsError):
    """`what` is a sentence's beginning: ``User with name alice``."""

    code = "EntityAlreadyExists"
    status = 409

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} already exists.")


class EntityTemporarilyUnmodifiable(AwsError):
    """Another call changed the same thing at the same time."""

    code = "EntityTemporarilyUnmodifiable"
    status = 409

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} cannot be modified while another request changes it. Please try again.")


class InvalidAuthenticationCode(AwsError):
    """A code that the MFA device does not show now, or that was used before."""

    code = "InvalidAuthenticationCode"
    status = 403

    def __init__(self) -> None:
        super().__init__("Authentication code for device is not valid.")


class InvalidInput(AwsError):
    """A value that the model accepts and IAM does not; the message says what would be right."""

    code = "InvalidInput"


class InvalidUserType(AwsError):
    """A call that only an IAM user may make, from the account's root or a role."""

    code = "InvalidUserType"


class LimitExceeded(AwsError):
    """`quota` is AWS's name of it: ``AccessKeysPerUser``."""

    code = "LimitExceeded"
    status = 409

    def __init__(self, quota: str, limit: int) -> None:
        super().__init__(f"Cannot exceed quota for {quota}: {limit}")


class NoSuchEntity(AwsError):
    """`what` is a sentence's beginning: ``The user with name alice``."""

    code = "NoSuchEntity"
    status = 404

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} cannot be found.")


class OldPasswordIncorrect(AwsError):
    """ChangePassword answers it like a missing right."""

    code = "AccessDenied"
    status = 403

    def __init__(self) -> None:
        super().__init__("The old password was incorrect.")


class PasswordPolicyViolation(AwsError):
    """The message says what the account's password policy wants and the password does not have."""

    code = "PasswordPolicyViolation"


class ReportNotPresent(AwsError):
    code = "ReportNotPresent"
    status = 410

    def __init__(self) -> None:
        super().__init__("No report is present, call GenerateCredentialReport first.")


class ReportExpired(AwsError):
    code = "ReportExpired"
    status = 410

    def __init__(self) -> None:
        super().__init__("The report has expired, call GenerateCredentialReport to generate a new one.")


class Throttling(AwsError):
    code = "Throttling"

    def __init__(self) -> None:
        super().__init__("Rate exceeded")


class ValidationError(AwsError):
    """A request that makes no sense to IAM, in the code that it shares with all services of its protocol."""

    code = "ValidationError"
