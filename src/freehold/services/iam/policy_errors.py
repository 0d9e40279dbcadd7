"""IAM's errors about policies and who has them, beside those of the other modules (errors.py), by code."""

from __future__ import annotations

from freehold.services.errors import AwsError


class DeletePolicyConflict(AwsError):
    """A managed policy, or a version of one, that may not go yet; the message says why."""

    code = "DeleteConflict"
    status = 409


class LimitExceededOfVersions(AwsError):
    code = "LimitExceeded"
    status = 409

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"A managed policy can have up to {limit} versions. Before you create a new version, you must delete an "
            "existing version."
        )


class LimitExceededOfInlinePolicies(AwsError):
    """`kind` is ``user``, ``group`` or ``role``: its inline policies together are too long."""

    code = "LimitExceeded"
    status = 409

    def __init__(self, kind: str, name: str, limit: int) -> None:
        super().__init__(f"Maximum policy size of {limit} bytes exceeded for {kind} {name}")


class MalformedPolicyDocument(AwsError):
    """What is no policy, or none that may stand there; the message is the reason."""

    code = "MalformedPolicyDocument"


class NoSuchPolicy(AwsError):
    """`what` is the policy, or what does not have it, with its verb: ``Policy arn:… was not found``."""

    code = "NoSuchEntity"
    status = 404

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}.")


class PolicyAlreadyExists(AwsError):
    code = "EntityAlreadyExists"
    status = 409

    def __init__(self, name: str) -> None:
        super().__init__(f"A policy called {name} already exists. Duplicate names are not allowed.")


class PolicyNotAttachable(AwsError):
    code = "PolicyNotAttachable"

    def __init__(self) -> None:
        super().__init__("Cannot attach a Service Role Policy to a Customer Role.")


class UnmodifiableEntity(AwsError):
    """A service's own role."""

    code = "UnmodifiableEntity"

    def __init__(self, role_name: str) -> None:
        super().__init__(
            f"Cannot perform the operation on the protected role '{role_name}' - this role is only modifiable by AWS"
        )
