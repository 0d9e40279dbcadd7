"""The decision: whether policies allow an action on a resource.

The documented order: an explicit deny anywhere wins; guardrails must allow; a policy of the resource may allow by
itself, depending on how closely it names who asks; else a policy of the identity must allow, and the permissions
boundary and the session's policies as well. Of another account's resource both sides must allow.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic-cross-account.html

A document is compiled once (`Policy.of`), and remembers which of its statements speak of an action. Condition keys are
looked up only when a condition names them.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from freehold.iam import patterns
from freehold.iam.conditions import OPERATORS, Condition
from freehold.iam.document import Kind, Statement, parse
from freehold.iam.patterns import Lookup, Template
from freehold.iam.principals import Named, Principals, Who

_REMEMBERED_MAX = 512  # a document of 6 KB takes a tenth of a megabyte
_ACTIONS_REMEMBERED_MAX = 1024


class Type(enum.Enum):
    """The types of policies, as AWS's messages call them."""

    GUARDRAIL = "service control policy"
    RESOURCE = "resource-based policy"
    IDENTITY = "identity-based policy"
    BOUNDARY = "permissions boundary"
    SESSION = "session policy"
    TRUST = "role trust policy"


class Rule:
    """A statement, compiled. `place` is its place in the document."""

    __slots__ = (
        "_conditions", "_fixed", "_not_principals", "_principals", "_templates", "_where", "allow", "place", "sid",
    )  # fmt: skip

    def __init__(self, written: Statement, place: int, *, variables: bool) -> None:
        self.place = place
        self.sid = written.sid
        self.allow = written.allow
        self._principals = None if written.principals is None else Principals(written.principals)
        self._not_principals = written.not_principals
        self._where: bool | None = None if written.resources is None else not written.not_resources
        given = [patterns.parse(text, variables=variables) for text in written.resources or ()]
        self._templates = tuple(one for one in given if isinstance(one, Template))
        self._fixed = patterns.any_of((one for one in given if isinstance(one, str)), patterns.arn_regex)
        if "*" in given and not written.not_resources:
            self._where = None
        self._conditions = tuple(
            Condition(OPERATORS[operator], key, [patterns.parse(value, variables=variables) for value in values])
            for operator, key, values in written.conditions
        )

    def applies(self, resource: str, lookup: Lookup) -> bool:
        """Whether it speaks of the resource, in a request with this context."""
        if self._where is not None:
            listed = self._fixed is not None and bool(self._fixed(resource))
            if not listed and self._templates:
                listed = self._lists_by_variables(resource, lookup)
            if listed is not self._where:
                return False
        for condition in self._conditions:  # noqa: SIM110 - a generator would take as long as a condition
            if not condition.holds(lookup):
                return False
        return True

    def _lists_by_variables(self, resource: str, lookup: Lookup) -> bool:
        for template in self._templates:
            pattern = template.pattern(lookup)
            if pattern is not None and patterns.arn(pattern)(resource):
                return True
        return False

    def names(self, who: Who, *, bounded: bool) -> Named:
        """How it names who asks. A denial by NotPrincipal names everyone whom a permissions boundary limits."""
        if self._principals is None:
            return Named.DIRECTLY
        if not self._not_principals:
            return self._principals.name(who)
        if bounded and not self.allow:
            return Named.DIRECTLY
        return Named.NOT if self._principals.except_(who) else Named.DIRECTLY


Rules: TypeAlias = tuple[Rule, ...]


class Policy:
    """A document, compiled."""

    __slots__ = ("_about", "_actions", "document", "rules")

    def __init__(self, text: str, kind: Kind) -> None:
        self.document = parse(text, kind)
        self.rules = tuple(
            Rule(statement, place, variables=self.document.variables)
            for place, statement in enumerate(self.document.statements)
        )
        self._actions = tuple(map(_actions, self.document.statements))
        self._about: dict[str, tuple[Rules, Rules]] = {}

    @staticmethod
    @functools.lru_cache(maxsize=_REMEMBERED_MAX)
    def of(text: str, kind: Kind = "identity") -> Policy:
        """The policy that a text is, compiled once. Raises MalformedPolicy."""
        return Policy(text, kind)

    def about(self, action: str) -> tuple[Rules, Rules]:
        """The rules (that deny, that allow) that speak of an action."""
        found = self._about.get(action)
        if found is None:
            folded = action.lower()
            statements = zip(self.rules, self._actions, self.document.statements, strict=True)
            rules = [rule for rule, matches, written in statements if bool(matches(folded)) is not written.not_actions]
            found = tuple(r for r in rules if not r.allow), tuple(r for r in rules if r.allow)
            if len(self._about) >= _ACTIONS_REMEMBERED_MAX:  # simulations may name any
                self._about.clear()
            self._about[action] = found
        return found


