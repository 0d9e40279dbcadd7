"""A request that a simulation makes up: who asks, in what context, and what the policies decide."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from freehold.iam.document import spans
from freehold.iam.evaluate import Decision, Match, Policies, Policy, evaluate, matches
from freehold.iam.patterns import Value
from freehold.iam.principals import Who
from freehold.records.accounts import User
from freehold.records.tags import tags_of
from freehold.services.iam.errors import InvalidInput, NoSuchEntity
from freehold.services.iam.policy_sources import load_owner
from freehold.services.operation import Call

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import ContextEntryTypeDef

# https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
SCENARIOS: Mapping[str, Sequence[str]] = {
    "EC2-VPC-InstanceStore": ("instance", "image", "security-group", "network-interface"),
    "EC2-VPC-InstanceStore-Subnet": ("instance", "image", "security-group", "network-interface", "subnet"),
    "EC2-VPC-EBS": ("instance", "image", "security-group", "network-interface", "volume"),
    "EC2-VPC-EBS-Subnet": ("instance", "image", "security-group", "network-interface", "subnet", "volume"),
}
"""What has to be among the resources for each ResourceHandlingOption."""

_ACTION = re.compile(r"[A-Za-z0-9-]+:[A-Za-z0-9]+")
_CALLER = re.compile(r"arn:aws:iam::([0-9]{12}):(user|group|role)/(?:.*/)?([^/]+)")
_EVERYTHING = Policy('{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}', "identity")


def check_action(action: str) -> None:
    """Raises InvalidInput for what can not be an action."""
    if not _ACTION.fullmatch(action):
        raise InvalidInput(f"Invalid Entity Action: {action}")


def caller_of(call: Call, arn: str | None) -> Who:
    """Who asks in a simulation: None = it does not matter. Raises InvalidInput for what is no user, group or role."""
    if arn is None:
        return Who("", call.account_id)
    named = _CALLER.fullmatch(arn)
    if named is None:
        raise InvalidInput(f"Invalid Entity Arn: {arn} does not clearly define entity type and name.")
    return Who(arn, named[1], entity=arn)


def context_of(call: Call, entries: Sequence[ContextEntryTypeDef], who: Who) -> dict[str, Value]:
    """The context: what ContextEntries say and, where they do not, what follows from who asks."""
    context = _of_caller(call, who)
    for entry in entries:
        key, values = entry.get("ContextKeyName"), list(entry.get("ContextKeyValues", ()))
        if key is None:
            raise InvalidInput("An entry of ContextEntries has no ContextKeyName.")
        if entry.get("ContextKeyType", "string").endswith("List"):
            context[key.lower()] = values
        elif len(values) > 1:
            raise InvalidInput(f"The context key {key} has several values, but its type is for one.")
        else:
            context[key.lower()] = values[0] if values else None
    return context


def _of_caller(call: Call, who: Who) -> dict[str, Value]:
    if not who.arn or ":group/" in who.arn:
        return {}
    context: dict[str, Value] = {"aws:principalarn": who.arn, "aws:principalaccount": who.account_id}
    if who.account_id != call.account_id:
        return context
    try:
        owner = load_owner(call, who.arn)
    except NoSuchEntity:  # callers may be made up
        return context
    for tag in tags_of(call.tx, [owner.id])[owner.id]:
        context[f"aws:principaltag/{tag.key.lower()}"] = tag.value
    if isinstance(owner, User):
        context |= {"aws:username": owner.name, "aws:userid": owner.id, "aws:principaltype": "User"}
    return context


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a policy is from: SourcePolicyId, SourcePolicyType, and its text."""

    id: str
    type: str
    text: str


