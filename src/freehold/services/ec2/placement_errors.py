"""Error codes of placement groups, in alphabetical order of code.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

from freehold.services.ec2.errors import Malformed, NotFound
from freehold.services.errors import AwsError


class InsufficientGroupCapacity(AwsError):
    """No host is left that the strategy of the group allows."""

    code = "InsufficientInstanceCapacity"
    status = 500

    def __init__(self, name: str) -> None:
        super().__init__(
            "We currently do not have sufficient capacity to launch all of the additional requested instances into "
            f"Placement Group '{name}'."
        )


class InvalidPlacementGroupDuplicate(AwsError):
    code = "InvalidPlacementGroup.Duplicate"

    def __init__(self, name: str) -> None:
        super().__init__(f"The Placement Group '{name}' already exists.")


class InvalidPlacementGroupIdMalformed(Malformed):
    code = "InvalidPlacementGroupId.Malformed"


class InvalidPlacementGroupInUse(AwsError):
    code = "InvalidPlacementGroup.InUse"

    def __init__(self, name: str, zone: str | None = None) -> None:
        if zone is None:
            super().__init__(f"The placement group '{name}' is in use and may not be deleted.")
        else:
            super().__init__(f"The placement group '{name}' is in use in another availability zone: {zone}")


class InvalidPlacementGroupUnknown(NotFound):
    code = "InvalidPlacementGroup.Unknown"
    noun = "placement group"

    def __init__(self, *names: str) -> None:
        AwsError.__init__(self, f"The Placement Group '{', '.join(names)}' is unknown.")


class PlacementGroupLimitExceeded(AwsError):
    code = "PlacementGroupLimitExceeded"

    def __init__(self, limit: int) -> None:
        super().__init__(f"You have reached the limit of {limit} placement groups in a region.")
