"""GetContextKeysForCustomPolicy and GetContextKeysForPrincipalPolicy: what a simulation has to be told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from freehold.iam.document import MalformedPolicy, parse
from freehold.services.iam.errors import InvalidInput
from freehold.services.iam.policy_sources import load_owner, source_named, sources, with_groups
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import (
        GetContextKeysForCustomPolicyRequestTypeDef,
        GetContextKeysForPrincipalPolicyRequestTypeDef,
    )


@operation()
def get_context_keys_for_custom_policy(call: Call, request: GetContextKeysForCustomPolicyRequestTypeDef) -> Response:
    """The condition keys and variables in the policies given. Raises InvalidInput for what is no policy."""
    refuse_others(request, {"PolicyInputList"})
    return {"ContextKeyNames": _keys(request["PolicyInputList"])}


@operation(resources=source_named)
def get_context_keys_for_principal_policy(
    call: Call, request: GetContextKeysForPrincipalPolicyRequestTypeDef
) -> Response:
    """Those in all policies of a user, with groups, a group or a role, and in the policies given."""
    refuse_others(request, {"PolicySourceArn", "PolicyInputList"})
    owner = load_owner(call, request["PolicySourceArn"])
    held = [source.text for one in with_groups(call, owner) for source in sources(call, one)]
    return {"ContextKeyNames": _keys([*held, *request.get("PolicyInputList", ())])}


def _keys(texts: Iterable[str]) -> list[str]:
    """Each once, as it is written first."""
    found: dict[str, str] = {}
    for text in texts:
        try:
            document = parse(text, "identity")
        except MalformedPolicy as error:
            raise InvalidInput(f"Invalid policy: {error}") from error
        for key in document.context_keys():
            found.setdefault(key.lower(), key)
    return list(found.values())
