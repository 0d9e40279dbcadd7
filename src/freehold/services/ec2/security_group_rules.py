"""The rules of security groups: authorised, revoked, described, changed.

Operations that change rules take their turn in the change feed first, so that none decides on what another is changing.
A rule is one permission of one group and direction; a permission is there once at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from freehold.quotas import RULES_PER_GROUP
from freehold.records.feed import publish, take_turn
from freehold.records.ids import new_id
from freehold.records.network import SecurityGroup, SecurityGroupRule, Vpc, security_group_rules
from freehold.records.tags import Tag, put_tags, tags, tags_of
from freehold.services.ec2.errors import (
    InvalidParameterCombination,
    InvalidParameterValue,
    InvalidPermissionDuplicate,
    InvalidPermissionNotFound,
    InvalidSecurityGroupRuleIdNotFound,
    MissingParameter,
    RulesPerSecurityGroupLimitExceeded,
)
from freehold.services.ec2.filters import Condition, text
from freehold.services.ec2.paging import described, not_with_ids
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.permissions import Permission, description, ip_permissions
from freehold.services.ec2.requested_permissions import (
    IP_PERMISSIONS,
    OLDER_PARAMETERS,
    parameters_given,
    permission_of,
    requested,
)
from freehold.services.ec2.resources import SECURITY_GROUP_RULE, made
from freehold.services.ec2.security_groups import find_group, group_named
from freehold.services.ec2.tags import specified, tag_list
from freehold.services.operation import Call, Needed, Response, operation
from freehold.services.quotas import limit

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        AuthorizeSecurityGroupEgressRequestTypeDef,
        AuthorizeSecurityGroupIngressRequestTypeDef,
        DescribeSecurityGroupRulesRequestTypeDef,
        ModifySecurityGroupRulesRequestTypeDef,
        RevokedSecurityGroupRuleTypeDef,
        RevokeSecurityGroupEgressRequestTypeDef,
        RevokeSecurityGroupIngressRequestTypeDef,
        SecurityGroupRuleTypeDef,
        UpdateSecurityGroupRuleDescriptionsEgressRequestTypeDef,
        UpdateSecurityGroupRuleDescriptionsIngressRequestTypeDef,
    )

"""In each direction, for IPv4 and for IPv6; a reference to a group counts as both.

