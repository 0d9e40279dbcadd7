"""AssumeRoleWithWebIdentity: a role for who has a token of an OpenID Connect provider.

The call is not signed: the token proves who sends it. The account of the role must have registered the token's issuer
(CreateOpenIDConnectProvider) for the token's audience, and the role's trust policy must name the provider.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from freehold.config import Config
from freehold.iam.patterns import Value
from freehold.iam.principals import Who
from freehold.records.identities import OidcProvider
from freehold.records.sessions import Holder, Session
from freehold.records.store import Transaction
from freehold.services.operation import Call, Principal, Proof, Response, operation
from freehold.services.parameters import refuse_others
from freehold.services.sts import identity_tokens, session_parameters, trust
from freehold.services.sts.credentials import issued, packed
from freehold.services.sts.errors import AccessDenied, InvalidIdentityToken
from freehold.services.sts.identity_tokens import Identity
from freehold.services.sts.providers import ProviderKeys

if TYPE_CHECKING:
    from mypy_boto3_sts.type_defs import AssumeRoleWithWebIdentityRequestTypeDef

_keys = ProviderKeys()
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html#condition-keys-wif
_CLAIMS = ("amr", "aud", "azp", "email", "oaud", "sub")


def _prove(
    read: Callable[[], AbstractContextManager[Transaction]],
    config: Config,
    request: AssumeRoleWithWebIdentityRequestTypeDef,
) -> Proof:
    """Who the token is about. Raises InvalidIdentityToken, ExpiredTokenException, IDPCommunicationError."""
    token = request["WebIdentityToken"]
    account_id = trust.account_of(request["RoleArn"])
    url, key_id = identity_tokens.issuer_of(token)
    arn = f"arn:aws:iam::{account_id}:oidc-provider/{url}"
    with read() as tx:
        provider, now = tx.get(OidcProvider, arn), tx.now
    if provider is None:
        raise InvalidIdentityToken(f"No OpenIDConnect provider found in your account for https://{url}")
    # No transaction is open while the provider is asked, which may take seconds.
    keys = _keys.of(account_id, provider.url, key_id, config.identity_providers)
    identity = identity_tokens.verified(token, keys, provider.url, provider.client_ids, now)
    unique_id = f"{arn}:{identity.audience}:{identity.subject}"
    return Proof(Principal(account_id, arn, unique_id, "web-identity", "", identity.subject, arn), identity)


@operation(prove=_prove, read_only=True)
def assume_role_with_web_identity(call: Call, request: AssumeRoleWithWebIdentityRequestTypeDef) -> Response:
    """https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html"""
    refuse_others(
        request,
        {"DurationSeconds", "Policy", "PolicyArns", "RoleArn", "RoleSessionName", "WebIdentityToken"},
        {"MinimumSessionTokenSize": 0},
    )
    identity: Identity = call.prepared
    policies, policy_arns = session_parameters.policies(call, call.account_id, request)
    tags, transitive = session_parameters.with_inherited(identity.tags, identity.transitive_tag_keys)
    role = trust.role_named(call.tx, request["RoleArn"])
    who = Who(call.principal.arn, kind="Federated")
    actions = trust.actions_of(
        "sts:AssumeRoleWithWebIdentity", tagged=bool(tags), source_identity=identity.source_identity is not None
    )
    context = _context(call, request, identity, tags, transitive)
    if role is None or not trust.trusts(role, request["RoleArn"], who, actions, context):
        raise AccessDenied("Not authorized to perform sts:AssumeRoleWithWebIdentity")
    seconds = session_parameters.seconds(request.get("DurationSeconds"), role.session_seconds_max, chained=False)
    name = request["RoleSessionName"]
    session = Session(
        call.now,
        call.now + dt.timedelta(seconds=seconds),
        policies=policies,
        policy_arns=policy_arns,
        tags=tags,
        transitive_tag_keys=transitive,
        source_identity=identity.source_identity,
        provider=call.principal.arn,
    )
    answer: dict[str, Any] = {
        **issued(call, Holder(role.account_id, "role", role.id, name), session),
        "AssumedRoleUser": {
            "AssumedRoleId": f"{role.id}:{name}",
            "Arn": f"arn:aws:sts::{role.account_id}:assumed-role/{role.name}/{name}",
        },
        "SubjectFromWebIdentityToken": identity.subject,
        "Provider": call.principal.arn,
        "Audience": identity.audience,
    }
    if identity.source_identity is not None:
        answer["SourceIdentity"] = identity.source_identity
    return packed(answer, session)


def _context(
    call: Call,
    request: AssumeRoleWithWebIdentityRequestTypeDef,
    identity: Identity,
    tags: Mapping[str, str],
    transitive: tuple[str, ...],
) -> dict[str, Value]:
    """What the conditions of a trust policy may ask of."""
    context: dict[str, Value] = {
        "aws:currenttime": f"{call.now:%Y-%m-%dT%H:%M:%SZ}",
        "aws:epochtime": str(int(call.now.timestamp())),
        "aws:federatedprovider": call.principal.arn,
        "aws:requestedregion": call.region,
        "aws:securetransport": "true" if call.secure else "false",
        "aws:sourceip": call.source_ip if call.source_vpc is None else None,
        "aws:sourcevpc": call.source_vpc,
        "aws:useragent": call.user_agent,
        "aws:vpcsourceip": call.source_ip if call.source_vpc is not None else None,
        "sts:rolesessionname": request["RoleSessionName"],
        "sts:sourceidentity": identity.source_identity,
        "sts:transitivetagkeys": list(transitive) or None,
        "aws:tagkeys": list(tags) or None,
    }
    context |= {f"aws:requesttag/{key.lower()}": value for key, value in tags.items()}
    for claim in _CLAIMS:
        value = identity.audience if claim == "aud" else identity.claims.get(claim)
        if isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value)):
            context[f"{identity.provider.lower()}:{claim}"] = value
    return context
