"""Event selectors: which events a trail delivers. Insights are refused.

https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_PutEventSelectors.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from freehold.records.feed import take_turn
from freehold.records.selectors import DEFAULT
from freehold.services.cloudtrail.errors import (
    InsightNotEnabled,
    InvalidEventSelectors,
    InvalidParameterCombination,
    Unsupported,
)
from freehold.services.cloudtrail.trail_names import changeable, find, named_by
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_cloudtrail.type_defs import (
        GetEventSelectorsRequestTypeDef,
        GetInsightSelectorsRequestTypeDef,
        PutEventSelectorsRequestTypeDef,
        PutInsightSelectorsRequestTypeDef,
    )

_SELECTORS_MAX = 5
_DATA_RESOURCES_MAX = 250
_DATA_TYPES = frozenset({"AWS::S3::Object", "AWS::Lambda::Function", "AWS::DynamoDB::Table"})
_EXCLUDABLE = frozenset({"kms.amazonaws.com", "rdsdata.amazonaws.com"})
_CONDITIONS_MAX = 500
_FIELDS = frozenset(
    {
        "eventCategory", "eventName", "eventSource", "eventType", "readOnly", "resources.ARN", "resources.type",
        "sessionCredentialFromConsole", "userIdentity.arn",
    }
)  # fmt: skip
_OPERATORS = ("Equals", "StartsWith", "EndsWith", "NotEquals", "NotStartsWith", "NotEndsWith")
_ONLY_EQUALS = frozenset({"eventCategory", "readOnly", "resources.type"})


@operation(resources=named_by("TrailName"))
def put_event_selectors(call: Call, request: PutEventSelectorsRequestTypeDef) -> Response:
    """Basic ones take the place of advanced ones, and the other way round.

    Raises InvalidEventSelectorsException, TrailNotFoundException, InvalidHomeRegionException.
    """
    refuse_others(request, {"TrailName", "EventSelectors", "AdvancedEventSelectors"})
    basic, advanced = request.get("EventSelectors") or [], request.get("AdvancedEventSelectors") or []
    if bool(basic) == bool(advanced):
        raise InvalidEventSelectors("Give either event selectors or advanced event selectors, and at least one.")
    if len(basic) > _SELECTORS_MAX:
        raise InvalidEventSelectors(f"A trail can have at most {_SELECTORS_MAX} event selectors.")
    for selector in basic:
        _check_basic(selector)
    if sum(_conditions(selector["FieldSelectors"]) for selector in advanced) > _CONDITIONS_MAX:
        raise InvalidEventSelectors(f"Advanced event selectors can have at most {_CONDITIONS_MAX} values.")
    for chosen in advanced:
        _check_advanced(chosen["FieldSelectors"])
    take_turn(call.tx)
    trail = changeable(call, request["TrailName"])
    if advanced:
        call.tx.update(trail, event_selectors=None, advanced_selectors=list(advanced))
        return {"TrailARN": trail.arn, "AdvancedEventSelectors": advanced}
    whole = [dict(DEFAULT) | dict(selector) for selector in basic]
    call.tx.update(trail, event_selectors=whole, advanced_selectors=None)
    return {"TrailARN": trail.arn, "EventSelectors": whole}


@operation(resources=named_by("TrailName"))
def get_event_selectors(call: Call, request: GetEventSelectorsRequestTypeDef) -> Response:
    """Raises TrailNotFoundException, CloudTrailARNInvalidException."""
    refuse_others(request, {"TrailName"})
    trail = find(call, request["TrailName"])
    if trail.advanced_selectors is not None:
        return {"TrailARN": trail.arn, "AdvancedEventSelectors": trail.advanced_selectors}
    return {"TrailARN": trail.arn, "EventSelectors": trail.event_selectors or [dict(DEFAULT)]}


@operation(resources=named_by("TrailName"))
def put_insight_selectors(call: Call, request: PutInsightSelectorsRequestTypeDef) -> Response:
    """None can be switched on: an empty list is what every trail has. Raises UnsupportedOperationException."""
    refuse_others(request, {"TrailName", "InsightSelectors"})
    trail = changeable(call, _trail_name(request))
    if request["InsightSelectors"]:
        raise Unsupported("Insights are not supported by this cloud.")
    return {"TrailARN": trail.arn, "InsightSelectors": []}


@operation(resources=named_by("TrailName"))
def get_insight_selectors(call: Call, request: GetInsightSelectorsRequestTypeDef) -> Response:
    """No trail has any. Raises InsightNotEnabledException, TrailNotFoundException."""
    refuse_others(request, {"TrailName"})
    raise InsightNotEnabled(find(call, _trail_name(request)).arn)


def _trail_name(request: Mapping[str, Any]) -> str:
    name: str | None = request.get("TrailName")
    if name is None:
        raise InvalidParameterCombination("TrailName is required: there are no event data stores in this cloud.")
    return name


def _check_basic(selector: Mapping[str, Any]) -> None:
    resources = selector.get("DataResources") or ()
    for resource in resources:
        if resource.get("Type") not in _DATA_TYPES:
            raise InvalidEventSelectors(f"The data resource type {resource.get('Type')} is not valid.")
        if any(not value.startswith("arn:") for value in resource.get("Values") or ()):
            raise InvalidEventSelectors("The values of a data resource are ARNs, or their beginnings.")
    if sum(len(resource.get("Values") or ()) for resource in resources) > _DATA_RESOURCES_MAX:
        raise InvalidEventSelectors(f"A trail can have at most {_DATA_RESOURCES_MAX} data resources.")
    for source in selector.get("ExcludeManagementEventSources") or ():
        if source not in _EXCLUDABLE:
            raise InvalidEventSelectors(f"The management events of {source} can not be excluded.")
    if not selector.get("IncludeManagementEvents", True) and not resources:
        raise InvalidEventSelectors("An event selector includes management events or names data resources.")


def _conditions(fields: Sequence[Mapping[str, Any]]) -> int:
    return sum(len(field.get(name) or ()) for field in fields for name in _OPERATORS)


def _check_advanced(fields: Sequence[Mapping[str, Any]]) -> None:
    names = [field["Field"] for field in fields]
    if len(set(names)) < len(names):
        raise InvalidEventSelectors("A field can be used once in an advanced event selector.")
    for field in fields:
        used = {name for name in _OPERATORS if field.get(name)}
        if field["Field"] not in _FIELDS:
            raise InvalidEventSelectors(f"The field {field['Field']} is not valid.")
        if not used or (field["Field"] in _ONLY_EQUALS and used != {"Equals"}):
            raise InvalidEventSelectors(f"The field {field['Field']} needs an operator that it can have.")
    categories = [value for field in fields if field["Field"] == "eventCategory" for value in field["Equals"]]
    if len(categories) != 1 or categories[0] not in ("Management", "Data"):
        raise InvalidEventSelectors("The field eventCategory must equal Management or Data.")
    if categories == ["Data"] and "resources.type" not in names:
        raise InvalidEventSelectors("Data events need the field resources.type.")
