"""Security groups: CreateSecurityGroup, DeleteSecurityGroup, DescribeSecurityGroups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.quotas import SECURITY_GROUPS
from freehold.records.feed import publish, take_turn
from freehold.records.ids import GroupId, new_id
from freehold.records.network import (
    InterfaceGroup,
    SecurityGroup,
    SecurityGroupRule,
    Vpc,
    interface_groups,
    security_group_rules,
    security_groups,
    vpcs,
)
from freehold.records.tags import Tag, delete_tags_of, put_tags, tags, tags_of
from freehold.services.ec2.default_vpc import egress_to_all
from freehold.services.ec2.errors import (
    CannotDelete,
    DependencyViolation,
    InvalidGroupDuplicate,
    InvalidGroupNotFound,
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
    SecurityGroupLimitExceeded,
    VPCIdNotSpecified,
)
from freehold.services.ec2.filters import Condition, absent, any_row, number, text
from freehold.services.ec2.paging import described, not_with_ids
from freehold.services.ec2.permissions import ALLOWED_TEXT, Permission, ip_permissions
from freehold.services.ec2.resources import MAX_IDS, SECURITY_GROUP, VPC, made
from freehold.services.ec2.tags import specified, tag_list
from freehold.services.operation import Call, Needed, Response, operation
from freehold.services.quotas import limit_and_count

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        CreateSecurityGroupRequestTypeDef,
        DeleteSecurityGroupRequestTypeDef,
        DescribeSecurityGroupsRequestTypeDef,
        SecurityGroupTypeDef,
    )

_G = security_groups.c
_R = security_group_rules.c


def group_named(call: Call, request: Mapping[str, Any]) -> list[Needed]:
    """For `operation(resources=…)`: the group of the members GroupId or GroupName."""
    group_id, name = request.get("GroupId"), request.get("GroupName")
    if not group_id and name:
        try:
            group_id = _named(call, [name])[0].id
        except InvalidGroupNotFound:
            group_id = None
    return [SECURITY_GROUP.needed(call, group_id or "*")]


def find_group(call: Call, group_id: str | None, name: str | None) -> SecurityGroup:
    """The group that a request names by its id, or by its name in the default VPC.

    Raises MissingParameter, InvalidParameterCombination, InvalidGroupId.Malformed or InvalidGroup.NotFound.
    """
    if group_id and name:
        raise InvalidParameterCombination("The parameter groupName cannot be used with the parameter groupId")
    if group_id:
        return SECURITY_GROUP.load(call, group_id)
    if not name:
        raise MissingParameter("groupId or groupName")
    return _named(call, [name])[0]


def _named(call: Call, names: Sequence[str]) -> list[SecurityGroup]:
    """The groups of the default VPC with these names."""
    if len(names) > MAX_IDS:
        raise InvalidParameterValue(f"At most {MAX_IDS} names may be given in a request.")
    default = sa.select(vpcs.c.id).where(*VPC.visible(call), vpcs.c.is_default).scalar_subquery()
    usable = [name for name in names if "\0" not in name]
    found = call.tx.select(SecurityGroup, *SECURITY_GROUP.visible(call), _G.vpc_id == default, _G.name.in_(usable))
    if missing := [name for name in names if name not in {group.name for group in found}]:
        raise InvalidGroupNotFound(*missing)
    return found


def _created(call: Call, request: CreateSecurityGroupRequestTypeDef) -> Iterator[Needed]:
    """The group and its VPC, the default one if none is named."""
    yield from made(call, request, SECURITY_GROUP)
    vpc_id = request.get("VpcId")
    if not vpc_id:
        default = call.tx.find(Vpc, **VPC.owner(call), is_default=True)
        vpc_id = default.id if default is not None else "*"
    yield VPC.needed(call, vpc_id)


@operation(resources=_created)
def create_security_group(call: Call, request: CreateSecurityGroupRequestTypeDef) -> Response:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSecurityGroup.html"""
    name = _checked("GroupName", request["GroupName"]).rstrip(" ")
    if name.lower().startswith("sg-"):
        raise InvalidParameterValue(
            f"Value ({name}) for parameter GroupName is invalid. Group names may not be in the format sg-*."
        )
    if name == "default":
        raise InvalidParameterValue("Cannot use reserved security group name: default")
    description = _checked("GroupDescription", request["Description"])
    given = specified(request.get("TagSpecifications"), SECURITY_GROUP.resource_type)[SECURITY_GROUP.resource_type]
    take_turn(call.tx)
    vpc = _vpc(call, request.get("VpcId"))
    most, held = limit_and_count(call, SECURITY_GROUPS, SecurityGroup, **SECURITY_GROUP.owner(call))
    if held >= most:
        raise SecurityGroupLimitExceeded(most)
    group = SecurityGroup(
        id=GroupId(new_id(SECURITY_GROUP.prefix)),
        account_id=call.account_id,
        region=call.region,
        vpc_id=vpc.id,
        name=name,
        description=description,
        created_at=call.now,
    )
    try:
        call.tx.insert(group, egress_to_all(call.tx, group))
    except sa.exc.IntegrityError:
        raise InvalidGroupDuplicate(name, vpc.id) from None
    put_tags(call.tx, call.account_id, call.region, SECURITY_GROUP.resource_type, group.id, given)
    publish(call.tx, "vpc", vpc.id)
    return {
        "GroupId": group.id,
        "SecurityGroupArn": SECURITY_GROUP.arn(call, group.id),
        "Tags": [{"Key": key, "Value": value} for key, value in sorted(given.items())],
    }


