"""The decision a second time: slow, obvious, and written from AWS's documentation alone.

Nothing is compiled, indexed or remembered, and nothing is shared with the engine. Documents are taken as they are
written; that they are well-formed is the engine's to check.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request. `context` has condition keys in lower case. The principal is described by what policies call it."""

    action: str
    resource: str
    context: dict[str, Any]
    kind: str = "AWS"
    arn: str = ""
    entity: str = ""
    account: str = ""
    root: bool = False
    foreign: bool = False


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# Patterns are lists of characters; a wildcard is the tuple ("*",) or ("?",), so that no text is ever taken for one.


def tokens(text: str, asked: Asked, version: str) -> list[Any] | None:
    """A text with its variables replaced, or None when one has no value."""
    made: list[Any] = []
    while text:
        variable = re.match(r"\$\{([^{}]*)\}", text) if version == "2012-10-17" else None
        if variable:
            text = text[variable.end() :]
            name = variable[1]
            if name in ("*", "?", "$"):
                made.append(name)
                continue
            key, _, default = name.partition(",")
            value = asked.context.get(key.strip().lower())
            if not isinstance(value, str):
                quoted = re.fullmatch(r"\s*'([^']*)'\s*", default)
                value = quoted[1] if quoted else None
            if value is None:
                return None
            made += list(value)
        else:
            made.append((text[0],) if text[0] in "*?" else text[0])
            text = text[1:]
    return made


def like(pattern: list[Any], text: str, beyond_colons: bool = True) -> bool:
    """Whether the whole text is like the pattern: every way in which a prefix of it can be, character by character."""
    reached = {0}
    for token in pattern:
        following = set()
        for position in reached:
            if token == ("*",):
                end = position
                following.add(end)
                while end < len(text) and (beyond_colons or text[end] != ":"):
                    end += 1
                    following.add(end)
            elif position < len(text):
                character = text[position]
                if character == token or (token == ("?",) and (beyond_colons or character != ":")):
                    following.add(position + 1)
        reached = following
    return len(text) in reached


def arn_like(text: str, arn: str, asked: Asked, version: str) -> bool:
    """Part by part, each divided by colons; the last part takes all that is left."""
    if text == "*":
        return True
    wanted = []
    for part in split_outside_variables(text):
        made = tokens(part, asked, version)
        if made is None:
            return False
        wanted.append(made)
    parts = arn.split(":", len(wanted) - 1)
    if len(parts) != len(wanted):
        return False
    return all(like(pattern, part) for pattern, part in zip(wanted, parts, strict=True))


def split_outside_variables(text: str) -> list[str]:
    parts, depth = [""], 0
    for place, character in enumerate(text):
        if text[place : place + 2] == "${" and "}" in text[place:]:
            depth = 1
        if character == "}":
            depth = 0
        if character == ":" and not depth and len(parts) < 6:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def number(text: str) -> Fraction | None:
    return Fraction(text) if re.fullmatch(r"[-+]?[0-9]+(\.[0-9]+)?", text) else None


def moment(text: str) -> Fraction | None:
    for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d", "%Y-%m", "%Y"):
        try:
            at = dt.datetime.strptime(text, form).replace(tzinfo=dt.UTC)
        except ValueError:
            continue
        return Fraction(int(at.timestamp()))
    return number(text)


def compares(read: Any, operation: str, text: str, wanted: str) -> bool:
    left, right = read(text), read(wanted)
    if left is None or right is None:
        return False
    return {
        "Equals": left == right,
        "LessThan": left < right,
        "LessThanEquals": left <= right,
        "GreaterThan": left > right,
        "GreaterThanEquals": left >= right,
    }[operation]


def value_matches(operator: str, text: str, policy_value: str, asked: Asked, version: str) -> bool:
    """Whether one value of the request matches one of the policy, by an operator that is not negated."""
    made = tokens(policy_value, asked, version)
    if made is None:
        return False
    exact = "".join(token if isinstance(token, str) else token[0] for token in made)
    if operator == "StringEquals":
        return text == exact
    if operator in ("StringEqualsIgnoreCase", "Bool", "Null"):
        return text.lower() == exact.lower()
    if operator == "StringLike":
        return like(made, text)
    if operator in ("ArnEquals", "ArnLike"):
        return text.count(":") >= 5 and arn_like(policy_value, text, asked, version)
    if operator == "BinaryEquals":
        try:
            return base64.b64decode(text, validate=True) == base64.b64decode(exact, validate=True)
        except ValueError:
            return False
    if operator == "IpAddress":
        try:
            return ipaddress.ip_address(text) in ipaddress.ip_network(exact, strict=False)
        except ValueError:
            return False
    if operator.startswith("Numeric"):
        return compares(number, operator.removeprefix("Numeric"), text, exact)
    return compares(moment, operator.removeprefix("Date"), text, exact)


