"""Temporary credentials in answers, and how long they last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from freehold.records import sessions
from freehold.records.sessions import TOKEN_CHARACTERS_MAX, Holder, Session
from freehold.services.operation import Call
from freehold.services.sts.errors import PackedPolicyTooLarge

if TYPE_CHECKING:
    from mypy_boto3_sts.type_defs import CredentialsTypeDef

_ROOT_SECONDS_MAX = 3600


def issued(call: Call, holder: Holder, session: Session) -> dict[str, Any]:
    """Fresh credentials and what is said of their token, as members of an answer. Raises PackedPolicyTooLarge."""
    made = sessions.issue(call.sealer, holder, session)
    size = len(made.session_token)
    if size > TOKEN_CHARACTERS_MAX:
        raise PackedPolicyTooLarge(size, TOKEN_CHARACTERS_MAX)
    credentials: CredentialsTypeDef = {
        "AccessKeyId": made.access_key_id,
        "SecretAccessKey": made.secret_access_key,
        "SessionToken": made.session_token,
        "Expiration": made.expires_at,
    }
    return {
        "Credentials": credentials,
        "SessionTokenSize": size,
        "SessionTokenUtilization": -(-100 * size // TOKEN_CHARACTERS_MAX),
    }


def packed(answer: dict[str, Any], session: Session) -> dict[str, Any]:
    """The answer with PackedPolicySize, if there is something packed into the token."""
    if session.policies or session.policy_arns or session.tags:
        return answer | {"PackedPolicySize": answer["SessionTokenUtilization"]}
    return answer


def seconds_of(call: Call, requested: int | None) -> int:
    """How long credentials of a user or root last: half a day if not said, an hour at most for root.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html"""
    seconds = 43200 if requested is None else requested
    return min(seconds, _ROOT_SECONDS_MAX) if call.principal.kind == "root" else seconds