def _checked(parameter: str, value: str) -> str:
    if not value.strip():
        raise MissingParameter(parameter)
    if not ALLOWED_TEXT.fullmatch(value):
        raise InvalidParameterValue(
            f"Value for parameter {parameter} is invalid. It may have up to 255 characters from the following set: "
            "a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*"
        )
    return value


def _vpc(call: Call, vpc_id: str | None) -> Vpc:
    if vpc_id:
        return VPC.load(call, vpc_id)
    default = call.tx.find(Vpc, **VPC.owner(call), is_default=True)
    if default is None:
        raise VPCIdNotSpecified
    return default


@operation(resources=group_named)
def delete_security_group(call: Call, request: DeleteSecurityGroupRequestTypeDef) -> Response:
    """With its rules and their tags. Raises CannotDelete for a default group, DependencyViolation for one that an
    interface is in or that a rule of another group refers to."""
    take_turn(call.tx)
    group = find_group(call, request.get("GroupId"), request.get("GroupName"))
    if group.name == "default":
        raise CannotDelete(group.id)
    in_use = call.tx.find(InterfaceGroup, interface_groups.c.group_id == group.id)
    if in_use or call.tx.find(SecurityGroupRule, _R.referenced_group_id == group.id, _R.group_id != group.id):
        raise DependencyViolation(group.id)
    rule_ids = sa.select(_R.id).where(_R.group_id == group.id)
    call.tx.delete_where(Tag, tags.c.resource_id.in_(rule_ids))
    call.tx.delete_where(SecurityGroupRule, _R.group_id == group.id)
    delete_tags_of(call.tx, group.id)
    call.tx.delete(group)
    publish(call.tx, "vpc", group.vpc_id)
    return {"Return": True, "GroupId": group.id}


_referenced = security_groups.alias("referenced")
_WITH_PEER = security_group_rules.outerjoin(_referenced, _referenced.c.id == _R.referenced_group_id)


def _rule_filters(prefix: str, is_egress: bool) -> dict[str, Condition]:
    def of_rule(that: Condition) -> Condition:
        return any_row(_WITH_PEER, _R.group_id == _G.id, _R.is_egress == is_egress, that=that)

    return {
        f"{prefix}.cidr": of_rule(text(_R.cidr_ipv4)),
        f"{prefix}.from-port": of_rule(number(_R.from_port)),
        f"{prefix}.group-id": of_rule(text(_R.referenced_group_id)),
        f"{prefix}.group-name": of_rule(text(_referenced.c.name)),
        f"{prefix}.ipv6-cidr": of_rule(text(_R.cidr_ipv6)),
        f"{prefix}.prefix-list-id": absent,
        f"{prefix}.protocol": of_rule(text(_R.protocol)),
        f"{prefix}.to-port": of_rule(number(_R.to_port)),
        f"{prefix}.user-id": of_rule(text(_referenced.c.account_id)),
    }


_FILTERS: dict[str, Condition] = {
    "description": text(_G.description),
    **_rule_filters("egress.ip-permission", is_egress=True),
    "group-id": text(_G.id),
    "group-name": text(_G.name),
    **_rule_filters("ip-permission", is_egress=False),
    "owner-id": text(_G.account_id),
    "vpc-id": text(_G.vpc_id),
}


@operation()
def describe_security_groups(call: Call, request: DescribeSecurityGroupsRequestTypeDef) -> Response:
    """Rules are shown as permissions, grouped by traffic. Names are those of groups in the default VPC."""
    names = request.get("GroupNames") or ()
    where = [_G.id.in_([group.id for group in _named(call, names)])] if names else []
    not_with_ids(request, "GroupIds")
    found = described(call, SECURITY_GROUP, request, "GroupIds", _FILTERS, *where)
    ids = [group.id for group in found.rows]
    tags_by_group = tags_of(call.tx, ids)
    rules: dict[str, list[SecurityGroupRule]] = defaultdict(list)
    for rule in call.tx.select(SecurityGroupRule, group_id=ids, order_by=(_R.created_at, _R.id)):
        rules[rule.group_id].append(rule)
    return {
        "SecurityGroups": [_description(call, group, rules[group.id], tags_by_group[group.id]) for group in found.rows],
        **found.token,
    }


def _description(
    call: Call, group: SecurityGroup, rules: Sequence[SecurityGroupRule], held: Sequence[Tag]
) -> SecurityGroupTypeDef:
    ingress, egress = (
        ip_permissions(
            ((Permission.of(rule), rule.description) for rule in rules if rule.is_egress == is_egress),
            group.account_id,
        )
        for is_egress in (False, True)
    )
    return {
        "GroupId": group.id,
        "GroupName": group.name,
        "Description": group.description,
        "OwnerId": group.account_id,
        "VpcId": group.vpc_id,
        "SecurityGroupArn": SECURITY_GROUP.arn(call, group.id),
        "IpPermissions": ingress,
        "IpPermissionsEgress": egress,
        "Tags": tag_list(held),
    }
