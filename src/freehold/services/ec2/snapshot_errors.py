"""Error codes of the operations on snapshots, in alphabetical order of code.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

from freehold.services.ec2.errors import Malformed, NotFound
from freehold.services.errors import AwsError


class ConcurrentSnapshotLimitExceeded(AwsError):
    code = "ConcurrentSnapshotLimitExceeded"

    def __init__(self) -> None:
        super().__init__("Maximum allowed in-progress snapshots for a single volume exceeded.")


class InvalidSnapshotIDMalformed(Malformed):
    code = "InvalidSnapshotID.Malformed"


class InvalidSnapshotInUse(AwsError):
    code = "InvalidSnapshot.InUse"

    def __init__(self, snapshot_id: str, image_id: str) -> None:
        super().__init__(f"The snapshot {snapshot_id} is currently in use by {image_id}")


class InvalidSnapshotNotFound(NotFound):
    code = "InvalidSnapshot.NotFound"
    noun = "snapshot"


class PublicSharingBlocked(AwsError):
    """The account blocks public access of its snapshots."""

    code = "OperationNotPermitted"

    def __init__(self) -> None:
        super().__init__(
            "Public sharing of snapshots is blocked in this Region. Disable block public access for snapshots to share "
            "them with everyone."
        )


class ServiceUnavailable(AwsError):
    """A host did not take a snapshot in time: clients try again."""

    code = "ServiceUnavailable"
    status = 503

    def __init__(self) -> None:
        super().__init__("The request has failed due to a temporary failure of the server. Try again.")


class SnapshotLimitExceeded(AwsError):
    code = "SnapshotLimitExceeded"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The maximum number of snapshots ({limit}) has been reached in this region.")


class SnapshotLocked(AwsError):
    code = "SnapshotLocked"

    def __init__(self, snapshot_id: str) -> None:
        super().__init__(f"The snapshot {snapshot_id} is locked.")
