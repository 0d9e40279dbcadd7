"""Credentials that exist in AWS and not here: SSH keys, certificates, passwords of other services, SAML providers.

There are none, which is what the lists say: tools read them before they delete a user. To upload or create one is
refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from freehold.services.iam.paging import page_of
from freehold.services.iam.resources import all_under, load_user, user_named
from freehold.services.iam.users import own_user
from freehold.services.operation import Call, Request, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import (
        ListServerCertificatesRequestTypeDef,
        ListServiceSpecificCredentialsRequestTypeDef,
        ListSigningCertificatesRequestTypeDef,
        ListSSHPublicKeysRequestTypeDef,
    )


@operation(resources=user_named)
def list_ssh_public_keys(call: Call, request: ListSSHPublicKeysRequestTypeDef) -> Response:
    """None. Raises NoSuchEntity for a user that does not exist."""
    refuse_others(request, {"UserName", "Marker", "MaxItems"})
    return {"SSHPublicKeys": [], **_none(call, request)}


@operation(resources=user_named)
def list_signing_certificates(call: Call, request: ListSigningCertificatesRequestTypeDef) -> Response:
    """None. Raises NoSuchEntity for a user that does not exist."""
    refuse_others(request, {"UserName", "Marker", "MaxItems"})
    return {"Certificates": [], **_none(call, request)}


@operation(resources=user_named)
def list_service_specific_credentials(call: Call, request: ListServiceSpecificCredentialsRequestTypeDef) -> Response:
    """None, of whatever ServiceName, and with AllUsers as well. Raises NoSuchEntity for a user that does not exist."""
    refuse_others(request, {"UserName", "ServiceName", "AllUsers", "Marker", "MaxItems"})
    return {"ServiceSpecificCredentials": [], **_none(call, request)}


@operation(resources=all_under("server-certificate"))
def list_server_certificates(call: Call, request: ListServerCertificatesRequestTypeDef) -> Response:
    """None, under whatever PathPrefix."""
    refuse_others(request, {"PathPrefix", "Marker", "MaxItems"})
    return {"ServerCertificateMetadataList": [], **page_of(call, request, list[str](), str).end}


@operation()
def list_saml_providers(_call: Call, _request: Request) -> Response:
    """None."""
    return {"SAMLProviderList": []}


def _none(call: Call, request: Any) -> Any:
    if "UserName" in request:
        load_user(call, request["UserName"])
    elif call.principal.kind != "root" and not request.get("AllUsers"):
        own_user(call)
    return page_of(call, request, list[str](), str).end
