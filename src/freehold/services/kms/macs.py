"""HMAC keys: GenerateMac, VerifyMac."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from freehold.records.keys import Key
from freehold.services.kms import materials
from freehold.services.kms.errors import DryRun, InvalidMac
from freehold.services.kms.grant_tokens import check_tokens
from freehold.services.kms.key_ids import find, key_arn
from freehold.services.kms.permissions import named_by
from freehold.services.kms.specs import MAC, hash_of
from freehold.services.kms.usage import check_use
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_kms.type_defs import GenerateMacRequestTypeDef, VerifyMacRequestTypeDef

_OF_MESSAGE = {"GrantTokens", "KeyId", "MacAlgorithm", "Message"}


@operation(resources=named_by(), read_only=True)
def generate_mac(call: Call, request: GenerateMacRequestTypeDef) -> Response:
    """Raises NotFoundException, DisabledException, KMSInvalidStateException, InvalidKeyUsageException."""
    refuse_others(request, _OF_MESSAGE)
    key, mac = _mac(call, request)
    return {"Mac": mac, "MacAlgorithm": request["MacAlgorithm"], "KeyId": key_arn(key)}


@operation(resources=named_by(), read_only=True)
def verify_mac(call: Call, request: VerifyMacRequestTypeDef) -> Response:
    """Raises KMSInvalidMacException, and what GenerateMac raises."""
    refuse_others(request, {*_OF_MESSAGE, "Mac"})
    key, mac = _mac(call, request)
    if not hmac.compare_digest(mac, cast(bytes, request["Mac"])):
        raise InvalidMac()
    return {"KeyId": key_arn(key), "MacValid": True, "MacAlgorithm": request["MacAlgorithm"]}


def _mac(call: Call, request: Mapping[str, Any]) -> tuple[Key, bytes]:
    check_tokens(call, request)
    key = find(call, request["KeyId"])
    check_use(call, key, MAC, request["MacAlgorithm"])
    _record, material = materials.current(call.tx, call.sealer, key)
    if request.get("DryRun"):
        raise DryRun()
    return key, hmac.digest(material, request["Message"], hash_of(request["MacAlgorithm"]).name)
