"""EC2's error codes, one class each, in alphabetical order of code within their group.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html. Messages are in AWS's own words where
clients are known to show or match them.
"""

from __future__ import annotations

from typing import ClassVar

from freehold.services.errors import AwsError

# Parameters


class FilterLimitExceeded(AwsError):
    code = "FilterLimitExceeded"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The maximum number of filter values specified on a single call is {limit}")


class InvalidNextToken(AwsError):
    code = "InvalidNextToken"

    def __init__(self) -> None:
        super().__init__("The NextToken is not one that this operation returned for the same filters.")


class InvalidParameterCombination(AwsError):
    """Parameters that may not be given together, or not without each other."""

    code = "InvalidParameterCombination"


class InvalidParameterValue(AwsError):
    """A value that the model accepts and EC2 does not; the message names the parameter and what would be right."""

    code = "InvalidParameterValue"


class MissingParameter(AwsError):
    code = "MissingParameter"

    def __init__(self, parameter: str) -> None:
        super().__init__(f"The request must contain the parameter {parameter}")


class TagLimitExceeded(AwsError):
    code = "TagLimitExceeded"

    def __init__(self, limit: int) -> None:
        super().__init__(f"More than {limit} tags specified for a resource.")


class InvalidParameter(AwsError):
    """A parameter that does not fit another one, in EC2's older code for it."""

    code = "InvalidParameter"


# Limits and states


class AddressLimitExceeded(AwsError):
    code = "AddressLimitExceeded"

    def __init__(self) -> None:
        super().__init__("The maximum number of addresses has been reached.")


class CannotDelete(AwsError):
    code = "CannotDelete"

    def __init__(self, group_id: str) -> None:
        super().__init__(f'the specified group: "{group_id}" name: "default" cannot be deleted by a user')


class DependencyViolation(AwsError):
    """Something else still uses the resource."""

    code = "DependencyViolation"

    def __init__(self, resource_id: str) -> None:
        super().__init__(f"resource {resource_id} has a dependent object")


class DifferentNetworks(AwsError):
    """A security group of another VPC; EC2 has no code of its own for it."""

    code = "InvalidGroup.NotFound"

    def __init__(self) -> None:
        super().__init__("You have specified two resources that belong to different networks.")


class GatewayNotAttached(AwsError):
    code = "Gateway.NotAttached"

    def __init__(self, vpc_id: str) -> None:
        super().__init__(f"Network {vpc_id} is not attached to any internet gateway")


class InsufficientAddressCapacity(AwsError):
    code = "InsufficientAddressCapacity"

    def __init__(self) -> None:
        super().__init__("All public addresses of this cloud are in use.")


class InsufficientFreeAddressesInSubnet(AwsError):
    code = "InsufficientFreeAddressesInSubnet"

    def __init__(self, subnet_id: str) -> None:
        super().__init__(f"There are not enough free addresses in subnet '{subnet_id}' to satisfy the request.")


class IncorrectState(AwsError):
    """What is named has something already, or is about to lose it."""

    code = "IncorrectState"


class InvalidInstanceID(AwsError):
    """The instance exists and is in no state for this."""

    code = "InvalidInstanceID"

    def __init__(self, instance_id: str, state: str) -> None:
        super().__init__(f"The {state} instance '{instance_id}' is not in a valid state for this operation.")


class InvalidIPAddressInUse(AwsError):
    code = "InvalidIPAddress.InUse"

    def __init__(self, address: str) -> None:
        super().__init__(f"Address {address} is in use.")


class InvalidGroupDuplicate(AwsError):
    code = "InvalidGroup.Duplicate"

    def __init__(self, name: str, vpc_id: str) -> None:
        super().__init__(f"The security group '{name}' already exists for VPC '{vpc_id}'")


class InvalidPermissionDuplicate(AwsError):
    code = "InvalidPermission.Duplicate"

    def __init__(self, permission: str) -> None:
        super().__init__(f'the specified rule "{permission}" already exists')


class InvalidPermissionNotFound(AwsError):
    code = "InvalidPermission.NotFound"

    def __init__(self) -> None:
        super().__init__("The specified rule does not exist in this security group.")


class ResourceAlreadyAssociated(AwsError):
    code = "Resource.AlreadyAssociated"

    def __init__(self, resource_id: str, association_id: str) -> None:
        super().__init__(f"resource {resource_id} is already associated with associate-id {association_id}")


class RulesPerSecurityGroupLimitExceeded(AwsError):
    code = "RulesPerSecurityGroupLimitExceeded"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The maximum number of rules per security group ({limit}) has been reached.")