def _actions(statement: Statement) -> patterns.Matcher:
    """Matches the actions that a statement lists, in lower case."""
    matches = patterns.any_of((action.lower() for action in statement.actions), patterns.regex)
    assert matches is not None  # a statement lists some
    return matches


@dataclass(frozen=True, slots=True)
class Policies:
    """All that counts in a decision. `boundary` None: there is none, and so with the others. Of `guardrails` each level
    (root, unit, account) must allow. `required`: the resource's policy must allow, even in its own account, as those
    of keys and roles must. `trust`: it is a role's."""

    identity: Sequence[Policy] = ()
    boundary: Policy | None = None
    session: Sequence[Policy] | None = None
    guardrails: Sequence[Sequence[Policy]] = ()
    resource: Policy | None = None
    required: bool = False
    trust: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """`explicit`: a statement denied it. `type` is the type of policies that denied or did not allow."""

    allowed: bool
    type: Type | None = None
    explicit: bool = False

    def reason(self, action: str) -> str:
        """AWS's words for why it was denied, as they follow ``is not authorized to perform: …``.
        https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html"""
        if self.type is None:
            return ""
        if self.explicit:
            article = "the" if self.type is Type.TRUST else "an" if self.type is Type.IDENTITY else "a"
            return f"with an explicit deny in {article} {self.type.value}"
        return f"because no {self.type.value} allows the {action} action"


ALLOWED = Decision(True)


def evaluate(
    who: Who, action: str, resource: str, lookup: Lookup, policies: Policies, *, foreign: bool = False
) -> Decision:
    """Whether `who` may do `action` to `resource` (an ARN, or ``*``); `foreign`: it belongs to another account."""
    guardrails = [(Type.GUARDRAIL, level) for level in policies.guardrails]
    allowing: list[tuple[Type, list[Rules]]] = []
    for type_, some in (*guardrails, *_own(policies)):
        rules: list[Rules] = []
        allowing.append((type_, rules))
        for policy in some:
            denials, permissions = policy.about(action)
            for rule in denials:
                if rule.applies(resource, lookup):
                    return Decision(False, type_, explicit=True)
            rules.append(permissions)
    on_resource = Type.TRUST if policies.trust else Type.RESOURCE
    named = Named.NOT
    if policies.resource is not None:
        denials, permissions = policies.resource.about(action)
        bounded = policies.boundary is not None
        if any(rule.applies(resource, lookup) and rule.names(who, bounded=bounded) for rule in denials):
            return Decision(False, on_resource, explicit=True)
        names = [rule.names(who, bounded=bounded) for rule in permissions if rule.applies(resource, lookup)]
        named = max(names, default=Named.NOT)
    for type_, rules in allowing[: len(guardrails)]:
        if not _allow(rules, resource, lookup):
            return Decision(False, type_)
    if named is Named.NOT and (policies.required or foreign or who.kind != "AWS"):
        return Decision(False, on_resource)
    if who.kind != "AWS" or (named is Named.DIRECTLY and not foreign):
        return ALLOWED
    # A role that is named needs no policy of its own; its boundary and the session's policies must allow all the same.
    own = allowing[len(guardrails) :]
    for type_, rules in own[1:] if who.root or (named is Named.ENTITY and not foreign) else own:
        if not _allow(rules, resource, lookup):
            return Decision(False, type_)
    return ALLOWED


def _own(policies: Policies) -> list[tuple[Type, Sequence[Policy]]]:
    """The policies of who asks: each of these types must allow."""
    own: list[tuple[Type, Sequence[Policy]]] = [(Type.IDENTITY, policies.identity)]
    if policies.boundary is not None:
        own.append((Type.BOUNDARY, (policies.boundary,)))
    if policies.session is not None:
        own.append((Type.SESSION, policies.session))
    return own


def _allow(some: Iterable[Rules], resource: str, lookup: Lookup) -> bool:
    for rules in some:
        for rule in rules:
            if rule.applies(resource, lookup):
                return True
    return False


@dataclass(frozen=True, slots=True)
class Match:
    """A statement that speaks of a request."""

    type: Type
    policy: Policy
    rule: Rule


def matches(who: Who, action: str, resource: str, lookup: Lookup, policies: Policies) -> list[Match]:
    """All the statements that speak of a request, for or against it; who simulates shows them."""
    kinds = [*_own(policies), *((Type.GUARDRAIL, level) for level in policies.guardrails)]
    if policies.resource is not None:
        kinds.append((Type.TRUST if policies.trust else Type.RESOURCE, (policies.resource,)))
    bounded = policies.boundary is not None
    return [
        Match(type_, policy, rule)
        for type_, some in kinds
        for policy in some
        for rule in sorted((r for rules in policy.about(action) for r in rules), key=lambda rule: rule.place)
        if rule.applies(resource, lookup) and rule.names(who, bounded=bounded)
    ]