@dataclass(frozen=True, slots=True)
class Simulation:
    """Who asks, in what context, under which policies. `origins` says where each policy is from."""

    who: Who
    policies: Policies
    context: Mapping[str, Value]
    resource_owner: str
    origins: Mapping[Policy, Origin]

    def result(self, action: str, resources: Sequence[str]) -> dict[str, Any]:
        """One EvaluationResult: the action on all of the resources."""
        missing = self._missing(action)
        each = [{**self._on(action, resource), "MissingContextValues": missing} for resource in resources]
        decisions = [one["EvalResourceDecision"] for one in each]
        worst = next(word for word in ("explicitDeny", "implicitDeny", "allowed") if word in decisions)
        single = len(each) == 1
        result: dict[str, Any] = {
            "EvalActionName": action,
            "EvalResourceName": resources[0] if single else "*",
            "EvalDecision": worst,
            "MatchedStatements": each[0]["MatchedStatements"] if single else [],
            "MissingContextValues": missing if list(resources) == ["*"] else [],
        }
        if list(resources) != ["*"]:
            result["ResourceSpecificResults"] = each
        if self.policies.boundary is not None and single:
            result["PermissionsBoundaryDecisionDetail"] = each[0]["PermissionsBoundaryDecisionDetail"]
        if self.policies.guardrails:
            only = Policies(identity=[_EVERYTHING], guardrails=self.policies.guardrails)
            allowed = all(self._decide(action, resource, only).allowed for resource in resources)
            result["OrganizationsDecisionDetail"] = {"AllowedByOrganizations": allowed}
        return result

    def _on(self, action: str, resource: str) -> dict[str, Any]:
        """One ResourceSpecificResult."""
        decision = self._decide(action, resource, self.policies)
        found = matches(self.who, action, resource, self._lookup, self.policies)
        determining = [match for match in found if match.rule.allow == decision.allowed]
        result: dict[str, Any] = {
            "EvalResourceName": resource,
            "EvalResourceDecision": _word(decision),
            "MatchedStatements": [self._statement(match) for match in determining],
        }
        if self.policies.boundary is not None:
            only = Policies(identity=[self.policies.boundary])
            allowed = self._decide(action, resource, only).allowed
            result["PermissionsBoundaryDecisionDetail"] = {"AllowedByPermissionsBoundary": allowed}
        return result

    def _decide(self, action: str, resource: str, policies: Policies) -> Decision:
        foreign = policies.resource is not None and self._owner(resource) != self.who.account_id
        return evaluate(self.who, action, resource, self._lookup, policies, foreign=foreign)

    def _owner(self, resource: str) -> str:
        """The account in the resource's ARN or, where it has none (buckets), ResourceOwner."""
        parts = resource.split(":", 5)
        return parts[4] if len(parts) == 6 and parts[4] else self.resource_owner

    def _lookup(self, key: str) -> Value:
        return self.context.get(key)

    def _missing(self, action: str) -> list[str]:
        """The condition keys in statements about the action that the context does not have."""
        missing: dict[str, str] = {}
        for policy in self.origins:
            rules = [rule for some in policy.about(action) for rule in some]
            about = tuple(policy.document.statements[rule.place] for rule in rules)
            for key in replace(policy.document, statements=about).context_keys():
                if self.context.get(key.lower()) is None:
                    missing.setdefault(key.lower(), key)
        return list(missing.values())

    def _statement(self, match: Match) -> dict[str, Any]:
        origin = self.origins[match.policy]
        start, end = spans(origin.text)[match.rule.place]
        return {
            "SourcePolicyId": origin.id,
            "SourcePolicyType": origin.type,
            "StartPosition": _position(origin.text, start),
            "EndPosition": _position(origin.text, end),
        }


def _word(decision: Decision) -> str:
    return "allowed" if decision.allowed else "explicitDeny" if decision.explicit else "implicitDeny"


def _position(text: str, offset: int) -> dict[str, int]:
    """Lines and columns count from one."""
    return {"Line": text.count("\n", 0, offset) + 1, "Column": offset - (text.rfind("\n", 0, offset) + 1) + 1}
