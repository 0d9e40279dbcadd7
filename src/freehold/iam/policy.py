"""The one policy decision that every operation passes.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from freehold.iam import denials, evaluate
from freehold.iam.attached import policies_of
from freehold.iam.evaluate import Policies, Policy
from freehold.iam.keys import Asked, Context
from freehold.iam.principals import Who
from freehold.services.operation import Call, Needed, Operation, Principal

# "No permissions are required to perform this operation": the API reference of each action says so.
_NEEDS_NO_PERMISSION = frozenset({"sts:GetCallerIdentity", "sts:GetSessionToken"})


@dataclass(frozen=True, slots=True)
class Decision:
    """`explanation` is AWS's sentence for the caller, empty when allowed."""

    allowed: bool
    explanation: str = ""


_ALLOWED = Decision(True)


def decide(call: Call, operation: Operation, params: Mapping[str, Any]) -> Decision:
    """Whether the caller may do the operation to all that it needs."""
    if operation.action in _NEEDS_NO_PERMISSION or (call.principal.kind == "root" and not operation.resource_policies):
        return _ALLOWED
    encoded = operation.service == "ec2" and not operation.read_only
    return decide_on(call, operation.action, operation.resources(call, params), params, encoded=encoded)


def decide_on(
    call: Call, own_action: str, all_needed: Iterable[str | Needed], params: Mapping[str, Any], *, encoded: bool = False
) -> Decision:
    """Whether the caller may do an action to all of these. `encoded`: a refusal has an encoded message."""
    principal = call.principal
    who, asked = who_of(principal), Asked(call, params)
    policies = policies_of(call.tx, principal)
    for one in all_needed:
        needed = Needed(one) if isinstance(one, str) else one
        action = needed.action or own_action
        context = Context(asked, needed)
        counting = policies if needed.policy is None else _with_resource(policies, needed)
        foreign = bool(needed.account_id) and needed.account_id != principal.account_id
        decision = evaluate.evaluate(who, action, needed.arn, context.lookup, counting, foreign=foreign)
        if decision.allowed or (not decision.explicit and needed.granted is not None and needed.granted()):
            continue
        on_resource = "" if needed.arn == "*" else f" on resource: {needed.arn}"
        explanation = (
            f"User: {principal.arn} is not authorized to perform: {action}{on_resource} {decision.reason(action)}"
        )
        if encoded:
            matches = evaluate.matches(who, action, needed.arn, context.lookup, counting)
            denying = [match.policy.document.statements[match.rule.place] for match in matches if not match.rule.allow]
            message = denials.encode(call.sealer, principal, action, needed.arn, context.known(), denying)
            explanation += f". Encoded authorization failure message: {message}"
        return Decision(False, explanation)
    return _ALLOWED


def who_of(principal: Principal) -> Who:
    """A caller as the Principal elements of policies name them."""
    session = principal.owner_arn if principal.kind in ("role", "federated") else ""
    return Who(
        arn=principal.arn,
        account_id=principal.account_id,
        entity=session,
        root=principal.kind == "root",
        id=principal.unique_id,
        entity_id=principal.owner_id if session else "",
    )


def _with_resource(policies: Policies, needed: Needed) -> Policies:
    assert needed.policy is not None
    resource = Policy.of(needed.policy, "trust" if needed.trust else "resource")
    return replace(policies, resource=resource, required=needed.required, trust=needed.trust)