https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-security-groups
"""

_R = security_group_rules.c
_TYPE = SECURITY_GROUP_RULE.resource_type


class _Way(NamedTuple):
    """A direction of traffic, and the parameters of its operations that name a group and permissions."""

    is_egress: bool
    parameters: frozenset[str]


_INGRESS = _Way(False, IP_PERMISSIONS | OLDER_PARAMETERS | {"GroupId", "GroupName"})
_EGRESS = _Way(True, IP_PERMISSIONS | {"GroupId"})


def _authorized(call: Call, request: Mapping[str, Any]) -> Iterator[Needed]:
    """The group, and the tags of its new rules."""
    yield from group_named(call, request)
    yield from made(call, request, SECURITY_GROUP_RULE, own=False)


def _group(call: Call, request: Mapping[str, Any]) -> SecurityGroup:
    """The group whose rules the request changes."""
    take_turn(call.tx)
    return find_group(call, request.get("GroupId"), request.get("GroupName"))


def _rules(call: Call, group: SecurityGroup, is_egress: bool) -> dict[Permission, SecurityGroupRule]:
    found = call.tx.select(SecurityGroupRule, _R.group_id == group.id, _R.is_egress == is_egress)
    return {Permission.of(rule): rule for rule in found}


def _check_limit(call: Call, permissions: Iterable[Permission]) -> None:
    held = list(permissions)
    ipv4 = sum(permission.cidr_ipv6 is None for permission in held)
    ipv6 = sum(permission.cidr_ipv4 is None for permission in held)
    if max(ipv4, ipv6) > (most := limit(call, RULES_PER_GROUP)):
        raise RulesPerSecurityGroupLimitExceeded(most)


@operation(resources=_authorized)
def authorize_security_group_ingress(call: Call, request: AuthorizeSecurityGroupIngressRequestTypeDef) -> Response:
    """All of the permissions or, if one is there already, none."""
    return _authorize(call, request, _INGRESS)


@operation(resources=_authorized)
def authorize_security_group_egress(call: Call, request: AuthorizeSecurityGroupEgressRequestTypeDef) -> Response:
    """All of the permissions or, if one is there already, none."""
    return _authorize(call, request, _EGRESS)


def _authorize(call: Call, request: Mapping[str, Any], way: _Way) -> Response:
    refuse_others(request, way.parameters | {"TagSpecifications"})
    given_tags = specified(request.get("TagSpecifications"), _TYPE)[_TYPE]
    group = _group(call, request)
    given = requested(call, group, request)
    present = _rules(call, group, way.is_egress)
    if duplicates := [permission for permission in given if permission in present]:
        raise InvalidPermissionDuplicate(str(duplicates[0]))
    _check_limit(call, [*present, *given])
    made = [_new_rule(call, group, way.is_egress, permission, new) for permission, new in given.items()]
    call.tx.insert(*made)
    for rule in made:
        put_tags(call.tx, call.account_id, call.region, _TYPE, rule.id, given_tags)
    publish(call.tx, "vpc", group.vpc_id)
    return {"Return": True, "SecurityGroupRules": _descriptions(call, made)}


def _new_rule(
    call: Call, group: SecurityGroup, is_egress: bool, permission: Permission, rule_description: str | None
) -> SecurityGroupRule:
    return SecurityGroupRule(
        id=new_id(SECURITY_GROUP_RULE.prefix),
        account_id=call.account_id,
        region=call.region,
        group_id=group.id,
        is_egress=is_egress,
        description=rule_description,
        created_at=call.now,
        **permission.fields(),
    )


@operation(resources=group_named)
def revoke_security_group_ingress(call: Call, request: RevokeSecurityGroupIngressRequestTypeDef) -> Response:
    """By permissions or by rule ids. Permissions that no rule has are an error, but in a default VPC part of the answer
    (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RevokeSecurityGroupIngress.html)."""
    return _revoke(call, request, _INGRESS)


@operation(resources=group_named)
def revoke_security_group_egress(call: Call, request: RevokeSecurityGroupEgressRequestTypeDef) -> Response:
    """By permissions or by rule ids. Permissions that no rule has are an error, but in a default VPC part of the answer
    (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RevokeSecurityGroupEgress.html)."""
    return _revoke(call, request, _EGRESS)


def _revoke(call: Call, request: Mapping[str, Any], way: _Way) -> Response:
    refuse_others(request, way.parameters | {"SecurityGroupRuleIds"})
    group = _group(call, request)
    unknown: list[Permission] = []
    if rule_ids := request.get("SecurityGroupRuleIds"):
        if others := parameters_given(request):
            raise InvalidParameterCombination(
                f"The parameters {', '.join(sorted(others))} may not be used together with SecurityGroupRuleIds"
            )
        revoked = _rules_with_ids(call, group, rule_ids, way.is_egress)
    else:
        given, present = requested(call, group, request), _rules(call, group, way.is_egress)
        unknown = [permission for permission in given if permission not in present]
        vpc = call.tx.get(Vpc, group.vpc_id)
        if unknown and not (vpc and vpc.is_default):
            raise InvalidPermissionNotFound
        revoked = [present[permission] for permission in given if permission in present]
    revoked_ids = [rule.id for rule in revoked]
    call.tx.delete_where(SecurityGroupRule, _R.id.in_(revoked_ids))
    call.tx.delete_where(Tag, tags.c.resource_id.in_(revoked_ids))
    publish(call.tx, "vpc", group.vpc_id)
    return {
        "Return": True,
        "UnknownIpPermissions": ip_permissions([(permission, None) for permission in unknown], call.account_id),
        "RevokedSecurityGroupRules": [_revoked(rule) for rule in revoked],
    }


def _rules_with_ids(
    call: Call, group: SecurityGroup, rule_ids: Sequence[str], is_egress: bool | None = None
) -> list[SecurityGroupRule]:
    """The rules of the group and direction with these ids. Raises InvalidSecurityGroupRuleId.NotFound or Malformed."""
    found = SECURITY_GROUP_RULE.load_all(call, rule_ids)
    if foreign := [r.id for r in found if r.group_id != group.id or is_egress not in (None, r.is_egress)]:
        raise InvalidSecurityGroupRuleIdNotFound(*foreign)
    return found


def _revoked(rule: SecurityGroupRule) -> RevokedSecurityGroupRuleTypeDef:
    result: RevokedSecurityGroupRuleTypeDef = {
        "SecurityGroupRuleId": rule.id,
        "GroupId": rule.group_id,
        "IsEgress": rule.is_egress,
        "IpProtocol": rule.protocol,
        "FromPort": rule.from_port,
        "ToPort": rule.to_port,
    }
    if rule.cidr_ipv4 is not None:
        result["CidrIpv4"] = rule.cidr_ipv4
    if rule.cidr_ipv6 is not None:
        result["CidrIpv6"] = rule.cidr_ipv6
    if rule.referenced_group_id is not None:
        result["ReferencedGroupId"] = rule.referenced_group_id
    if rule.description is not None:
        result["Description"] = rule.description
    return result


_FILTERS: dict[str, Condition] = {
    "group-id": text(_R.group_id),
    "security-group-rule-id": text(_R.id),
}


@operation()
def describe_security_group_rules(call: Call, request: DescribeSecurityGroupRulesRequestTypeDef) -> Response:
    """Rules of all groups of the account in the region."""
    not_with_ids(request, "SecurityGroupRuleIds")
    found = described(call, SECURITY_GROUP_RULE, request, "SecurityGroupRuleIds", _FILTERS)
    return {"SecurityGroupRules": _descriptions(call, found.rows), **found.token}


def _descriptions(call: Call, rules: Sequence[SecurityGroupRule]) -> list[SecurityGroupRuleTypeDef]:
    tags_by_rule = tags_of(call.tx, [rule.id for rule in rules])
    return [_description(call, rule, tags_by_rule[rule.id]) for rule in rules]


def _description(call: Call, rule: SecurityGroupRule, held: Sequence[Tag]) -> SecurityGroupRuleTypeDef:
    result: SecurityGroupRuleTypeDef = {
        "SecurityGroupRuleId": rule.id,
        "SecurityGroupRuleArn": SECURITY_GROUP_RULE.arn(call, rule.id),
        "GroupId": rule.group_id,
        "GroupOwnerId": rule.account_id,
        "IsEgress": rule.is_egress,
        "IpProtocol": rule.protocol,
        "FromPort": rule.from_port,
        "ToPort": rule.to_port,
        "Tags": tag_list(held),
    }
    if rule.cidr_ipv4 is not None:
        result["CidrIpv4"] = rule.cidr_ipv4
    if rule.cidr_ipv6 is not None:
        result["CidrIpv6"] = rule.cidr_ipv6
    if rule.referenced_group_id is not None:
        result["ReferencedGroupInfo"] = {"GroupId": rule.referenced_group_id, "UserId": rule.account_id}
    if rule.description is not None:
        result["Description"] = rule.description
    return result


_RULE = "SecurityGroupRules.SecurityGroupRule"
_CHANGEABLE = {
    "GroupId",
    "SecurityGroupRules.SecurityGroupRuleId",
    *(
        f"{_RULE}.{member}"
        for member in ("IpProtocol", "FromPort", "ToPort", "CidrIpv4", "CidrIpv6", "ReferencedGroupId", "Description")
    ),
}


def _changed(call: Call, request: ModifySecurityGroupRulesRequestTypeDef) -> list[Needed]:
    rule_ids = [update["SecurityGroupRuleId"] for update in request["SecurityGroupRules"]]
    return [*group_named(call, request), *(SECURITY_GROUP_RULE.needed(call, rule_id) for rule_id in rule_ids)]


@operation(resources=_changed)
def modify_security_group_rules(call: Call, request: ModifySecurityGroupRulesRequestTypeDef) -> Response:
    """Each rule becomes what is given in whole: without a description it has none afterwards. Its kind of other end
    (IPv4, IPv6, group) stays
    (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SecurityGroupRuleRequest.html)."""
    refuse_others(request, _CHANGEABLE)
    updates = _once_each(request["SecurityGroupRules"])
    group = _group(call, request)
    for rule in _rules_with_ids(call, group, list(updates)):
        given = updates[rule.id].get("SecurityGroupRule")
        if not given:
            raise MissingParameter(_RULE)
        permission = permission_of(call, group, given)
        if permission.kind != Permission.of(rule).kind:
            raise InvalidParameterValue(
                f"Security group rule {rule.id} has the parameter {Permission.of(rule).kind}, which may not be changed "
                f"to {permission.kind}."
            )
        call.tx.update(rule, description=description(given.get("Description")), **permission.fields())
    _check_unique(call, group)
    publish(call.tx, "vpc", group.vpc_id)
    return {"Return": True}


def _once_each(given: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """What is given for each rule, by its id. Raises InvalidParameterValue for a rule that is named twice."""
    result = {one.get("SecurityGroupRuleId", ""): one for one in given}
    if len(result) < len(given):
        raise InvalidParameterValue("A security group rule may be changed only once in a request.")
    return result


def _check_unique(call: Call, group: SecurityGroup) -> None:
    seen: set[tuple[bool, Permission]] = set()
    for rule in call.tx.select(SecurityGroupRule, _R.group_id == group.id):
        permission = Permission.of(rule)
        if (rule.is_egress, permission) in seen:
            raise InvalidPermissionDuplicate(str(permission))
        seen.add((rule.is_egress, permission))


@operation(resources=group_named)
def update_security_group_rule_descriptions_ingress(
    call: Call, request: UpdateSecurityGroupRuleDescriptionsIngressRequestTypeDef
) -> Response:
    """A description that is left out is removed."""
    return _update_descriptions(call, request, IP_PERMISSIONS | {"GroupId", "GroupName"}, is_egress=False)


@operation(resources=group_named)
def update_security_group_rule_descriptions_egress(
    call: Call, request: UpdateSecurityGroupRuleDescriptionsEgressRequestTypeDef
) -> Response:
    """A description that is left out is removed."""
    return _update_descriptions(call, request, IP_PERMISSIONS | {"GroupId", "GroupName"}, is_egress=True)


def _update_descriptions(
    call: Call, request: Mapping[str, Any], parameters: frozenset[str], *, is_egress: bool
) -> Response:
    refuse_others(request, parameters | {"SecurityGroupRuleDescriptions"})
    by_id = request.get("SecurityGroupRuleDescriptions")
    if by_id and request.get("IpPermissions"):
        raise InvalidParameterCombination(
            "The parameters SecurityGroupRuleDescriptions and IpPermissions may not be used together"
        )
    group = _group(call, request)
    if by_id:
        updates = _once_each(by_id)
        rules = _rules_with_ids(call, group, list(updates), is_egress)
        changed = [(rule, description(updates[rule.id].get("Description"))) for rule in rules]
    else:
        given, present = requested(call, group, request), _rules(call, group, is_egress)
        if not given.keys() <= present.keys():
            raise InvalidPermissionNotFound
        changed = [(present[permission], new) for permission, new in given.items()]
    for rule, new in changed:
        call.tx.update(rule, description=new)
    return {"Return": True}
