"""The permissions that a request names: IpPermissions, or the older parameters for one rule or one source group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from freehold.records.ids import GroupId
from freehold.records.network import SecurityGroup
from freehold.services.ec2.errors import (
    DifferentNetworks,
    InvalidGroupNotFound,
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
)
from freehold.services.ec2.permissions import Permission, cidr_ipv4, cidr_ipv6, description, traffic
from freehold.services.ec2.security_groups import find_group
from freehold.services.operation import Call

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        IpPermissionUnionTypeDef,
        SecurityGroupRuleRequestTypeDef,
        UserIdGroupPairTypeDef,
    )

IP_PERMISSIONS = frozenset(
    {
        "IpPermissions.FromPort",
        "IpPermissions.IpProtocol",
        "IpPermissions.IpRanges",
        "IpPermissions.Ipv6Ranges",
        "IpPermissions.ToPort",
        "IpPermissions.UserIdGroupPairs.Description",
        "IpPermissions.UserIdGroupPairs.GroupId",
        "IpPermissions.UserIdGroupPairs.GroupName",
        "IpPermissions.UserIdGroupPairs.UserId",
        "IpPermissions.UserIdGroupPairs.VpcId",
    }
)
"""What of IpPermissions is honoured: neither prefix lists nor peered VPCs are built."""

_ONE_RULE = frozenset({"CidrIp", "FromPort", "IpProtocol", "ToPort"})
_SOURCE_GROUP = frozenset({"SourceSecurityGroupName", "SourceSecurityGroupOwnerId"})

OLDER_PARAMETERS = _ONE_RULE | _SOURCE_GROUP
"""For ingress rules of a default VPC only; in egress operations EC2 does not support them either."""

MAX_PERMISSIONS = 1000
"""In one request. More than any group can have."""


def requested(call: Call, group: SecurityGroup, request: Mapping[str, Any]) -> dict[Permission, str | None]:
    """The permissions that the request names for rules of `group`, with the descriptions that it gives.

    Raises MissingParameter, InvalidParameterCombination, InvalidParameterValue for what can not be or is there twice,
    InvalidGroupId.Malformed or InvalidGroup.NotFound for a group that can not be referred to.
    """
    found: dict[Permission, str | None] = {}
    for permission, text in _parsed(call, group, _as_ip_permissions(request)):
        if permission in found:
            raise InvalidParameterValue("The same permission must not appear multiple times")
        if len(found) == MAX_PERMISSIONS:
            raise InvalidParameterValue(f"At most {MAX_PERMISSIONS} permissions may be given in a request.")
        found[permission] = description(text)
    return found


def parameters_given(request: Mapping[str, Any]) -> set[str]:
    """Which parameters that name permissions the request has; empty ones are none."""
    return {name for name in ("IpPermissions", *OLDER_PARAMETERS) if request.get(name) not in ("", [], None)}


def permission_of(call: Call, group: SecurityGroup, rule: SecurityGroupRuleRequestTypeDef) -> Permission:
    """The permission of one whole rule of `group`. Raises as `requested` does."""
    what = traffic(rule.get("IpProtocol"), rule.get("FromPort"), rule.get("ToPort"))
    ipv4, ipv6, group_id = rule.get("CidrIpv4"), rule.get("CidrIpv6"), rule.get("ReferencedGroupId")
    if sum(map(bool, (ipv4, ipv6, group_id))) != 1:
        raise InvalidParameterCombination("Exactly one of CidrIpv4, CidrIpv6 and ReferencedGroupId must be given")
    if ipv4:
        return Permission(what, cidr_ipv4=cidr_ipv4(ipv4))
    if ipv6:
        return Permission(what, cidr_ipv6=cidr_ipv6(ipv6))
    return Permission(what, group_id=_peer(call, group, {"GroupId": group_id or ""}))


def _as_ip_permissions(request: Mapping[str, Any]) -> Sequence[IpPermissionUnionTypeDef]:
    given = parameters_given(request)
    ways = [way for way in (frozenset({"IpPermissions"}), _ONE_RULE, _SOURCE_GROUP) if way & given]
    if not ways:
        raise MissingParameter("IpPermissions")
    if len(ways) > 1:
        raise InvalidParameterCombination(f"The parameters {', '.join(sorted(given))} may not be used together")
    if ways[0] == _ONE_RULE:
        rule: IpPermissionUnionTypeDef = {
            "IpProtocol": request.get("IpProtocol", ""),
            "IpRanges": [{"CidrIp": request.get("CidrIp", "")}],
        }
        return [rule | {name: request[name] for name in ("FromPort", "ToPort") if name in request}]  # type: ignore[list-item]
    if ways[0] == _SOURCE_GROUP:
        if not request.get("SourceSecurityGroupName"):
            raise MissingParameter("SourceSecurityGroupName")
        pair: UserIdGroupPairTypeDef = {
            "GroupName": request["SourceSecurityGroupName"],
            "UserId": request.get("SourceSecurityGroupOwnerId", ""),
        }
        # "The rule grants full ICMP, UDP, and TCP access."
        return [
            {"IpProtocol": protocol, "FromPort": from_port, "ToPort": to_port, "UserIdGroupPairs": [pair]}
            for protocol, from_port, to_port in (("icmp", -1, -1), ("tcp", 0, 65535), ("udp", 0, 65535))
        ]
    permissions: Sequence[IpPermissionUnionTypeDef] = request["IpPermissions"]
    return permissions


def _parsed(
    call: Call, group: SecurityGroup, given: Sequence[IpPermissionUnionTypeDef]
) -> Iterator[tuple[Permission, str | None]]:
    for one in given:
        what = traffic(one.get("IpProtocol"), one.get("FromPort"), one.get("ToPort"))
        ipv4, ipv6, pairs = one.get("IpRanges", ()), one.get("Ipv6Ranges", ()), one.get("UserIdGroupPairs", ())
        if not ipv4 and not ipv6 and not pairs:
            raise MissingParameter("IpRanges, Ipv6Ranges or UserIdGroupPairs")
        for range_ in ipv4:
            yield Permission(what, cidr_ipv4=cidr_ipv4(_required(range_, "CidrIp"))), range_.get("Description")
        for range6 in ipv6:
            yield Permission(what, cidr_ipv6=cidr_ipv6(_required(range6, "CidrIpv6"))), range6.get("Description")
        for pair in pairs:
            yield Permission(what, group_id=_peer(call, group, pair)), pair.get("Description")


def _required(structure: Mapping[str, Any], member: str) -> str:
    if not structure.get(member):
        raise MissingParameter(member)
    return str(structure[member])


def _peer(call: Call, group: SecurityGroup, pair: UserIdGroupPairTypeDef) -> GroupId:
    if pair.get("UserId") and pair["UserId"] != call.account_id:
        # Only peering would make groups of another account visible.
        raise InvalidGroupNotFound(pair.get("GroupId") or pair.get("GroupName", ""))
    peer = find_group(call, pair.get("GroupId"), pair.get("GroupName"))
    if not peer.vpc_id == group.vpc_id == (pair.get("VpcId") or group.vpc_id):
        raise DifferentNetworks
    return peer.id
