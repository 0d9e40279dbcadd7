"""LookupEvents: the management events of an account in a region.

A record is found some seconds after its call, when the controllers have chained and indexed it.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import msgspec

from freehold.records.lookups import Indexed, find
from freehold.services import page_tokens
from freehold.services.cloudtrail.errors import InvalidLookupAttributes, InvalidNextToken, InvalidTimeRange
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_cloudtrail.type_defs import LookupEventsRequestTypeDef

# "Looks up management events … that occurred in a Region within the last 90 days":
# https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
_DAYS = dt.timedelta(days=90)
_PAGE = 50

_place = msgspec.json.Decoder(tuple[int, int])


@operation()
def lookup_events(call: Call, request: LookupEventsRequestTypeDef) -> Response:
    """The newest first. Insights are not made, so there are no events of that category.

    Raises InvalidLookupAttributesException, InvalidTimeRangeException, InvalidNextTokenException.
    """
    refuse_others(request, {"LookupAttributes", "StartTime", "EndTime", "MaxResults", "NextToken"})
    attributes = request.get("LookupAttributes") or []
    if len(attributes) > 1:
        raise InvalidLookupAttributes()
    start, end = _moment(request.get("StartTime")), _moment(request.get("EndTime"))
    if start is not None and end is not None and start > end:
        raise InvalidTimeRange()
    oldest = call.now - _DAYS
    limit = request.get("MaxResults", _PAGE)
    found = find(
        call.tx,
        call.account_id,
        call.region,
        (attributes[0]["AttributeKey"], attributes[0]["AttributeValue"]) if attributes else None,
        since=_milliseconds(max(start or oldest, oldest)),
        until=_milliseconds(end or call.now) + 999,  # an event bears the second in which it was
        after=_read_token(request["NextToken"], call, request) if request.get("NextToken") else None,
        limit=limit + 1,
    )
    answer: dict[str, Any] = {"Events": [_event(body, event) for _, _, body, event in found[:limit]]}
    if len(found) > limit:
        at, position, *_ = found[limit - 1]
        answer["NextToken"] = page_tokens.write((at, position), _asked(call, request))
    return answer


def _event(body: str, event: Indexed) -> dict[str, Any]:
    shown = {
        "EventId": event.event_id,
        "EventName": event.event_name,
        "ReadOnly": "true" if event.read_only else "false",
        "EventTime": dt.datetime.fromisoformat(event.event_time),
        "EventSource": event.event_source,
        "Resources": [{"ResourceType": kind, "ResourceName": name} for kind, name in event.resources()],
        "CloudTrailEvent": body,
    }
    if event.actor.access_key_id:
        shown["AccessKeyId"] = event.actor.access_key_id
    if event.actor.user_name:
        shown["Username"] = event.actor.user_name
    return shown


def _moment(value: Any) -> dt.datetime | None:
    moment: dt.datetime | None = value
    return moment


def _milliseconds(moment: dt.datetime) -> int:
    return int(moment.timestamp()) * 1000


def _asked(call: Call, request: LookupEventsRequestTypeDef) -> bytes:
    return page_tokens.asked(request, call.account_id, call.region, without=("MaxResults", "NextToken"))


def _read_token(token: str, call: Call, request: LookupEventsRequestTypeDef) -> tuple[int, int]:
    try:
        place = page_tokens.read(token, _asked(call, request), _place)
    except page_tokens.UnusableToken:
        raise InvalidNextToken() from None
    if not all(abs(number) < 1 << 63 for number in place):
        raise InvalidNextToken()
    return place
