"""What a caller asks of a session: its policies, tags, source identity and how long it lasts.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html#reference_iam-quotas-entity-length
https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from freehold.iam import managed
from freehold.iam.document import MalformedPolicy
from freehold.iam.evaluate import Policy
from freehold.records.identities import ManagedPolicy
from freehold.records.ids import AccountId
from freehold.records.sessions import Session
from freehold.services.operation import Call
from freehold.services.sts.errors import InvalidParameterValue, MalformedPolicyDocument, ValidationError

_POLICY_ARNS_MAX = 10
_POLICY_CHARACTERS_MAX = 2048
_TAGS_MAX = 50
_TAG_TEXT = re.compile(r"[\w\s_.:/=+\-@]*")  # letters, numbers and spaces of any script
CHAINED_SECONDS_MAX = 3600
"""https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining"""


def policies(call: Call, account_id: AccountId, request: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The session policies that Policy and PolicyArns of a request give: JSON texts, and ARNs of managed policies of
    the account. Raises MalformedPolicyDocument, ValidationError."""
    arns = tuple(given.get("arn") or "" for given in request.get("PolicyArns") or ())
    texts = (request["Policy"],) if request.get("Policy") else ()
    if len(arns) > _POLICY_ARNS_MAX:
        raise ValidationError(f"At most {_POLICY_ARNS_MAX} managed policies can be session policies.")
    if sum(map(len, (*arns, *texts))) > _POLICY_CHARACTERS_MAX:
        raise ValidationError(f"The session policies may have {_POLICY_CHARACTERS_MAX} characters in all.")
    for text in texts:
        try:
            Policy.of(text)
        except MalformedPolicy as error:
            raise MalformedPolicyDocument(str(error)) from None
    for arn in arns:
        if "\0" in arn or not _exists(call, account_id, arn):
            raise ValidationError(f"Policy {arn} does not exist or is not attachable.")
    return texts, arns


def _exists(call: Call, account_id: AccountId, arn: str) -> bool:
    if arn in managed.policies():
        return managed.policies()[arn].attachable
    return call.tx.find(ManagedPolicy, arn=arn, account_id=account_id) is not None


def tags(request: Mapping[str, Any], before: Session | None = None) -> tuple[dict[str, str], tuple[str, ...]]:
    """The tags of the new session and which of them are transitive: those of Tags and TransitiveTagKeys, and those
    that come down from the session before. Raises InvalidParameterValue, ValidationError."""
    given = {tag["Key"]: tag["Value"] for tag in request.get("Tags") or ()}
    if len({key.lower() for key in given}) < len(request.get("Tags") or ()):
        raise InvalidParameterValue("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    return with_inherited(given, tuple(request.get("TransitiveTagKeys") or ()), before)


def with_inherited(
    given: Mapping[str, str], transitive: Sequence[str], before: Session | None = None
) -> tuple[dict[str, str], tuple[str, ...]]:
    """`tags`, of tags and transitive keys however they were given."""
    for key, value in given.items():
        _check_tag(key, value)
    own = {key.lower(): key for key in given}
    if not {key.lower() for key in transitive} <= own.keys():
        raise InvalidParameterValue("The specified transitive tag key must be included in the requested tags.")
    inherited = {key: before.tags[key] for key in before.transitive_tag_keys} if before is not None else {}
    if own.keys() & {key.lower() for key in inherited}:
        raise InvalidParameterValue(
            "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from "
            "the calling session."
        )
    if len(inherited) + len(given) > _TAGS_MAX:
        raise ValidationError(f"A session may have {_TAGS_MAX} tags.")
    return {**inherited, **given}, (*inherited, *(own[key.lower()] for key in transitive))


def _check_tag(key: str, value: str) -> None:
    if not 1 <= len(key) <= 128 or not _TAG_TEXT.fullmatch(key) or key.lower().startswith("aws:"):
        raise ValidationError(
            "A tag's key must have 1 to 128 letters, digits, spaces or characters of _.:/=+-@, and not begin with aws:"
        )
    if len(value) > 256 or not _TAG_TEXT.fullmatch(value):
        raise ValidationError("A tag's value may have 256 letters, digits, spaces or characters of _.:/=+-@")


def source_identity(requested: str | None, before: Session | None = None) -> str | None:
    """The source identity of the new session: once set, it stays. Raises ValidationError for another one."""
    inherited = before.source_identity if before is not None else None
    if requested and inherited and requested != inherited:
        raise ValidationError("The source identity of a session can not be changed by those that follow it.")
    return requested or inherited


def seconds(requested: int | None, role_seconds_max: int, *, chained: bool) -> int:
    """How long a role's session lasts: an hour unless said otherwise. Raises ValidationError for too long."""
    wanted = 3600 if requested is None else requested
    if chained and wanted > CHAINED_SECONDS_MAX:
        raise ValidationError(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."
        )
    if wanted > role_seconds_max:
        raise ValidationError("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
    return wanted
