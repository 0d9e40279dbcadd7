"""Error codes of the operations on instances, key pairs and what instances need, in alphabetical order of code.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from freehold.services.ec2.errors import Malformed, NotFound
from freehold.services.errors import AwsError


class HttpTokensEnforced(AwsError):
    """The account forbids IMDSv1 in the region."""

    code = "UnsupportedOperation"

    def __init__(self) -> None:
        super().__init__(
            "You can't launch or change instances so that they allow IMDSv1, because httpTokensEnforced is enabled for "
            "this account. Set httpTokens to required, or have httpTokensEnforced disabled by "
            "ModifyInstanceMetadataDefaults."
        )


class IdempotentInstanceTerminated(AwsError):
    """The client token made instances that are gone."""

    code = "IdempotentInstanceTerminated"

    def __init__(self, token: str) -> None:
        super().__init__(f"The instances launched with client token '{token}' are terminated; use another token.")


class IdempotentParameterMismatch(AwsError):
    """The client token was used with other parameters."""

    code = "IdempotentParameterMismatch"

    def __init__(self, token: str) -> None:
        super().__init__(
            f"Arguments on this idempotent request are inconsistent with arguments used in previous request(s) with "
            f"client token '{token}'."
        )


class IncorrectInstanceState(AwsError):
    """The instance is in a state from which this can not be done."""

    code = "IncorrectInstanceState"


class InsufficientInstanceCapacity(AwsError):
    """Fewer instances than the minimum asked for fit on the hosts of the zone."""

    code = "InsufficientInstanceCapacity"
    status = 500

    def __init__(self, instance_type: str, zone: str) -> None:
        super().__init__(
            f"We currently do not have sufficient {instance_type} capacity in the Availability Zone you requested "
            f"({zone})."
        )


class InstanceCreditSpecificationNotSupported(AwsError):
    """The instance's type has no CPU credits."""

    code = "InstanceCreditSpecification.NotSupported"


class InstanceEventStartTimeCannotChange(AwsError):
    """The event has no deadline, is about to begin, or has ended."""

    code = "InstanceEventStartTimeCannotChange"

    def __init__(self, event_id: str) -> None:
        super().__init__(
            f"The start time of the event '{event_id}' can not be changed: only an event with a deadline "
            "(NotBeforeDeadline) that is not to start in the next 5 minutes can be moved."
        )


class InstanceLimitExceeded(AwsError):
    code = "InstanceLimitExceeded"

    def __init__(self, asked: int, limit: int) -> None:
        super().__init__(
            f"You have requested more instances ({asked}) than your current instance limit of {limit} allows for one "
            "request."
        )


class InvalidAvailabilityZone(AwsError):
    code = "InvalidParameterValue"

    def __init__(self, zone: str, zones: tuple[str, ...]) -> None:
        super().__init__(f"Invalid availability zone: [{zone}]. The zones of this region: {', '.join(zones)}.")


class InvalidBlockDeviceMapping(AwsError):
    code = "InvalidBlockDeviceMapping"


class InvalidCpuCreditsMalformed(AwsError):
    code = "InvalidCpuCredits.Malformed"

    def __init__(self, value: str) -> None:
        super().__init__(f"The CPU credits '{value}' are invalid. Valid values: standard, unlimited.")


class InvalidInstanceAttributeValue(AwsError):
    """A value that the attribute of an instance can not have."""

    code = "InvalidInstanceAttributeValue"


class InvalidInstanceEventIDNotFound(AwsError):
    code = "InvalidInstanceEventIDNotFound"

    def __init__(self, event_id: str) -> None:
        super().__init__(f"The instance event ID '{event_id}' does not exist")


class InvalidInstanceEventStartTime(AwsError):
    code = "InvalidInstanceEventStartTime"

    def __init__(self, deadline: dt.datetime) -> None:
        super().__init__(
            f"The start time must be at least 60 minutes from now, and not after the event's deadline "
            f"{deadline:%Y-%m-%dT%H:%M:%SZ}."
        )


class InvalidInstanceEventWindowIdMalformed(Malformed):
    code = "InvalidInstanceEventWindowId.Malformed"


