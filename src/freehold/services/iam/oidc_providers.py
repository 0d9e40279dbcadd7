"""OpenID Connect identity providers: whose tokens AssumeRoleWithWebIdentity takes.

https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from freehold.records.feed import take_turn
from freehold.records.identities import OidcProvider
from freehold.records.tags import delete_tags_of, tags_of
from freehold.services.iam import tags
from freehold.services.iam.errors import EntityAlreadyExists, InvalidInput, LimitExceeded, NoSuchEntity
from freehold.services.iam.resources import arn_of, of_tagged
from freehold.services.operation import Call, Needed, Request, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import (
        AddClientIDToOpenIDConnectProviderRequestTypeDef,
        CreateOpenIDConnectProviderRequestTypeDef,
        DeleteOpenIDConnectProviderRequestTypeDef,
        GetOpenIDConnectProviderRequestTypeDef,
        ListOpenIDConnectProviderTagsRequestTypeDef,
        RemoveClientIDFromOpenIDConnectProviderRequestTypeDef,
        TagOpenIDConnectProviderRequestTypeDef,
        UntagOpenIDConnectProviderRequestTypeDef,
        UpdateOpenIDConnectProviderThumbprintRequestTypeDef,
    )

MAX_PROVIDERS = 100
MAX_CLIENT_IDS = 100
MAX_THUMBPRINTS = 5

# A host and a path, without user, query and fragment. AWS wants no port; here a provider may well be a program beside
# the cloud.
_HOST, _PORT, _PATH = r"[A-Za-z0-9.-]+", r"(?::[0-9]{1,5})?", r"(?:/[A-Za-z0-9._~%!$&'()*+,;=:@/-]*)?"
_URL = re.compile(f"https://({_HOST}{_PORT}{_PATH})")
_THUMBPRINT = re.compile(r"[0-9A-Fa-f]{40}")
_CLIENT_ID = re.compile(r"[\x20-\x7e]{1,255}")


def _created(call: Call, request: CreateOpenIDConnectProviderRequestTypeDef) -> list[str]:
    return [_arn(call, request["Url"].removeprefix("https://").rstrip("/"))]


@operation(resources=_created)
def create_open_id_connect_provider(call: Call, request: CreateOpenIDConnectProviderRequestTypeDef) -> Response:
    """A provider without thumbprints is known by a certificate that this machine trusts. Raises EntityAlreadyExists,
    InvalidInput, LimitExceeded."""
    refuse_others(request, {"Url", "ClientIDList", "ThumbprintList", "Tags"})
    written = _URL.fullmatch(request["Url"])
    if written is None:
        raise InvalidInput("Invalid Open ID Connect Provider URL")
    url = written[1].rstrip("/")
    client_ids = _checked_client_ids(request.get("ClientIDList", ()))
    thumbprints = _checked_thumbprints(request.get("ThumbprintList", ()))
    pairs = tags.checked(request.get("Tags"), "oidc-provider")
    take_turn(call.tx)
    arn = _arn(call, url)
    if call.tx.get(OidcProvider, arn) is not None:
        raise EntityAlreadyExists(f"Provider with url https://{url}")
    if call.tx.count(OidcProvider, account_id=call.account_id) >= MAX_PROVIDERS:
        raise LimitExceeded("OpenIdConnectProvidersPerAccount", MAX_PROVIDERS)
    call.tx.insert(OidcProvider(arn, call.account_id, url, client_ids, thumbprints, call.now))
    tags.put(call, "oidc-provider", arn, pairs)
    return {"OpenIDConnectProviderArn": arn, **_tags(call, arn)}


def _named(call: Call, request: Any) -> list[Needed]:
    return [of_tagged(call, request["OpenIDConnectProviderArn"])]


@operation(resources=_named)
def get_open_id_connect_provider(call: Call, request: GetOpenIDConnectProviderRequestTypeDef) -> Response:
    """Its Url is without ``https://``, as in AWS."""
    refuse_others(request, {"OpenIDConnectProviderArn"})
    provider = _load(call, request)
    return {
        "Url": provider.url,
        "ClientIDList": provider.client_ids,
        "ThumbprintList": provider.thumbprints,
        "CreateDate": provider.created_at,
        **_tags(call, provider.arn),
    }


@operation()
def list_open_id_connect_providers(call: Call, _request: Request) -> Response:
    """The ARNs of all, in one answer."""
    found = call.tx.select(OidcProvider, account_id=call.account_id)
    return {"OpenIDConnectProviderList": [{"Arn": provider.arn} for provider in found]}


