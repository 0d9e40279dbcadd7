"""Policy documents: parsing and what is wrong with one.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html. Sizes are the caller's to limit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from freehold.iam import patterns
from freehold.iam.conditions import OPERATORS

Kind = Literal["identity", "resource", "trust"]
"""Where a document stands: on a principal (or as its boundary, or in its session), on a resource, on a role."""

_VERSIONS = ("2008-10-17", "2012-10-17")
_ELEMENTS = {
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
}
_SID = re.compile(r"[0-9A-Za-z]*")
_VENDOR = re.compile(r"[a-zA-Z0-9\-.]+")
_PARTITION = re.compile(r"aws|\*|aws-[a-z\-]+")
_TRUST_ACTION = re.compile(r"sts:.+|\*", re.IGNORECASE)
_PRINCIPAL_TYPES = ("AWS", "Service", "Federated", "CanonicalUser")
_ACCOUNT = re.compile(r"[0-9]{12}")
_PRINCIPAL_ARN = re.compile(
    r"arn:aws:(iam::[0-9]{12}:(root|(user|role)/[\x21-\x29\x2b-\x3e\x40-\x7e]+)"
    r"|sts::[0-9]{12}:(assumed-role/[\w+=,.@\-]+/[\w+=,.@\-]+|federated-user/[\w+=,.@\-]+))"
)
# What is left of a user or role that was deleted, as AWS shows it.
_PRINCIPAL_ID = re.compile(r"A[A-Z]{3}[A-Z0-9]{12,124}(:[\w+=,.@\-]+)?")
_SERVICE = re.compile(r"[a-z0-9\-.]+\.(amazonaws|amazon)\.com|[a-z0-9\-.]+\.internal")
_IAM_RESOURCES = (
    "user/", "federated-user/", "role/", "group/", "instance-profile/", "mfa/", "server-certificate/", "policy/",
    "sms-mfa/", "saml-provider/", "oidc-provider/", "report/", "access-report/",
)  # fmt: skip


class MalformedPolicy(ValueError):
    """What is wrong with a document, in AWS's words where it has any."""


