"""Identity tokens of OpenID Connect providers: read, and verified with the provider's keys.

https://openid.net/specs/openid-connect-core-1_0.html §3.1.3.7;
https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from freehold.services.sts.errors import ExpiredIdentityToken, InvalidIdentityToken

ALGORITHMS = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"]
"""https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html (WebIdentityToken)"""

_LEEWAY_SECONDS = 300  # clocks differ
_TAGS = "https://aws.amazon.com/tags"
_SOURCE_IDENTITY = "https://aws.amazon.com/source_identity"


class NotAToken(InvalidIdentityToken):
    def __init__(self) -> None:
        super().__init__(
            "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
        )


@dataclass(frozen=True, slots=True)
class Identity:
    """What a verified token says. `provider` is the issuer without ``https://``."""

    provider: str
    subject: str
    audience: str
    claims: Mapping[str, Any]
    tags: Mapping[str, str]
    transitive_tag_keys: Sequence[str]
    source_identity: str | None


def issuer_of(token: str) -> tuple[str, str | None]:
    """The issuer (without ``https://``) and the key id that a token names, none of it proven. Raises NotAToken."""
    parts = token.split(".")
    if len(parts) != 3:
        raise NotAToken
    header, claims = _part(parts[0]), _part(parts[1])
    issuer, key_id = claims.get("iss"), header.get("kid")
    if not isinstance(issuer, str) or not issuer.startswith("https://") or "\0" in issuer:
        raise NotAToken
    return issuer.removeprefix("https://"), key_id if isinstance(key_id, str) else None


def verified(token: str, keys: KeySet, provider: str, client_ids: Sequence[str], now: dt.datetime) -> Identity:
    """What a token says whose signature, issuer, audience and times are right.

    Raises InvalidIdentityToken, ExpiredIdentityToken."""
    try:
        claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise InvalidIdentityToken("The signature of the identity token could not be verified.") from error
    if claims.get("iss") != f"https://{provider}":
        raise InvalidIdentityToken("Incorrect token issuer")
    _check_times(claims, now.timestamp())
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise InvalidIdentityToken("Missing a required claim: sub")
    given = claims.get("aud")
    audiences = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    # The party that the token was issued to, where it was made for several.
    audience = claims.get("azp") if len(audiences) > 1 else next(iter(audiences), None)
    if not isinstance(audience, str) or audience not in client_ids:
        raise InvalidIdentityToken("Incorrect token audience")
    tags, transitive = _tags(claims.get(_TAGS))
    source_identity = claims.get(_SOURCE_IDENTITY)
    if source_identity is not None and not isinstance(source_identity, str):
        raise InvalidIdentityToken(f"The claim {_SOURCE_IDENTITY} must be a string")
    return Identity(provider, subject, audience, claims, tags, transitive, source_identity)


def _part(text: str) -> dict[str, Any]:
    try:
        found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        raise NotAToken from None
    if not isinstance(found, dict):
        raise NotAToken
    return found


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    """`exp` and `iat` are required, `nbf` counts if it is there."""
    moments: dict[str, float] = {}
    for name in ("exp", "iat", "nbf"):
        value = claims.get(name)
        if value is None and name == "nbf":
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
            raise InvalidIdentityToken(f"Missing a required claim: {name}")
        moments[name] = value
    if moments["exp"] <= now:
        raise ExpiredIdentityToken
    if max(moments["iat"], moments.get("nbf", 0)) > now + _LEEWAY_SECONDS:
        raise InvalidIdentityToken("The identity token is not valid yet")


def _tags(claim: Any) -> tuple[Mapping[str, str], Sequence[str]]:
    """Session tags.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_adding-assume-role-idp"""
    if claim is None:
        return {}, ()
    wrong = InvalidIdentityToken(f"The claim {_TAGS} must have principal_tags and may have transitive_tag_keys")
    if not isinstance(claim, dict) or not isinstance(claim.get("principal_tags"), dict):
        raise wrong
    tags = {}
    for key, values in claim["principal_tags"].items():
        value = values[0] if isinstance(values, list) and len(values) == 1 else values
        if not isinstance(value, str):
            raise wrong
        tags[key] = value
    transitive = claim.get("transitive_tag_keys", [])
    if not isinstance(transitive, list) or not all(isinstance(key, str) for key in transitive):
        raise wrong
    return tags, transitive