class SecurityGroupLimitExceeded(AwsError):
    code = "SecurityGroupLimitExceeded"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The maximum number of security groups ({limit}) has been reached.")


class SecurityGroupsPerInterfaceLimitExceeded(AwsError):
    code = "SecurityGroupsPerInterfaceLimitExceeded"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The maximum number of security groups per interface ({limit}) has been reached.")


class UnauthorizedOperation(AwsError):
    """What the front door answers, of what only the operation itself can say whether it is needed."""

    code = "UnauthorizedOperation"
    status = 403

    def __init__(self, explanation: str) -> None:
        super().__init__(f"You are not authorized to perform this operation. {explanation}")


class VPCIdNotSpecified(AwsError):
    code = "VPCIdNotSpecified"

    def __init__(self) -> None:
        super().__init__("No default VPC for this user")


# Ids


class NotFound(AwsError):
    """An id that names nothing of this account in this region."""

    noun: ClassVar[str]

    def __init__(self, *ids: str) -> None:
        named = ", ".join(ids)
        super().__init__(f"The {self.noun}{'s' if len(ids) > 1 else ''} '{named}' do{'es' * (len(ids) == 1)} not exist")


class Malformed(AwsError):
    """An id that can not be one of its kind."""

    def __init__(self, prefix: str, text: str) -> None:
        super().__init__(f'Invalid id: "{text}" (expecting "{prefix}-...")')


class InvalidAddressNotFound(NotFound):
    code = "InvalidAddress.NotFound"
    noun = "address"


class InvalidAllocationIDNotFound(NotFound):
    code = "InvalidAllocationID.NotFound"
    noun = "allocation ID"


class InvalidAssociationIDNotFound(NotFound):
    code = "InvalidAssociationID.NotFound"
    noun = "association ID"


class InvalidAttachmentIDNotFound(NotFound):
    code = "InvalidAttachmentID.NotFound"
    noun = "attachment ID"


class InvalidGroupIdMalformed(Malformed):
    code = "InvalidGroupId.Malformed"


class InvalidGroupNotFound(NotFound):
    code = "InvalidGroup.NotFound"
    noun = "security group"


class InvalidID(AwsError):
    """An id of no known kind, where an operation takes ids of all kinds."""

    code = "InvalidID"

    def __init__(self, text: str) -> None:
        super().__init__(f"The ID '{text}' is not valid")


class InvalidInstanceIDMalformed(Malformed):
    code = "InvalidInstanceID.Malformed"


class InvalidInstanceIDNotFound(NotFound):
    code = "InvalidInstanceID.NotFound"
    noun = "instance ID"


class InvalidInternetGatewayIdMalformed(Malformed):
    code = "InvalidInternetGatewayId.Malformed"


class InvalidInternetGatewayIDNotFound(NotFound):
    code = "InvalidInternetGatewayID.NotFound"
    noun = "internetGateway ID"


class InvalidKeyPairNotFound(NotFound):
    code = "InvalidKeyPair.NotFound"
    noun = "key pair"


class InvalidNetworkInterfaceIdMalformed(Malformed):
    code = "InvalidNetworkInterfaceId.Malformed"


class InvalidNetworkInterfaceIDNotFound(NotFound):
    code = "InvalidNetworkInterfaceID.NotFound"
    noun = "networkInterface ID"


class InvalidRouteTableIdMalformed(Malformed):
    code = "InvalidRouteTableId.Malformed"


class InvalidRouteTableIDNotFound(NotFound):
    code = "InvalidRouteTableID.NotFound"
    noun = "routeTable ID"


class InvalidSecurityGroupRuleIdMalformed(Malformed):
    code = "InvalidSecurityGroupRuleId.Malformed"


class InvalidSecurityGroupRuleIdNotFound(NotFound):
    code = "InvalidSecurityGroupRuleId.NotFound"
    noun = "security group rule ID"


class InvalidSubnetIDMalformed(Malformed):
    code = "InvalidSubnetID.Malformed"


class InvalidSubnetIDNotFound(NotFound):
    code = "InvalidSubnetID.NotFound"
    noun = "subnet ID"


class InvalidVolumeIDMalformed(Malformed):
    code = "InvalidVolumeID.Malformed"


class InvalidVolumeNotFound(NotFound):
    code = "InvalidVolume.NotFound"
    noun = "volume"


class InvalidVpcIDMalformed(Malformed):
    code = "InvalidVpcID.Malformed"


class InvalidVpcIDNotFound(NotFound):
    code = "InvalidVpcID.NotFound"
    noun = "vpc ID"