class InvalidInstanceEventWindowIdNotFound(NotFound):
    code = "InvalidInstanceEventWindowId.NotFound"
    noun = "instance event window ID"


class InvalidInstanceType(AwsError):
    code = "InvalidInstanceType"

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"The following supplied instance types do not exist: [{', '.join(names)}]")


class InvalidKeyFormat(AwsError):
    code = "InvalidKey.Format"

    def __init__(self) -> None:
        super().__init__(
            "Key is not in valid OpenSSH public key format: give an RSA key of 1024, 2048 or 4096 bits or an ED25519 "
            "key as OpenSSH, RFC 4716 or base64 encoded DER."
        )


class InvalidKeyPairDuplicate(AwsError):
    code = "InvalidKeyPair.Duplicate"

    def __init__(self, name: str) -> None:
        super().__init__(f"The keypair '{name}' already exists.")


class InvalidParameterDependency(AwsError):
    code = "InvalidParameterDependency"

    def __init__(self, parameter: str, other: str) -> None:
        super().__init__(f"The parameter {parameter} requires the parameter {other} to be set.")


class InvalidUserDataMalformed(AwsError):
    code = "InvalidUserData.Malformed"

    def __init__(self) -> None:
        super().__init__("Invalid BASE64 encoding of user data.")


class MaxIOPSLimitExceeded(AwsError):
    code = "MaxIOPSLimitExceeded"

    def __init__(self, volume_type: str, limit: int) -> None:
        super().__init__(
            f"You have exceeded your maximum number of IOPS of {volume_type} volumes ({limit}) in this region. Ask for "
            "more by RequestServiceQuotaIncrease."
        )


class OperationNotPermitted(AwsError):
    """The instance is protected from this by an attribute of its own."""

    code = "OperationNotPermitted"

    def __init__(self, instance_id: str, what: str, attribute: str) -> None:
        super().__init__(
            f"The instance '{instance_id}' may not be {what}. Modify its '{attribute}' instance attribute and try "
            "again."
        )


class Unsupported(AwsError):
    """No host that the launch may be on could ever hold the instance type. `zones`: those with one that could."""

    code = "Unsupported"

    def __init__(self, instance_type: str, zone: str = "", zones: Sequence[str] = ()) -> None:
        super().__init__(
            f"Your requested instance type ({instance_type}) is not supported in your requested Availability Zone "
            f"({zone}). Please retry your request by not specifying an Availability Zone or choosing "
            f"{', '.join(zones)}."
            if zones
            else f"The requested configuration is currently not supported: no host of this cloud can hold the instance "
            f"type {instance_type}. DescribeInstanceTypeOfferings lists those that are."
        )


class Unavailable(AwsError):
    """The host of an instance does not answer."""

    code = "Unavailable"
    status = 503

    def __init__(self, instance_id: str) -> None:
        super().__init__(f"The host of the instance '{instance_id}' does not answer at this time; try again later.")


class VcpuLimitExceeded(AwsError):
    code = "VcpuLimitExceeded"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"You have requested more vCPU capacity than your current vCPU limit of {limit} allows for the instance "
            "bucket that the specified instance type belongs to. Ask for more by RequestServiceQuotaIncrease."
        )


class UnsupportedHibernationConfiguration(AwsError):
    """The launch asks for hibernation and does not have what that needs, or the instance was not launched for it."""

    code = "UnsupportedHibernationConfiguration"


class VPCIdNotSpecified(AwsError):
    code = "VPCIdNotSpecified"

    def __init__(self) -> None:
        super().__init__("No default subnet for this request: name the subnet to launch in.")


class VolumeLimitExceeded(AwsError):
    code = "VolumeLimitExceeded"

    def __init__(self, volume_type: str, limit_tib: int) -> None:
        super().__init__(
            f"You have exceeded your maximum {volume_type} storage limit of {limit_tib} TiB in this region. Ask for "
            "more by RequestServiceQuotaIncrease."
        )


class VolumeInUse(AwsError):
    code = "VolumeInUse"

    def __init__(self, volume_id: str, *instance_ids: str) -> None:
        super().__init__(f"Volume {volume_id} is currently attached to {', '.join(instance_ids)}")