_SYNTAX = "Syntax errors in policy."


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as it is written. `not_actions` and its like: the list says what is excepted. `resources` None: there
    is no such element. `principals` by their type: ``{"AWS": ["*"]}``. `conditions`: (operator, key, values)."""

    sid: str
    allow: bool
    actions: tuple[str, ...]
    not_actions: bool
    resources: tuple[str, ...] | None
    not_resources: bool
    principals: Mapping[str, tuple[str, ...]] | None
    not_principals: bool
    conditions: tuple[tuple[str, str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Document:
    version: str
    id: str | None
    statements: tuple[Statement, ...]

    @property
    def variables(self) -> bool:
        """Whether ``${…}`` means anything in it."""
        return self.version != "2008-10-17"

    def context_keys(self) -> list[str]:
        """The condition keys that it names, in conditions and as variables, each once, as they are written."""
        found: dict[str, str] = {}
        for statement in self.statements:
            texts = list(statement.resources or ())
            for _, key, values in statement.conditions:
                found.setdefault(key.lower(), key)
                texts += values
            for name in [name for text in texts if self.variables for name in patterns.variables(text)]:
                found.setdefault(name.lower(), name)
        return list(found.values())


def parse(text: str, kind: Kind) -> Document:
    """The document that a text is. Raises MalformedPolicy."""
    document = _json(text)
    if not isinstance(document, dict) or document.keys() - {"Version", "Id", "Statement"}:
        raise MalformedPolicy(_SYNTAX)
    version, policy_id = document.get("Version", "2008-10-17"), document.get("Id")
    if version not in _VERSIONS or not isinstance(policy_id, str | None):
        raise MalformedPolicy(_SYNTAX)
    given = document.get("Statement")
    given = [given] if isinstance(given, dict) else given
    if not isinstance(given, list) or not given:
        raise MalformedPolicy(_SYNTAX)
    statements = tuple(_statement(one, kind) for one in given)
    sids = [statement.sid for statement in statements if statement.sid]
    if len(sids) != len(set(sids)):
        raise MalformedPolicy("Statement IDs (SID) in a single policy must be unique.")
    return Document(version, policy_id, statements)


def spans(text: str) -> list[tuple[int, int]]:
    """Where each statement of a well-formed document begins and ends, as offsets into its text."""
    decoder = json.JSONDecoder()
    blank = re.compile(r"[ \t\r\n]*")

    def after(end: int) -> int:
        found = blank.match(text, end)
        assert found is not None
        return found.end()

    def members(start: int, named: bool) -> Iterator[tuple[str, int, int]]:
        """(name, start, end) of each value of the object or list that begins at `start`."""
        at = after(start + 1)
        while text[at] not in "]}":
            name = ""
            if named:
                name, end = decoder.raw_decode(text, at)
                at = after(after(end) + 1)
            _, end = decoder.raw_decode(text, at)
            yield name, at, end
            at = after(end)
            if text[at] == ",":
                at = after(at + 1)

    for name, start, end in members(after(0), named=True):
        if name == "Statement":
            return [(start, end)] if text[start] == "{" else [span[1:] for span in members(start, named=False)]
    return []


def _json(text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise MalformedPolicy(_SYNTAX)
        return dict(pairs)

    def refuse(_constant: str) -> Any:
        raise MalformedPolicy(_SYNTAX)

    try:
        found = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
        # What can not be written as UTF-8 (half of a surrogate pair) can not be answered either.
        json.dumps(found, ensure_ascii=False).encode()
    except MalformedPolicy:
        raise
    except (ValueError, RecursionError) as error:
        raise MalformedPolicy(_SYNTAX) from error
    return found


def _statement(given: Any, kind: Kind) -> Statement:
    if not isinstance(given, dict) or given.keys() - _ELEMENTS:
        raise MalformedPolicy(_SYNTAX)
    for name in ("Action", "Resource", "Principal"):
        if name in given and f"Not{name}" in given:
            raise MalformedPolicy(_SYNTAX)
    sid = given.get("Sid", "")
    if not isinstance(sid, str):
        raise MalformedPolicy(_SYNTAX)
    if "Effect" not in given:
        raise MalformedPolicy("Missing required field Effect")
    if given["Effect"] not in ("Allow", "Deny"):
        raise MalformedPolicy(_SYNTAX)
    # KMS and S3 take any text as the id of a statement; IAM does not.
    if kind != "resource" and not _SID.fullmatch(sid):
        raise MalformedPolicy(
            "Statement IDs (SID) must be alpha-numeric. "
            "Check that your input satisfies the regular expression [0-9A-Za-z]*"
        )
    return Statement(
        sid=sid,
        allow=given["Effect"] == "Allow",
        actions=_actions(given, kind),
        not_actions="NotAction" in given,
        resources=_resources(given, kind),
        not_resources="NotResource" in given,
        principals=_principals(given, kind),
        not_principals="NotPrincipal" in given,
        conditions=_conditions(given.get("Condition", {})),
    )


def _texts(given: Any) -> tuple[str, ...]:
    listed = given if isinstance(given, list) else [given]
    if not all(isinstance(one, str) for one in listed):
        raise MalformedPolicy(_SYNTAX)
    return tuple(listed)


def _actions(given: Mapping[str, Any], kind: Kind) -> tuple[str, ...]:
    actions = _texts(given.get("Action", given.get("NotAction", [])))
    if not actions:
        raise MalformedPolicy("Policy statement must contain actions.")
    for action in actions:
        vendor, colon, name = action.partition(":")
        if kind == "trust" and not _TRUST_ACTION.fullmatch(action):
            raise MalformedPolicy("AssumeRole policy may only specify STS AssumeRole actions.")
        if action == "*":
            continue
        if not colon:
            raise MalformedPolicy("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
        if ":" in name:
            raise MalformedPolicy("Actions/Condition can contain only one colon.")
        if not _VENDOR.fullmatch(vendor) or not name:
            raise MalformedPolicy(f"Vendor {vendor} is not valid")
    return actions


def _resources(given: Mapping[str, Any], kind: Kind) -> tuple[str, ...] | None:
    name = "NotResource" if "NotResource" in given else "Resource"
    if kind == "trust":
        if name in given:
            raise MalformedPolicy(f"Has prohibited field {name}")
        return None
    resources = _texts(given.get(name, []))
    if not resources:
        raise MalformedPolicy("Policy statement must contain resources.")
    for resource in resources:
        _check_resource(resource)
    return resources


def _check_resource(resource: str) -> None:
    if resource == "*":
        return
    arn, colon, rest = resource.partition(":")
    if not colon or arn != "arn":
        raise MalformedPolicy(f'Resource {resource} must be in ARN format or "*".')
    partition, colon, rest = rest.partition(":")
    if not _PARTITION.fullmatch(partition):
        parts = [*rest.split(":", 3), "*", "*", "*", "*"][:4]
        raise MalformedPolicy(
            f'Partition "{partition}" is not valid for resource "arn:{partition}:{":".join(p or "*" for p in parts)}".'
        )
    vendor, colon, rest = rest.partition(":")
    if not colon or not _VENDOR.fullmatch(vendor):
        raise MalformedPolicy("Resource vendor must be fully qualified and cannot contain regexes.")
    if vendor != "iam" or "$" in rest:
        return
    region, _, rest = rest.partition(":")
    if region:
        raise MalformedPolicy(f"IAM resource {resource} cannot contain region information.")
    path = rest.partition(":")[2]
    if path != "*" and not path.startswith(_IAM_RESOURCES) and path != "root":
        raise MalformedPolicy(f'IAM resource path must either be "*" or start with {", ".join(_IAM_RESOURCES)}.')


def _principals(given: Mapping[str, Any], kind: Kind) -> Mapping[str, tuple[str, ...]] | None:
    name = "NotPrincipal" if "NotPrincipal" in given else "Principal"
    if kind == "identity":
        if name in given:
            raise MalformedPolicy("Policy document should not specify a principal.")
        return None
    if name not in given:
        raise MalformedPolicy("Missing required field Principal")
    if kind == "trust" and name == "NotPrincipal":
        raise MalformedPolicy("Has prohibited field NotPrincipal")
    principals = given[name]
    if principals == "*":
        return {"AWS": ("*",)}
    if not isinstance(principals, dict) or not principals or principals.keys() - set(_PRINCIPAL_TYPES):
        raise MalformedPolicy(_SYNTAX)
    checked = {kind_of: _texts(names) for kind_of, names in principals.items()}
    for kind_of, names in checked.items():
        for one in names:
            _check_principal(kind_of, one)
    return checked


def _check_principal(kind: str, name: str) -> None:
    """Whether a principal can be one; whether there is such a user or role is the caller's to know."""
    match kind:
        case "AWS":
            good = name == "*" or any(form.fullmatch(name) for form in (_ACCOUNT, _PRINCIPAL_ARN, _PRINCIPAL_ID))
        case "Service":
            good = bool(_SERVICE.fullmatch(name))
        case _:
            good = bool(name)
    if not good:
        raise MalformedPolicy(f'Invalid principal in policy: "{kind}":"{name}"')


def _conditions(given: Any) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    if not isinstance(given, dict):
        raise MalformedPolicy(_SYNTAX)
    found = []
    for operator, block in given.items():
        if not isinstance(block, dict):
            raise MalformedPolicy(_SYNTAX)
        if operator not in OPERATORS:
            raise MalformedPolicy(f"Invalid Condition type : {operator}.")
        for key, values in block.items():
            if ":" not in key:
                raise MalformedPolicy("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
            listed = values if isinstance(values, list) else [values]
            found.append((operator, key, tuple(_value(value) for value in listed)))
    return tuple(found)


def _value(given: Any) -> str:
    """Booleans and numbers are written as JSON does."""
    if isinstance(given, str):
        return given
    if isinstance(given, bool | int | float):
        return json.dumps(given)
    raise MalformedPolicy(_SYNTAX)
