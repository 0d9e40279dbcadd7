"""The primary network interface that a launch asks for: where it may be and what it is to be like.

RunInstances takes it in two forms, its own parameters (SubnetId, SecurityGroupIds …) or NetworkInterfaces[0], which
may not be mixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

from freehold.records.network import SecurityGroup, Subnet, security_groups, subnets
from freehold.services.ec2.compute_errors import InvalidAvailabilityZone, VPCIdNotSpecified
from freehold.services.ec2.errors import (
    InvalidGroupNotFound,
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
)
from freehold.services.ec2.resources import SECURITY_GROUP, SUBNET
from freehold.services.ec2.zones import zone_id
from freehold.services.errors import UnsupportedOperation
from freehold.services.operation import Call

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import RunInstancesRequestTypeDef


@dataclass(frozen=True, slots=True)
class PrimaryInterface:
    """What the interface is to be like. `public` None = as its subnet says."""

    subnet_id: str | None
    zone: str | None
    group_ids: tuple[str, ...]
    group_names: tuple[str, ...]
    private_ip: str | None
    public: bool | None
    description: str


def asked_for(call: Call, request: RunInstancesRequestTypeDef) -> PrimaryInterface:
    """The interface that the request asks for.

    Raises InvalidParameterCombination, InvalidParameterValue, MissingParameter or UnsupportedOperation.
    """
    placed = named_zone(call, request.get("Placement") or {})
    specifications = request.get("NetworkInterfaces") or ()
    if not specifications:
        names = tuple(request.get("SecurityGroups") or ())
        if names and request.get("SubnetId"):
            raise InvalidParameterCombination("The parameter groupName cannot be used with the parameter subnet")
        return PrimaryInterface(
            subnet_id=request.get("SubnetId") or None,
            zone=placed,
            group_ids=tuple(request.get("SecurityGroupIds") or ()),
            group_names=names,
            private_ip=_address(request.get("PrivateIpAddress"), request),
            public=None,
            description="",
        )
    for member, what in (
        ("SubnetId", "subnet ID"),
        ("SecurityGroupIds", "security groups"),
        ("SecurityGroups", "security groups"),
        ("PrivateIpAddress", "private IP address"),
    ):
        if request.get(member):
            raise InvalidParameterCombination(
                f"Network interfaces and an instance-level {what} may not be specified on the same request"
            )
    if len(specifications) > 1:
        raise UnsupportedOperation("More than one network interface of an instance")
    given = specifications[0]
    if "DeviceIndex" not in given:
        raise MissingParameter("NetworkInterfaces.DeviceIndex")
    if given["DeviceIndex"] != 0:
        raise InvalidParameterCombination("The primary network interface must have the device index 0.")
    return PrimaryInterface(
        subnet_id=given.get("SubnetId") or None,
        zone=placed,
        group_ids=tuple(given.get("Groups") or ()),
        group_names=(),
        private_ip=_address(given.get("PrivateIpAddress"), request),
        public=given.get("AssociatePublicIpAddress"),
        description=given.get("Description", ""),
    )


def possible_subnets(call: Call, wanted: PrimaryInterface) -> list[Subnet]:
    """The subnets that the interface may be in: the one that is named, or the default ones; never none.

    Raises the codes of a wrong subnet id, InvalidParameterValue for a subnet of another zone, VPCIdNotSpecified where
    there is no default subnet.
    """
    if wanted.subnet_id is not None:
        subnet = SUBNET.load(call, wanted.subnet_id)
        if wanted.zone not in (None, subnet.zone):
            raise InvalidParameterValue(
                f"The availability zone '{wanted.zone}' is not that of the subnet '{subnet.id}' ({subnet.zone})."
            )
        return [subnet]
    where = [subnets.c.default_for_az, *([subnets.c.zone == wanted.zone] if wanted.zone else [])]
    found = call.tx.select(Subnet, *SUBNET.visible(call), *where, order_by=(subnets.c.zone, subnets.c.id))
    if not found:
        raise VPCIdNotSpecified
    if wanted.private_ip is not None:
        containing = [subnet for subnet in found if IPv4Address(wanted.private_ip) in IPv4Network(subnet.cidr)]
        return containing or found
    return found


def group_ids(call: Call, wanted: PrimaryInterface, vpc_id: str) -> list[str]:
    """The ids of the security groups, those given by name looked up in the VPC. Raises InvalidGroup.NotFound."""
    ids = list(wanted.group_ids)
    if wanted.group_names:
        named = {
            group.name: group.id
            for group in call.tx.select(
                SecurityGroup,
                *SECURITY_GROUP.visible(call),
                security_groups.c.vpc_id == vpc_id,
                security_groups.c.name.in_([name for name in wanted.group_names if "\0" not in name]),
            )
        }
        if missing := [name for name in wanted.group_names if name not in named]:
            raise InvalidGroupNotFound(*missing)
        ids += [named[name] for name in wanted.group_names]
    return list(dict.fromkeys(ids))


def named_zone(call: Call, placement: Mapping[str, Any]) -> str | None:
    """The name of the availability zone that AvailabilityZone or AvailabilityZoneId asks for.

    Raises InvalidParameterValue for one that is not there, InvalidParameterCombination for two that differ.
    """
    zones = call.config.zone_names(call.region)
    by_id = {zone_id(call.region, zone): zone for zone in zones}
    asked = {
        zone
        for zone in (
            placement.get("AvailabilityZone"),
            by_id.get(placement.get("AvailabilityZoneId", ""), placement.get("AvailabilityZoneId")),
        )
        if zone
    }
    for zone in asked:
        if zone not in zones:
            raise InvalidAvailabilityZone(zone, zones)
    if len(asked) > 1:
        raise InvalidParameterCombination("AvailabilityZone and AvailabilityZoneId name different zones.")
    return asked.pop() if asked else None


def _address(text: str | None, request: RunInstancesRequestTypeDef) -> str | None:
    if not text:
        return None
    if request["MaxCount"] > 1:
        raise InvalidParameterCombination("A private IP address may be given for one instance only, not for several.")
    try:
        return str(IPv4Address(text))
    except AddressValueError as error:
        raise InvalidParameterValue(f"Invalid IPv4 address: '{text}'") from error
