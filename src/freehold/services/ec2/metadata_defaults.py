"""What an account prefers of instance metadata options in a region: {Get,Modify}InstanceMetadataDefaults, and what
launches take of it. What a launch itself says comes first; what nobody says is Freehold's default (IMDSv2 required).

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-options.html#instance-metadata-options-order-of-precedence
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from freehold.records.compute import MetadataDefaults, MetadataOptions
from freehold.records.feed import take_turn
from freehold.services.ec2.compute_errors import HttpTokensEnforced
from freehold.services.ec2.condition_keys import written
from freehold.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue
from freehold.services.ec2.parameters import refuse_others
from freehold.services.operation import Call, Needed, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        GetInstanceMetadataDefaultsRequestTypeDef,
        ModifyInstanceMetadataDefaultsRequestTypeDef,
    )

HOP_LIMIT_MAX = 64
_NO_PREFERENCE = ("no-preference", -1)

_FIELDS = {
    "HttpTokens": "http_tokens",
    "HttpPutResponseHopLimit": "http_put_response_hop_limit",
    "HttpEndpoint": "http_endpoint",
    "InstanceMetadataTags": "instance_metadata_tags",
    "HttpTokensEnforced": "enforced",
}


@operation()
def get_instance_metadata_defaults(call: Call, request: GetInstanceMetadataDefaultsRequestTypeDef) -> Response:
    """Only what the account prefers."""
    refuse_others(request, set())
    kept = _kept(call)
    shown = {name: getattr(kept, field) for name, field in _FIELDS.items() if getattr(kept, field) is not None}
    return {"AccountLevel": {**shown, "ManagedBy": "account"}}


def _changed(_call: Call, request: Mapping[str, Any]) -> list[Needed]:
    keys = {f"ec2:Attribute/{name}": written(value) for name, value in _given(request).items()}
    return [Needed("*", keys=lambda: keys)]


@operation(resources=_changed)
def modify_instance_metadata_defaults(call: Call, request: ModifyInstanceMetadataDefaultsRequestTypeDef) -> Response:
    """For the instances that are launched from here on. Raises InvalidParameterCombination for no option at all,
    InvalidParameterValue for a hop limit out of range."""
    refuse_others(request, set(_FIELDS))
    given = _given(request)
    if not given:
        raise InvalidParameterCombination("No metadata defaults specified.")
    hop_limit = given.get("HttpPutResponseHopLimit", 1)
    if hop_limit != -1 and not 1 <= hop_limit <= HOP_LIMIT_MAX:
        raise InvalidParameterValue(
            f"Value ({hop_limit}) for parameter HttpPutResponseHopLimit is invalid. It must be an integer between 1 "
            f"and {HOP_LIMIT_MAX}, or -1 for no preference."
        )
    take_turn(call.tx)
    fields = {_FIELDS[name]: None if value in _NO_PREFERENCE else value for name, value in given.items()}
    call.tx.put(msgspec.structs.replace(_kept(call), **fields))
    return {"Return": True}


def preferred(call: Call) -> MetadataOptions:
    """The options of a launch that says nothing of them."""
    kept = _kept(call)
    chosen = {name: getattr(kept, name) for name in _FIELDS.values() if name != "enforced"}
    return MetadataOptions(**{name: value for name, value in chosen.items() if value is not None})


def check(call: Call, options: MetadataOptions) -> None:
    """Raises HttpTokensEnforced (UnsupportedOperation) for options that the account forbids."""
    if options.http_tokens == "optional" and _kept(call).enforced == "enabled":
        raise HttpTokensEnforced


def _kept(call: Call) -> MetadataDefaults:
    return call.tx.get(MetadataDefaults, call.account_id, call.region) or MetadataDefaults(call.account_id, call.region)


def _given(request: Mapping[str, Any]) -> dict[str, Any]:
    return {name: request[name] for name in _FIELDS if request.get(name) not in (None, "")}