def condition_holds(written: str, key: str, policy_values: list[str], asked: Asked, version: str) -> bool:
    quantifier, _, operator = written.rpartition(":")
    if_exists = operator.endswith("IfExists")
    operator = operator.removesuffix("IfExists")
    negated = "Not" in operator
    operator = operator.replace("Not", "")
    value = asked.context.get(key.lower())
    missing = value is None or value == []
    values = [] if missing else listed(value)
    if operator == "Null":
        return any(value_matches("Null", "true" if missing else "false", v, asked, version) for v in policy_values)

    def matches_any(text: str) -> bool:
        return any(value_matches(operator, text, v, asked, version) for v in policy_values)

    if quantifier == "ForAllValues":
        # "also returns true if there are no context keys in the request, or if the value resolves to a null data set"
        if missing or all(text == "" for text in values):
            return True
        return all(matches_any(text) != negated for text in values)
    if quantifier == "ForAnyValue":
        if missing:
            return if_exists
        return any(matches_any(text) != negated for text in values)
    if missing:
        return negated or if_exists
    if negated:
        return not any(matches_any(text) for text in values)
    return any(matches_any(text) for text in values)


def statement_applies(statement: dict[str, Any], asked: Asked, version: str) -> bool:
    """Whether action, resource and conditions are those of the request."""

    def is_action(pattern: str) -> bool:
        return like([(c,) if c in "*?" else c for c in pattern.lower()], asked.action.lower())

    if "Action" in statement and not any(is_action(a) for a in listed(statement["Action"])):
        return False
    if "NotAction" in statement and any(is_action(a) for a in listed(statement["NotAction"])):
        return False

    def is_resource(pattern: str) -> bool:
        return arn_like(pattern, asked.resource, asked, version)

    if "Resource" in statement and not any(is_resource(r) for r in listed(statement["Resource"])):
        return False
    if "NotResource" in statement and any(is_resource(r) for r in listed(statement["NotResource"])):
        return False
    for operator, block in statement.get("Condition", {}).items():
        for key, values in block.items():
            texts = [v if isinstance(v, str) else json.dumps(v) for v in listed(values)]
            if not condition_holds(operator, key, texts, asked, version):
                return False
    return True


def names(principals: Any, asked: Asked) -> str:
    """How a Principal element names the caller: "", "account", "entity" or "directly"."""
    if principals == "*" or "*" in listed(principals.get("AWS", [])):
        return "directly"
    mine = listed(principals.get(asked.kind, []))
    if asked.arn in mine:
        return "directly"
    if asked.entity and asked.entity in mine:
        return "entity"
    if asked.kind == "AWS" and (asked.account in mine or f"arn:aws:iam::{asked.account}:root" in mine):
        return "directly" if asked.root else "account"
    return ""


def named_by(statement: dict[str, Any], asked: Asked, bounded: bool) -> str:
    if "Principal" in statement:
        return names(statement["Principal"], asked)
    if bounded and statement["Effect"] == "Deny":
        return "directly"
    excepted = statement["NotPrincipal"]
    if asked.kind != "AWS":
        return "" if names(excepted, asked) else "directly"
    if excepted == "*" or "*" in listed(excepted.get("AWS", [])):
        return ""
    mine = listed(excepted.get("AWS", []))
    account = asked.account in mine or f"arn:aws:iam::{asked.account}:root" in mine
    rest = [] if asked.root else [arn for arn in (asked.entity, asked.arn) if arn]
    return "" if account and all(arn in mine for arn in rest) else "directly"


def statements(documents: list[dict[str, Any]], asked: Asked, effect: str) -> list[dict[str, Any]]:
    return [
        statement
        for document in documents
        for statement in listed(document["Statement"])
        if statement["Effect"] == effect and statement_applies(statement, asked, document.get("Version", "2008-10-17"))
    ]


def decide(
    asked: Asked,
    identity: list[dict[str, Any]],
    boundary: dict[str, Any] | None = None,
    session: list[dict[str, Any]] | None = None,
    guardrails: tuple[list[dict[str, Any]], ...] = (),
    resource: dict[str, Any] | None = None,
    required: bool = False,
) -> str:
    """``allowed``, ``denied`` (explicitly) or ``not allowed``."""
    bounded = boundary is not None
    everything = [*identity, *([boundary] if boundary else []), *(session or []), *(d for g in guardrails for d in g)]
    if statements(everything, asked, "Deny"):
        return "denied"
    on_resource = [resource] if resource else []
    if any(named_by(statement, asked, bounded) for statement in statements(on_resource, asked, "Deny")):
        return "denied"
    for level in guardrails:
        if not statements(level, asked, "Allow"):
            return "not allowed"
    named = {named_by(statement, asked, bounded) for statement in statements(on_resource, asked, "Allow")} - {""}
    by_identity = asked.root or bool(statements(identity, asked, "Allow"))
    by_boundary = boundary is None or bool(statements([boundary], asked, "Allow"))
    by_session = session is None or bool(statements(session, asked, "Allow"))
    own = by_identity and by_boundary and by_session
    if asked.kind != "AWS":
        allowed = bool(named)
    elif asked.foreign:
        allowed = own and bool(named)
    elif "directly" in named:
        allowed = True
    elif "entity" in named:
        allowed = by_boundary and by_session
    elif required:
        allowed = own and "account" in named
    else:
        allowed = own
    return "allowed" if allowed else "not allowed"
