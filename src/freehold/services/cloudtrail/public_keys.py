"""ListPublicKeys: what the signatures of digests are verified with."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from freehold.records.trails import DigestKey, digest_keys
from freehold.services.cloudtrail.errors import InvalidTimeRange, InvalidToken
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_cloudtrail.type_defs import ListPublicKeysRequestTypeDef


@operation()
def list_public_keys(call: Call, request: ListPublicKeysRequestTypeDef) -> Response:
    """The keys of the cloud that were valid at some moment of a time range, without one those that are valid now.

    https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_ListPublicKeys.html: in one page. Raises
    InvalidTimeRangeException, InvalidTokenException: none was given.
    """
    refuse_others(request, {"StartTime", "EndTime", "NextToken"})
    if request.get("NextToken"):
        raise InvalidToken()
    start: dt.datetime = request.get("StartTime", call.now)  # type: ignore[assignment]
    end: dt.datetime = request.get("EndTime", call.now)  # type: ignore[assignment]
    if start > end:
        raise InvalidTimeRange()
    found = call.tx.select(DigestKey, digest_keys.c.valid_until >= start, digest_keys.c.valid_from <= end)
    return {
        "PublicKeyList": [
            {
                "Value": key.public_key,
                "ValidityStartTime": key.valid_from,
                "ValidityEndTime": key.valid_until,
                "Fingerprint": key.id,
            }
            for key in found
        ]
    }
