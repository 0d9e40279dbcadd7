"""EBS's error codes (https://docs.aws.amazon.com/ebs/latest/APIReference/CommonErrors.html)."""

from __future__ import annotations

from freehold.services.errors import AwsError


class ConflictError(AwsError):
    """The request is one that was made before, with other parameters."""

    code = "ConflictException"
    status = 409


class InternalServerError(AwsError):
    code = "InternalServerException"
    status = 500

    def __init__(self) -> None:
        super().__init__("An internal error has occurred. For more information see Error retries.")


class SnapshotNotFound(AwsError):
    code = "ResourceNotFoundException"
    status = 404

    def __init__(self, snapshot_id: str) -> None:
        super().__init__(f"The snapshot '{snapshot_id}' does not exist.")


class ValidationError(AwsError):
    """What the model accepts and EBS does not."""

    code = "ValidationException"