@operation(resources=_named)
def update_open_id_connect_provider_thumbprint(
    call: Call, request: UpdateOpenIDConnectProviderThumbprintRequestTypeDef
) -> Response:
    """In the place of all that there were."""
    refuse_others(request, {"OpenIDConnectProviderArn", "ThumbprintList"})
    thumbprints = _checked_thumbprints(request["ThumbprintList"])
    take_turn(call.tx)
    call.tx.update(_load(call, request), thumbprints=thumbprints)
    return {}


@operation(resources=_named)
def add_client_id_to_open_id_connect_provider(
    call: Call, request: AddClientIDToOpenIDConnectProviderRequestTypeDef
) -> Response:
    """One that it has already makes no difference."""
    refuse_others(request, {"OpenIDConnectProviderArn", "ClientID"})
    take_turn(call.tx)
    provider = _load(call, request)
    call.tx.update(provider, client_ids=_checked_client_ids([*provider.client_ids, request["ClientID"]]))
    return {}


@operation(resources=_named)
def remove_client_id_from_open_id_connect_provider(
    call: Call, request: RemoveClientIDFromOpenIDConnectProviderRequestTypeDef
) -> Response:
    """One that it does not have makes no difference."""
    refuse_others(request, {"OpenIDConnectProviderArn", "ClientID"})
    take_turn(call.tx)
    provider = _load(call, request)
    rest = [client_id for client_id in provider.client_ids if client_id != request["ClientID"]]
    call.tx.update(provider, client_ids=rest)
    return {}


@operation(resources=_named)
def delete_open_id_connect_provider(call: Call, request: DeleteOpenIDConnectProviderRequestTypeDef) -> Response:
    """One that does not exist is deleted, as in AWS. Roles that trust it stay, and nobody can assume them by it."""
    refuse_others(request, {"OpenIDConnectProviderArn"})
    take_turn(call.tx)
    arn = request["OpenIDConnectProviderArn"]
    if "\0" not in arn and call.tx.delete_where(OidcProvider, arn=arn, account_id=call.account_id):
        delete_tags_of(call.tx, arn)
    return {}


@operation(resources=_named)
def tag_open_id_connect_provider(call: Call, request: TagOpenIDConnectProviderRequestTypeDef) -> Response:
    """Raises LimitExceeded at more than 50 tags."""
    refuse_others(request, {"OpenIDConnectProviderArn", "Tags"})
    pairs = tags.checked(request["Tags"], "oidc-provider")
    take_turn(call.tx)
    tags.put(call, "oidc-provider", _load(call, request).arn, pairs)
    return {}


@operation(resources=_named)
def untag_open_id_connect_provider(call: Call, request: UntagOpenIDConnectProviderRequestTypeDef) -> Response:
    """Keys that the provider has no tag with make no difference."""
    refuse_others(request, {"OpenIDConnectProviderArn", "TagKeys"})
    take_turn(call.tx)
    tags.remove(call, "oidc-provider", _load(call, request).arn, request["TagKeys"])
    return {}


@operation(resources=_named)
def list_open_id_connect_provider_tags(call: Call, request: ListOpenIDConnectProviderTagsRequestTypeDef) -> Response:
    """By key."""
    refuse_others(request, {"OpenIDConnectProviderArn", "Marker", "MaxItems"})
    return tags.listed(call, request, _load(call, request).arn)


def _arn(call: Call, url: str) -> str:
    return arn_of(call.account_id, "oidc-provider", "/", url)


def _load(call: Call, request: Any) -> OidcProvider:
    arn = request["OpenIDConnectProviderArn"]
    found = call.tx.find(OidcProvider, arn=arn, account_id=call.account_id) if "\0" not in arn else None
    if found is None:
        raise NoSuchEntity(f"The OpenIDConnect Provider with ARN {arn}")
    return found


def _tags(call: Call, arn: str) -> dict[str, Any]:
    held = tags_of(call.tx, [arn])[arn]
    return {"Tags": tags.tag_list(held)} if held else {}


def _checked_client_ids(given: Iterable[str]) -> list[str]:
    client_ids = list(dict.fromkeys(given))
    if not all(_CLIENT_ID.fullmatch(client_id) for client_id in client_ids):
        raise InvalidInput("A client ID has 1 to 255 printable ASCII characters.")
    if len(client_ids) > MAX_CLIENT_IDS:
        raise LimitExceeded("ClientIdsPerOpenIdConnectProvider", MAX_CLIENT_IDS)
    return client_ids


def _checked_thumbprints(given: Sequence[str]) -> list[str]:
    if len(given) > MAX_THUMBPRINTS:
        raise InvalidInput("Thumbprint list must contain fewer than 5 entries.")
    if not all(_THUMBPRINT.fullmatch(thumbprint) for thumbprint in given):
        raise InvalidInput("A thumbprint has 40 hexadecimal digits.")
    return list(given)
