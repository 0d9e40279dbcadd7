"""The options of an instance's metadata service, as RunInstances and ModifyInstanceMetadataOptions take them.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-options.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from freehold.records.compute import MetadataOptions
from freehold.services.ec2.errors import InvalidParameterValue

HOP_LIMIT_MAX = 64

_FIELDS = {
    "HttpTokens": "http_tokens",
    "HttpPutResponseHopLimit": "http_put_response_hop_limit",
    "HttpEndpoint": "http_endpoint",
    "InstanceMetadataTags": "instance_metadata_tags",
}


def changed(options: MetadataOptions, request: Mapping[str, Any]) -> MetadataOptions:
    """The options with those of a request in their place. Raises InvalidParameterValue for a hop limit out of range."""
    given = {field: request[name] for name, field in _FIELDS.items() if request.get(name) not in (None, "")}
    hop_limit = given.get("http_put_response_hop_limit", 1)
    if not 1 <= hop_limit <= HOP_LIMIT_MAX:
        raise InvalidParameterValue(
            f"Value ({hop_limit}) for parameter HttpPutResponseHopLimit is invalid. It must be an integer between 1 "
            f"and {HOP_LIMIT_MAX}."
        )
    return msgspec.structs.replace(options, **given)


def shown(options: MetadataOptions) -> dict[str, Any]:
    """The InstanceMetadataOptionsResponse. A change holds from the next request of the guest on, so it is applied."""
    return {
        "State": "applied",
        "HttpTokens": options.http_tokens,
        "HttpPutResponseHopLimit": options.http_put_response_hop_limit,
        "HttpEndpoint": options.http_endpoint,
        "HttpProtocolIpv6": options.http_protocol_ipv6,
        "InstanceMetadataTags": options.instance_metadata_tags,
    }
