"""SimulatePrincipalPolicy and SimulateCustomPolicy: what policies would decide, by the engine that decides.

https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_testing-policies.html. Nothing is done and no resource
looked at: the context is what the request says and what follows from the caller that it simulates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from freehold.iam.document import Kind, MalformedPolicy
from freehold.iam.evaluate import Policies, Policy
from freehold.services.iam.errors import InvalidInput, LimitExceeded
from freehold.services.iam.paging import page_of
from freehold.services.iam.policy_owners import Owner
from freehold.services.iam.policy_sources import Source, boundary, load_owner, source_named, sources, with_groups
from freehold.services.iam.resources import arn
from freehold.services.iam.simulated_request import SCENARIOS, Origin, Simulation, caller_of, check_action, context_of
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import SimulateCustomPolicyRequestTypeDef, SimulatePrincipalPolicyRequestTypeDef

_SHARED = {
    "PolicyInputList",
    "PermissionsBoundaryPolicyInputList",
    "ActionNames",
    "ResourceArns",
    "ResourcePolicy",
    "ResourceOwner",
    "CallerArn",
    "ContextEntries",
    "ResourceHandlingOption",
    "MaxItems",
    "Marker",
}


@operation(resources=source_named, read_only=True)
def simulate_principal_policy(call: Call, request: SimulatePrincipalPolicyRequestTypeDef) -> Response:
    """What the policies of a user, with groups, a group or a role allow, with those given beside them. Raises
    NoSuchEntity, InvalidInput."""
    refuse_others(request, {*_SHARED, "PolicySourceArn", "PolicyExclusionList"})
    owner = load_owner(call, request["PolicySourceArn"])
    excluded = request.get("PolicyExclusionList", ())
    held = [
        source
        for one in with_groups(call, owner)
        for source in sources(call, one)
        if not _is_excluded(source, excluded, bounds=False)
    ]
    bound = boundary(call, owner)
    if bound is not None and _is_excluded(bound, excluded, bounds=True):
        bound = None
    return _simulate(call, request, held, bound, owner)


@operation(read_only=True)
def simulate_custom_policy(call: Call, request: SimulateCustomPolicyRequestTypeDef) -> Response:
    """What the policies given allow. Raises InvalidInput."""
    refuse_others(request, {*_SHARED, "OrderedOrganizationPolicyInputList"})
    if request.get("ResourcePolicy") and not request.get("CallerArn"):
        raise InvalidInput("CallerArn is required together with ResourcePolicy.")
    return _simulate(call, request, [], None, None)


def _simulate(
    call: Call, request: Mapping[str, Any], held: Sequence[Source], bound: Source | None, owner: Owner | None
) -> Response:
    caller = request.get("CallerArn") or (arn(owner) if owner else None)
    if request.get("ResourcePolicy") and caller is not None and ":group/" in caller:
        raise InvalidInput("CallerArn is required together with ResourcePolicy and a group.")
    origins: dict[Policy, Origin] = {}

    def compiled(text: str, source_id: str, kind: str, where: Kind = "identity") -> Policy:
        try:
            policy = Policy(text, where)  # not Policy.of: two of the same text are two policies
        except MalformedPolicy as error:
            raise InvalidInput(f"Invalid policy {source_id}: {error}") from error
        origins[policy] = Origin(source_id, kind, text)
        return policy

    given = [
        compiled(text, f"PolicyInputList.{place}", "none")
        for place, text in enumerate(request.get("PolicyInputList", ()), 1)
    ]
    boundaries = request.get("PermissionsBoundaryPolicyInputList") or ()
    if len(boundaries) > 1:
        raise LimitExceeded("PermissionsBoundaryPolicyInputList", 1)
    limit = None
    if boundaries:
        limit = compiled(boundaries[0], "PermissionsBoundaryPolicyInputList.1", "none")
    elif bound is not None:
        limit = compiled(bound.text, bound.id, bound.type)
    levels = [
        [
            compiled(text, f"ServiceControlPolicyInputList.{place}", "none")
            for place, text in enumerate(level.get("ServiceControlPolicyInputList", ()), 1)
        ]
        for level in request.get("OrderedOrganizationPolicyInputList", ())
    ]
    on_resource = request.get("ResourcePolicy")
    who = caller_of(call, caller)
    policies = Policies(
        identity=[*(compiled(source.text, source.id, source.type) for source in held), *given],
        boundary=limit,
        guardrails=levels,
        resource=compiled(on_resource, "ResourcePolicy", "resource", "resource") if on_resource else None,
    )
    simulation = Simulation(
        who=who,
        policies=policies,
        context=context_of(call, request.get("ContextEntries", ()), who),
        resource_owner=_account(request.get("ResourceOwner")) or who.account_id,
        origins=origins,
    )
    actions, resources = request["ActionNames"], request.get("ResourceArns") or ["*"]
    for action in actions:
        check_action(action)
    scenario = request.get("ResourceHandlingOption")
    if scenario is not None:
        _check_scenario(scenario, resources)
        pairs = [(action, resources) for action in actions]
    else:
        pairs = [(action, [resource]) for action in actions for resource in resources]
    found = page_of(call, request, enumerate(pairs), lambda item: f"{item[0]:012}")
    return {
        "EvaluationResults": [simulation.result(action, on) for _, (action, on) in found.rows],
        **found.end,
    }


def _account(owner: str | None) -> str | None:
    """ResourceOwner is an account, or the ARN of one."""
    if owner is None:
        return None
    account = owner.removeprefix("arn:aws:iam::").removesuffix(":root")
    if len(account) != 12 or not account.isdigit():
        raise InvalidInput(f"ResourceOwner {owner} is no account.")
    return account


def _check_scenario(scenario: str, resources: Sequence[str]) -> None:
    needed = SCENARIOS.get(scenario)
    if needed is None:
        raise InvalidInput(f"ResourceHandlingOption must be one of {', '.join(SCENARIOS)}.")
    for kind in needed:
        if not any(f":{kind}/" in resource for resource in resources):
            raise InvalidInput(f"{scenario} needs a resource of the type {kind} in ResourceArns.")


def _is_excluded(source: Source, excluded: Sequence[Mapping[str, Any]], *, bounds: bool) -> bool:
    """Whether one of PolicyExclusionList's entries names the policy; `bounds`: as a permissions boundary."""
    return any(_excludes(entry, source, bounds=bounds) for entry in excluded)


def _excludes(entry: Mapping[str, Any], source: Source, *, bounds: bool) -> bool:
    if len(entry) != 1:
        raise InvalidInput("An entry of PolicyExclusionList must have either a type, an ARN or an inline policy.")
    if "PolicyType" in entry:
        kind = "permission-boundary" if bounds else "inline" if source.arn is None else source.type
        return bool(entry["PolicyType"] == kind)
    if "PolicyArn" in entry:
        if not entry["PolicyArn"].startswith("arn:"):
            raise InvalidInput(f"ARN {entry['PolicyArn']} is not valid.")
        return bool(entry["PolicyArn"] == source.arn)
    inline = entry["InlinePolicyIdentifier"]
    named = (inline["PolicyName"], inline["AttachmentType"], inline["AttachmentName"].lower())
    return source.arn is None and named == (source.name, source.type, source.owner.folded)
