"""Error codes of the operations on volumes, in alphabetical order of code.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

from freehold.services.errors import AwsError


class AttachmentLimitExceeded(AwsError):
    code = "AttachmentLimitExceeded"

    def __init__(self, instance_id: str, limit: int) -> None:
        super().__init__(
            f"The instance '{instance_id}' has {limit} volumes and network interfaces: the most that it can have."
        )


class MultiAttachmentLimitExceeded(AwsError):
    code = "AttachmentLimitExceeded"

    def __init__(self, volume_id: str, limit: int) -> None:
        super().__init__(f"The volume '{volume_id}' is attached to {limit} instances: the most that it can be.")


class IncorrectModificationState(AwsError):
    code = "IncorrectModificationState"

    def __init__(self, volume_id: str, state: str) -> None:
        super().__init__(f"The volume '{volume_id}' has a modification in the '{state}' state: wait until it is over.")


class InsufficientVolumeCapacity(AwsError):
    """No host keeps volumes of the zone."""

    code = "InsufficientVolumeCapacity"
    status = 500

    def __init__(self, zone: str) -> None:
        super().__init__(
            f"There is not enough capacity to fulfill your EBS volume provision request in the zone {zone}."
        )


class InvalidAttachmentNotFound(AwsError):
    code = "InvalidAttachment.NotFound"

    def __init__(self, volume_id: str, instance_id: str) -> None:
        super().__init__(f"The volume '{volume_id}' is not attached to instance '{instance_id}'.")


class InvalidVolumeModificationNotFound(AwsError):
    code = "InvalidVolumeModification.NotFound"

    def __init__(self, volume_id: str) -> None:
        super().__init__(f"Modification for volume '{volume_id}' does not exist.")


class InvalidVolumeZoneMismatch(AwsError):
    code = "InvalidVolume.ZoneMismatch"

    def __init__(self, volume_id: str, instance_id: str) -> None:
        super().__init__(f"The volume '{volume_id}' is not in the same availability zone as instance '{instance_id}'")


class InvalidZoneNotFound(AwsError):
    code = "InvalidZone.NotFound"

    def __init__(self, zone: str) -> None:
        super().__init__(f"The zone '{zone}' does not exist.")


class MultiAttachUnsupported(AwsError):
    """What a volume with Multi-Attach can not do, or one that is to have it."""

    code = "UnsupportedOperation"


class OnAnotherHost(AwsError):
    """AWS has no such case: its volumes are on the network, those of this cloud on the disks of one of its hosts."""

    code = "UnsupportedOperation"

    def __init__(self, volume_id: str, instance_id: str) -> None:
        super().__init__(
            f"The volume '{volume_id}' is on the disks of another host than the instance '{instance_id}': it can be "
            "attached to instances of its own host only."
        )


class RootVolumeInUse(AwsError):
    """The root volume of an instance that is not stopped."""

    code = "OperationNotPermitted"

    def __init__(self, volume_id: str, instance_id: str) -> None:
        super().__init__(f"Unable to detach root volume '{volume_id}' from instance '{instance_id}'")


class UnknownVolumeType(AwsError):
    code = "UnknownVolumeType"

    def __init__(self, volume_type: str) -> None:
        super().__init__(f"Unsupported volume type '{volume_type}' for volume creation.")


class VolumeAlreadyAttached(AwsError):
    code = "VolumeInUse"

    def __init__(self, volume_id: str) -> None:
        super().__init__(f"{volume_id} is already attached to an instance")


class VolumeModificationRateExceeded(AwsError):
    code = "VolumeModificationRateExceeded"

    def __init__(self) -> None:
        super().__init__(
            "You've reached the maximum modification rate per volume limit. Wait at least 6 hours between "
            "modifications per EBS volume."
        )
