"""The options of an instance's metadata service: ModifyInstanceMetadataOptions, and what RunInstances takes of them.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-options.html
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from freehold.records.compute import MetadataOptions
from freehold.records.feed import publish, take_turn
from freehold.records.tags import tags_of
from freehold.services.ec2 import metadata_defaults
from freehold.services.ec2.condition_keys import written
from freehold.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue
from freehold.services.ec2.instance_states import modifiable
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import INSTANCE
from freehold.services.ec2.tags import check_metadata_keys
from freehold.services.operation import Call, Needed, Response, Shared, Value, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import ModifyInstanceMetadataOptionsRequestTypeDef

_FIELDS = {
    "HttpTokens": "http_tokens",
    "HttpPutResponseHopLimit": "http_put_response_hop_limit",
    "HttpEndpoint": "http_endpoint",
    "InstanceMetadataTags": "instance_metadata_tags",
}


def _changed(call: Call, request: Mapping[str, Any]) -> list[Needed]:
    """The instance, with each option that is to change. The keys of the options themselves say how they are now.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ExamplePolicies_EC2.html#iam-example-instance-metadata"""
    given = {name: written(request[name]) for name in _FIELDS if request.get(name) not in (None, "")}
    keys: dict[str, Value] = {f"ec2:Attribute/{name}": value for name, value in given.items()}
    return [INSTANCE.needed(call, request["InstanceId"], keys=keys | {"ec2:Attribute": tuple(given)})]


@operation(resources=_changed)
def modify_instance_metadata_options(call: Call, request: ModifyInstanceMetadataOptionsRequestTypeDef) -> Response:
    """Options that are not named stay as they are. Raises InvalidParameterCombination for none at all,
    IncorrectInstanceState for an instance that is going, InvalidParameterValue for one that can not show its tags."""
    refuse_others(request, {"InstanceId", *_FIELDS}, {"HttpProtocolIpv6": "disabled"})
    if all(request.get(name) in (None, "") for name in (*_FIELDS, "HttpProtocolIpv6")):
        raise InvalidParameterCombination("No metadata options specified.")
    take_turn(call.tx)
    instance = modifiable(call, request["InstanceId"])
    options = changed(instance.metadata_options, request)
    if options.http_tokens == "optional" != instance.metadata_options.http_tokens:
        metadata_defaults.check(call, options)
    if options.instance_metadata_tags == "enabled":
        check_metadata_keys(tag.key for tag in tags_of(call.tx, [instance.id])[instance.id])
    if options != instance.metadata_options:
        call.tx.update(instance, metadata_options=options, generation=instance.generation + 1)
        publish(call.tx, "guest", instance.id)
    return {"InstanceId": instance.id, "InstanceMetadataOptions": shown(options)}


def changed(options: MetadataOptions, request: Mapping[str, Any]) -> MetadataOptions:
    """The options with those of a request in their place. Raises InvalidParameterValue for a hop limit out of range."""
    given = {field: request[name] for name, field in _FIELDS.items() if request.get(name) not in (None, "")}
    hop_limit = given.get("http_put_response_hop_limit", 1)
    if not 1 <= hop_limit <= metadata_defaults.HOP_LIMIT_MAX:
        raise InvalidParameterValue(
            f"Value ({hop_limit}) for parameter HttpPutResponseHopLimit is invalid. It must be an integer between 1 "
            f"and {metadata_defaults.HOP_LIMIT_MAX}."
        )
    return msgspec.structs.replace(options, **given)


@functools.lru_cache(1024)
def shown(options: MetadataOptions) -> Shared:
    """The InstanceMetadataOptionsResponse. A change holds from the next request of the guest on, so it is applied."""
    return Shared(
        State="applied",
        HttpTokens=options.http_tokens,
        HttpPutResponseHopLimit=options.http_put_response_hop_limit,
        HttpEndpoint=options.http_endpoint,
        HttpProtocolIpv6=options.http_protocol_ipv6,
        InstanceMetadataTags=options.instance_metadata_tags,
    )
