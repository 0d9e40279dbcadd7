"""Which events a trail's selectors select.

https://docs.aws.amazon.com/awscloudtrail/latest/userguide/logging-data-events-with-cloudtrail.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from freehold.records.trails import Trail

DEFAULT: Mapping[str, Any] = {
    "ReadWriteType": "All",
    "IncludeManagementEvents": True,
    "DataResources": [],
    "ExcludeManagementEventSources": [],
}
"""The selector of a trail that was given none: all management events."""

GLOBAL_SOURCES = frozenset({"iam.amazonaws.com", "sts.amazonaws.com", "cloudfront.amazonaws.com"})
"""Services whose events a trail only has where it includes those of global services."""

Event = Mapping[str, Any]

_OPERATORS: Mapping[str, tuple[Callable[[str, str], bool], bool]] = {
    "Equals": (str.__eq__, True),
    "StartsWith": (str.startswith, True),
    "EndsWith": (str.endswith, True),
    "NotEquals": (str.__eq__, False),
    "NotStartsWith": (str.startswith, False),
    "NotEndsWith": (str.endswith, False),
}


def selects(trail: Trail, event: Event) -> bool:
    """Whether a trail delivers an event, a CloudTrail record, of its account."""
    region = str(event["awsRegion"])
    if not trail.multi_region and region != trail.home_region:
        return False
    if event["eventSource"] in GLOBAL_SOURCES and not trail.global_events:
        return False
    if trail.advanced_selectors is not None:
        return any(_advanced(selector["FieldSelectors"], event) for selector in trail.advanced_selectors)
    return any(_basic(selector, event) for selector in trail.event_selectors or (DEFAULT,))


def _basic(selector: Mapping[str, Any], event: Event) -> bool:
    wanted = selector.get("ReadWriteType", "All")
    if wanted != "All" and (wanted == "ReadOnly") != event["readOnly"]:
        return False
    if event["eventCategory"] == "Management":
        excluded = selector.get("ExcludeManagementEventSources") or ()
        return bool(selector.get("IncludeManagementEvents", True)) and event["eventSource"] not in excluded
    return any(
        kind == resource["Type"] and any(arn.startswith(value) for value in resource.get("Values") or ())
        for resource in selector.get("DataResources") or ()
        for kind, arn in _resources(event)
    )


def _advanced(fields: Sequence[Mapping[str, Any]], event: Event) -> bool:
    return all(_field(field, _values(field["Field"], event)) for field in fields)


def _field(field: Mapping[str, Any], values: Sequence[str]) -> bool:
    """Operators that are given together must all hold; of one's values any may be meant, or with a Not none."""
    for name, (holds, wanted) in _OPERATORS.items():
        if given := field.get(name):
            met = any(holds(value, text) for value in values for text in given)
            if met != wanted:
                return False
    return True


def _values(field: str, event: Event) -> Sequence[str]:
    match field:
        case "readOnly":
            return ("true" if event["readOnly"] else "false",)
        case "resources.type":
            return [kind for kind, _ in _resources(event)]
        case "resources.ARN":
            return [arn for _, arn in _resources(event)]
        case "userIdentity.arn":
            return (str(event["userIdentity"].get("arn", "")),)
        case "sessionCredentialFromConsole":
            return (str(event.get(field, "false")),)
    return (str(event.get(field, "")),)


def _resources(event: Event) -> list[tuple[str, str]]:
    found = [(str(item.get("type", "")), str(item.get("ARN", ""))) for item in event.get("resources") or ()]
    if found or event["eventSource"] != "s3.amazonaws.com":
        return found
    named = event.get("requestParameters") or {}
    return [("AWS::S3::Object", f"arn:aws:s3:::{named.get('bucketName', '')}/{named.get('key', '')}")]
