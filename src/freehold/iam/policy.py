"""The one policy decision that every operation passes.

Root of an account may do everything in it; an IAM user may do what a policy allows, and no policies are attached to
users yet, so nothing but what needs no permission at all.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from freehold.services.operation import Principal

# "No permissions are required to perform this operation": the API reference of each action says so.
_NEEDS_NO_PERMISSION = frozenset({"sts:GetCallerIdentity", "sts:GetSessionToken"})


@dataclass(frozen=True, slots=True)
class Decision:
    """`explanation` is AWS's sentence for the caller, empty when allowed."""

    allowed: bool
    explanation: str = ""


_ALLOWED = Decision(True)


def decide(principal: Principal, action: str, resources: Iterable[str], context: Mapping[str, str]) -> Decision:
    """Whether `principal` may do `action` (``ec2:RunInstances``) to all of `resources` (ARNs, or ``*``).

    `context` holds the request's condition keys (``aws:SourceIp``, ``aws:RequestedRegion`` …).
    """
    if principal.kind == "root" or action in _NEEDS_NO_PERMISSION:
        return _ALLOWED
    resource = next(iter(resources), "*")
    on_resource = "" if resource == "*" else f" on resource: {resource}"
    return Decision(
        False,
        f"User: {principal.arn} is not authorized to perform: {action}{on_resource} "
        f"because no identity-based policy allows the {action} action",
    )
