"""Policy documents as IAM takes them and gives them back.

The language is freehold.iam.document's; here are the sizes (white space is not counted:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html#reference_iam-quotas-entity-length), and
whether a trust policy names anyone whom there is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import quote

import sqlalchemy as sa

from freehold.iam.document import Document, MalformedPolicy, parse
from freehold.records.accounts import Account, User
from freehold.records.identities import Role, roles
from freehold.records.ids import AccountId
from freehold.services.iam.errors import LimitExceeded, ValidationError
from freehold.services.iam.policy_errors import MalformedPolicyDocument
from freehold.services.iam.resources import arn
from freehold.services.operation import Call

MANAGED_CHARACTERS_MAX = 6144
TRUST_CHARACTERS_MAX = 2048

_LATIN = re.compile(r"[\t\n\r\x20-\xff]*")
_BLANK = re.compile(r"[\t\n\r ]+")
_ACCOUNT = re.compile(r"(?:arn:aws:iam::)?([0-9]{12})(?::root)?")
_NAMED = re.compile(r"arn:aws:iam::([0-9]{12}):(user|role)(/(?:.+/)?)([^/]+)")
_SESSION = re.compile(r"arn:aws:sts::([0-9]{12}):(assumed-role|federated-user)/([^/]+)(?:/.+)?")
_PROVIDER = re.compile(r"arn:aws:iam::[0-9]{12}:(?:oidc|saml)-provider/.+|[a-z0-9-]+(?:\.[a-z0-9-]+)+")


def _check_characters(text: str) -> None:
    """The model says it of shorter texts only (front/protocols/constraints)."""
    if not _LATIN.fullmatch(text):
        raise ValidationError("The policy document has characters other than tab, line feed and U+0020 to U+00FF.")


def characters(text: str) -> int:
    """The size of a document as IAM's quotas count it."""
    return len(_BLANK.sub("", text))


def encoded(text: str) -> str:
    """A document as every answer has it: URL-encoded by RFC 3986, a space as ``%20``."""
    return quote(text, safe="")


def identity_policy(text: str) -> Document:
    """A policy for users, groups and roles, or a managed one. Raises MalformedPolicyDocument."""
    _check_characters(text)
    try:
        return parse(text, "identity")
    except MalformedPolicy as error:
        raise MalformedPolicyDocument(str(error)) from error


def managed_policy(text: str) -> str:
    """The text of a managed policy, checked. Raises MalformedPolicyDocument or LimitExceeded."""
    identity_policy(text)
    if characters(text) > MANAGED_CHARACTERS_MAX:
        raise LimitExceeded("PolicySize", MANAGED_CHARACTERS_MAX)
    return text


def trust_policy(call: Call, text: str) -> str:
    """The text of who may assume a role, checked: whoever it names exists. Raises MalformedPolicyDocument or
    LimitExceeded."""
    _check_characters(text)
    try:
        document = parse(text, "trust")
    except MalformedPolicy as error:
        raise MalformedPolicyDocument(str(error)) from error
    if characters(text) > TRUST_CHARACTERS_MAX:
        raise LimitExceeded("ACLSizePerRole", TRUST_CHARACTERS_MAX)
    for kind, name in _principals(document):
        if not _exists(call, kind, name):
            raise MalformedPolicyDocument(f'Invalid principal in policy: "{kind.upper()}":"{name}"')
    return text


def forget_principal(call: Call, gone: User | Role) -> None:
    """A user or role is deleted: trust policies, of any account, that name it name its unique id from now on, so that
    whoever gets the name next is not trusted.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
    """
    names = {arn(gone): gone.id}
    session = f"arn:aws:sts::{gone.account_id}:assumed-role/{gone.name}/" if isinstance(gone, Role) else None
    naming = sa.or_(*(roles.c.trust_policy.contains(text, autoescape=True) for text in (*names, session) if text))
    for role in call.tx.select(Role, naming):
        document = json.loads(role.trust_policy)
        statements = document["Statement"]
        for statement in [statements] if isinstance(statements, dict) else statements:
            principal = statement["Principal"]
            if isinstance(principal, dict) and "AWS" in principal:
                given = principal["AWS"]
                named = [
                    f"{gone.id}:{name.removeprefix(session)}"
                    if session and name.startswith(session)
                    else names.get(name, name)
                    for name in ([given] if isinstance(given, str) else given)
                ]
                principal["AWS"] = named[0] if isinstance(given, str) else named
        call.tx.update(role, trust_policy=json.dumps(document, separators=(",", ":")))


def _principals(document: Document) -> Iterator[tuple[str, str]]:
    for statement in document.statements:
        for kind, names in (statement.principals or {}).items():
            for name in names:
                yield kind, name


def _exists(call: Call, kind: str, name: str) -> bool:
    """Services are known by the form of their names alone; identity providers may come later than who trusts them."""
    if kind == "Service" or name == "*":
        return True
    if kind == "Federated":
        return _PROVIDER.fullmatch(name) is not None
    if kind != "AWS":
        return False
    if account := _ACCOUNT.fullmatch(name):
        return call.tx.get(Account, account[1]) is not None
    if named := _NAMED.fullmatch(name):
        record: type[User] | type[Role] = User if named[2] == "user" else Role
        found = call.tx.find(record, account_id=AccountId(named[1]), folded=named[4].lower())
        return found is not None and (found.path, found.name) == (named[3], named[4])
    if session := _SESSION.fullmatch(name):
        if session[2] == "federated-user":
            return call.tx.get(Account, session[1]) is not None
        return call.tx.find(Role, account_id=AccountId(session[1]), folded=session[3].lower()) is not None
    unique_id = name.partition(":")[0]
    return call.tx.get(User, unique_id) is not None or call.tx.get(Role, unique_id) is not None
