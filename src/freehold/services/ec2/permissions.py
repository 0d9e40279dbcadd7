"""Permissions: what a security group rule lets through, checked, in one canonical form.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpPermission.html
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Any, NamedTuple

from freehold.records.ids import GroupId
from freehold.records.network import SecurityGroupRule
from freehold.services.ec2.errors import InvalidParameterValue, MissingParameter

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        IpPermissionOutputTypeDef,
        IpRangeTypeDef,
        Ipv6RangeTypeDef,
        UserIdGroupPairTypeDef,
    )

ALL = -1
"""All ports, all ICMP types or all ICMP codes."""


class Traffic(NamedTuple):
    """A protocol and its ports, in the form that records hold (see `SecurityGroupRule`)."""

    protocol: str
    from_port: int
    to_port: int


class Permission(NamedTuple):
    """Traffic and its other end, of which exactly one kind is set. Two rules are the same if their permissions are."""

    traffic: Traffic
    cidr_ipv4: str | None = None
    cidr_ipv6: str | None = None
    group_id: GroupId | None = None

    @classmethod
    def of(cls, rule: SecurityGroupRule) -> Permission:
        traffic = Traffic(rule.protocol, rule.from_port, rule.to_port)
        return cls(traffic, rule.cidr_ipv4, rule.cidr_ipv6, rule.referenced_group_id)

    @property
    def kind(self) -> str:
        """The kind of the other end, by the name of its parameter."""
        return "CidrIpv4" if self.cidr_ipv4 else "CidrIpv6" if self.cidr_ipv6 else "ReferencedGroupId"

    def fields(self) -> dict[str, Any]:
        """The fields of a `SecurityGroupRule` that hold the permission."""
        return {
            **self.traffic._asdict(),
            "cidr_ipv4": self.cidr_ipv4,
            "cidr_ipv6": self.cidr_ipv6,
            "referenced_group_id": self.group_id,
        }

    def __str__(self) -> str:
        """As in EC2's messages: ``peer: 10.0.0.0/8, TCP, from port: 22, to port: 22, ALLOW``."""
        protocol, from_port, to_port = self.traffic
        peer = self.cidr_ipv4 or self.cidr_ipv6 or self.group_id
        if protocol == "-1":
            return f"peer: {peer}, ALL, ALLOW"
        if protocol in ("icmp", "icmpv6"):
            return f"peer: {peer}, {protocol.upper()}, type: {from_port}, code: {to_port}, ALLOW"
        return f"peer: {peer}, {protocol.upper()}, from port: {from_port}, to port: {to_port}, ALLOW"


_NAMES = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6"}
_NUMBER = re.compile(r"0|[1-9][0-9]{0,2}")


def traffic(protocol: str | None, from_port: int | None, to_port: int | None) -> Traffic:
    """Traffic of a request. Raises MissingParameter or InvalidParameterValue.

    Ports count only with TCP and UDP (a range) and ICMP (type and code); with all else they are accepted and mean all.
    """
    if not protocol:
        raise MissingParameter("IpProtocol")
    name = _NAMES.get(protocol, protocol.lower())
    if name in ("tcp", "udp"):
        if from_port is None or to_port is None:
            raise InvalidParameterValue("Must specify both from and to ports with TCP/UDP.")
        for port in (from_port, to_port):
            if not 0 <= port <= 65535:
                raise InvalidParameterValue(f"TCP/UDP port ({port}) out of range")
        if from_port > to_port:
            raise InvalidParameterValue(f"Invalid TCP/UDP port range ({from_port}:{to_port})")
        return Traffic(name, from_port, to_port)
    if name in ("icmp", "icmpv6"):
        if name == "icmpv6" and from_port is None and to_port is None:
            return Traffic(name, ALL, ALL)
        if from_port is None or to_port is None:
            raise InvalidParameterValue("Must specify both type and code with ICMP.")
        for what, number in (("type", from_port), ("code", to_port)):
            if not ALL <= number <= 255:
                raise InvalidParameterValue(f"ICMP {what} ({number}) out of range")
        if from_port == ALL and to_port != ALL:
            raise InvalidParameterValue(f"ICMP code ({to_port}) must be -1, as the type is -1 (all)")
        return Traffic(name, from_port, to_port)
    if name == "-1" or (_NUMBER.fullmatch(name) and int(name) <= 255):
        return Traffic(name, ALL, ALL)
    raise InvalidParameterValue(f"Invalid value '{protocol}' for IP protocol. Unknown protocol.")


_IPV4 = re.compile(r"[0-9.]{7,15}/(?:[0-9]|[12][0-9]|3[0-2])")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]{2,45}/(?:[0-9]|[1-9][0-9]|1[01][0-9]|12[0-8])")


def cidr_ipv4(text: str) -> str:
    """The range in canonical form: ``100.68.0.18/18`` is ``100.68.0.0/18``. Raises InvalidParameterValue."""
    return _canonical(text, _IPV4, IPv4Network)


def cidr_ipv6(text: str) -> str:
    """The range in canonical form: ``2001:DB8:0::1/32`` is ``2001:db8::/32``. Raises InvalidParameterValue."""
    return _canonical(text, _IPV6, IPv6Network)


def _canonical(text: str, form: re.Pattern[str], network: type[IPv4Network] | type[IPv6Network]) -> str:
    # The form first: Python's networks also take a netmask, a scope, or no prefix at all.
    if form.fullmatch(text):
        with contextlib.suppress(ValueError):
            return str(network(text, strict=False))
    raise InvalidParameterValue(f"CIDR block {text} is malformed")


ALLOWED_TEXT = re.compile(r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{0,255}")
"""What names and descriptions of groups, and descriptions of rules, may be."""


def description(text: str | None) -> str | None:
    """The description of a rule; an empty one is none. Raises InvalidParameterValue."""
    if text and not ALLOWED_TEXT.fullmatch(text):
        raise InvalidParameterValue(
            "Invalid rule description. Valid descriptions are strings less than 256 characters from the following "
            "set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*"
        )
    return text or None


def ip_permissions(held: Iterable[tuple[Permission, str | None]], account_id: str) -> list[IpPermissionOutputTypeDef]:
    """Permissions with their descriptions as EC2 groups them: one IpPermission for each kind of traffic."""
    grouped: dict[Traffic, IpPermissionOutputTypeDef] = {}
    for permission, text in held:
        protocol, from_port, to_port = permission.traffic
        group = grouped.setdefault(
            permission.traffic,
            {"IpProtocol": protocol, "IpRanges": [], "Ipv6Ranges": [], "PrefixListIds": [], "UserIdGroupPairs": []},
        )
        if protocol in _NAMES.values():
            group |= {"FromPort": from_port, "ToPort": to_port}
        if permission.cidr_ipv4 is not None:
            ipv4: IpRangeTypeDef = {"CidrIp": permission.cidr_ipv4}
            group["IpRanges"].append(ipv4 | {"Description": text} if text else ipv4)
        elif permission.cidr_ipv6 is not None:
            ipv6: Ipv6RangeTypeDef = {"CidrIpv6": permission.cidr_ipv6}
            group["Ipv6Ranges"].append(ipv6 | {"Description": text} if text else ipv6)
        elif permission.group_id is not None:
            pair: UserIdGroupPairTypeDef = {"GroupId": permission.group_id, "UserId": account_id}
            group["UserIdGroupPairs"].append(pair | {"Description": text} if text else pair)
    return list(grouped.values())
