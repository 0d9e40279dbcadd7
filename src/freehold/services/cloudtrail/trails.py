"""Trails: what is delivered of an account's events to a bucket, and whether it is.

https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-trails.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from freehold.records.audit import event_time
from freehold.records.feed import take_turn
from freehold.records.seals import newest_seal
from freehold.records.tags import delete_tags_of, put_tags
from freehold.records.trails import Bucket, Digest, LogFile, Trail
from freehold.services.cloudtrail.errors import (
    InsufficientS3BucketPolicy,
    InvalidParameterCombination,
    InvalidS3Prefix,
    InvalidToken,
    InvalidTrailName,
    MaximumNumberOfTrailsExceeded,
    S3BucketDoesNotExist,
    TrailAlreadyExists,
    TrailNotFound,
)
from freehold.services.cloudtrail.tags import TRAIL, checked_tags
from freehold.services.cloudtrail.trail_names import changeable, find, named_by, seen, trail_arn
from freehold.services.operation import Call, Needed, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_cloudtrail.type_defs import (
        CreateTrailRequestTypeDef,
        DeleteTrailRequestTypeDef,
        DescribeTrailsRequestTypeDef,
        GetTrailRequestTypeDef,
        GetTrailStatusRequestTypeDef,
        ListTrailsRequestTypeDef,
        StartLoggingRequestTypeDef,
        StopLoggingRequestTypeDef,
        UpdateTrailRequestTypeDef,
    )

# https://docs.aws.amazon.com/awscloudtrail/latest/userguide/WhatIsCloudTrail-Limits.html: "Trails per Region: 5"
_TRAILS_MAX = 5
_HONOURED = {
    "Name", "S3BucketName", "S3KeyPrefix", "IncludeGlobalServiceEvents", "IsMultiRegionTrail",
    "EnableLogFileValidation", "TagsList",
}  # fmt: skip
_DEFAULTS = {"IsOrganizationTrail": False, "RecursiveLogging": True}
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()/=-]{1,200}", re.ASCII)


def _new(call: Call, request: Mapping[str, Any]) -> Iterable[Needed]:
    tags = {tag["Key"]: tag.get("Value", "") for tag in request.get("TagsList", ())}
    return [Needed(trail_arn(call, request["Name"]), request_tags=tags)]


@operation(resources=_new)
def create_trail(call: Call, request: CreateTrailRequestTypeDef) -> Response:
    """It logs nothing until StartLogging.

    Raises InvalidTrailNameException, TrailAlreadyExistsException, S3BucketDoesNotExistException …
    """
    refuse_others(request, _HONOURED, _DEFAULTS)
    name = request["Name"]
    _check_name(name)
    tags = checked_tags(request.get("TagsList", ()))
    take_turn(call.tx)
    arn = trail_arn(call, name)
    if call.tx.get(Trail, arn) is not None:
        raise TrailAlreadyExists(name, call.account_id)
    if len(seen(call)) >= _TRAILS_MAX:
        raise MaximumNumberOfTrailsExceeded(call.account_id, _TRAILS_MAX)
    trail = Trail(
        arn=arn,
        account_id=call.account_id,
        name=name,
        home_region=call.region,
        bucket=_bucket(call, request["S3BucketName"]),
        prefix=_prefix(request),
        multi_region=request.get("IsMultiRegionTrail", False),
        global_events=request.get("IncludeGlobalServiceEvents", True),
        validation=request.get("EnableLogFileValidation", False),
        created_at=call.now,
    )
    _check(trail)
    call.tx.insert(trail)
    put_tags(call.tx, call.account_id, "", TRAIL, arn, tags)
    return _settings(trail)


@operation(resources=named_by("Name"))
def update_trail(call: Call, request: UpdateTrailRequestTypeDef) -> Response:
    """Raises TrailNotFoundException, InvalidHomeRegionException and what CreateTrail raises of the settings."""
    refuse_others(request, _HONOURED - {"TagsList"}, _DEFAULTS)
    take_turn(call.tx)
    trail = changeable(call, request["Name"])
    changes: dict[str, Any] = {}
    if "S3BucketName" in request:
        changes["bucket"] = _bucket(call, request["S3BucketName"])
    if "S3KeyPrefix" in request:
        changes["prefix"] = _prefix(request)
    members = (
        ("multi_region", "IsMultiRegionTrail"),
        ("global_events", "IncludeGlobalServiceEvents"),
        ("validation", "EnableLogFileValidation"),
    )
    changes |= {field: request[member] for field, member in members if member in request}  # type: ignore[literal-required]
    if changes.get("validation") and not trail.validation:
        changes["digest_end"] = call.now  # the first digest begins here
    if changes:
        trail = call.tx.update(trail, **changes)
        _check(trail)
    return _settings(trail)


@operation(resources=named_by("Name"))
def delete_trail(call: Call, request: DeleteTrailRequestTypeDef) -> Response:
    """What it has delivered stays in the bucket. Raises TrailNotFoundException, InvalidHomeRegionException."""
    refuse_others(request, {"Name"})
    take_turn(call.tx)
    trail = changeable(call, request["Name"])
    for kind in (LogFile, Digest):
        call.tx.delete_where(kind, trail_arn=trail.arn)
    delete_tags_of(call.tx, trail.arn)
    call.tx.delete(trail)
    return {}


@operation()
def describe_trails(call: Call, request: DescribeTrailsRequestTypeDef) -> Response:
    """Those of the region, and as shadows the multi-region ones of others. Raises CloudTrailARNInvalidException."""
    refuse_others(request, {"trailNameList", "includeShadowTrails"})
    names = request.get("trailNameList") or ()
    found = list(_named(call, names)) if names else seen(call)
    if not request.get("includeShadowTrails", True):
        found = [trail for trail in found if trail.home_region == call.region]
    return {"trailList": [_described(trail) for trail in found]}


@operation(resources=named_by("Name"))
def get_trail(call: Call, request: GetTrailRequestTypeDef) -> Response:
    """Raises TrailNotFoundException, CloudTrailARNInvalidException."""
    refuse_others(request, {"Name"})
    return {"Trail": _described(find(call, request["Name"]))}


@operation()
def list_trails(call: Call, request: ListTrailsRequestTypeDef) -> Response:
    """All of the account, in one page. Raises InvalidTokenException: none was given."""
    if request.get("NextToken"):
        raise InvalidToken()
    found = call.tx.select(Trail, account_id=call.account_id)
    return {"Trails": [{"TrailARN": trail.arn, "Name": trail.name, "HomeRegion": trail.home_region} for trail in found]}


@operation(resources=named_by("Name"))
def get_trail_status(call: Call, request: GetTrailStatusRequestTypeDef) -> Response:
    """Raises TrailNotFoundException, CloudTrailARNInvalidException."""
    refuse_others(request, {"Name"})
    trail = find(call, request["Name"])
    times = {
        "StartLoggingTime": trail.started_at,
        "StopLoggingTime": trail.stopped_at,
        "LatestDeliveryTime": trail.delivered_at,
        "LatestDigestDeliveryTime": trail.digest_at,
    }
    texts = {
        "LatestDeliveryError": trail.delivery_error,
        "LatestDigestDeliveryError": trail.digest_error,
    }
    old = {
        "LatestDeliveryAttemptTime": trail.attempted_at,
        "LatestDeliveryAttemptSucceeded": trail.delivered_at,
        "TimeLoggingStarted": trail.started_at,
        "TimeLoggingStopped": trail.stopped_at,
    }
    return {
        "IsLogging": trail.logging,
        **{name: value for name, value in (times | texts).items() if value},
        **{name: event_time(value) if value else "" for name, value in old.items()},
        "LatestNotificationAttemptTime": "",
        "LatestNotificationAttemptSucceeded": "",
    }


@operation(resources=named_by("Name"))
def start_logging(call: Call, request: StartLoggingRequestTypeDef) -> Response:
    """From what is chained next on. Raises TrailNotFoundException, InvalidHomeRegionException."""
    refuse_others(request, {"Name"})
    take_turn(call.tx)
    trail = changeable(call, request["Name"])
    if not trail.logging:
        seal = newest_seal(call.tx)
        call.tx.update(
            trail, logging=True, started_at=call.now, block=seal.last_block if seal else 0, digest_end=call.now
        )
    return {}


@operation(resources=named_by("Name"))
def stop_logging(call: Call, request: StopLoggingRequestTypeDef) -> Response:
    """Raises TrailNotFoundException, InvalidHomeRegionException."""
    refuse_others(request, {"Name"})
    take_turn(call.tx)
    trail = changeable(call, request["Name"])
    if trail.logging:
        call.tx.update(trail, logging=False, stopped_at=call.now)
    return {}


def _check_name(name: str) -> None:
    """https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_CreateTrail.html"""
    if not 3 <= len(name) <= 128:
        raise InvalidTrailName("must be between 3 and 128 characters")
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name, re.ASCII):
        raise InvalidTrailName("can only contain uppercase letters, lowercase letters, numbers, . _ and -")
    if not (name[0].isalnum() and name[-1].isalnum()):
        raise InvalidTrailName("must start and end with a letter or a number")
    if re.search(r"[._-]{2}", name):
        raise InvalidTrailName("can not have adjacent periods, underscores or dashes")
    if re.fullmatch(r"\d+\.\d+\.\d+\.\d+", name, re.ASCII):
        raise InvalidTrailName("can not be in IP address format")


def _bucket(call: Call, name: str) -> str:
    """The name of a bucket that the trail may write to: one of its own account's."""
    bucket = call.tx.get(Bucket, name)
    if bucket is None:
        raise S3BucketDoesNotExist(name)
    if bucket.account_id != call.account_id:
        raise InsufficientS3BucketPolicy(name)
    return name


def _prefix(request: Mapping[str, Any]) -> str:
    prefix: str = request.get("S3KeyPrefix") or ""
    if prefix and not _PREFIX.fullmatch(prefix):
        raise InvalidS3Prefix()
    return prefix.strip("/")


def _check(trail: Trail) -> None:
    if trail.multi_region and not trail.global_events:
        raise InvalidParameterCombination("Multi-Region trail must include global service events.")


def _named(call: Call, names: Sequence[str]) -> Iterator[Trail]:
    """Those of `names` that there are: DescribeTrails passes over the others."""
    for name in names:
        try:
            yield find(call, name)
        except TrailNotFound:
            continue


def _settings(trail: Trail) -> dict[str, Any]:
    return {
        "Name": trail.name,
        "S3BucketName": trail.bucket,
        **({"S3KeyPrefix": trail.prefix} if trail.prefix else {}),
        "IncludeGlobalServiceEvents": trail.global_events,
        "IsMultiRegionTrail": trail.multi_region,
        "TrailARN": trail.arn,
        "LogFileValidationEnabled": trail.validation,
        "IsOrganizationTrail": False,
    }


def _described(trail: Trail) -> dict[str, Any]:
    custom = trail.event_selectors is not None or trail.advanced_selectors is not None
    return {
        **_settings(trail),
        "HomeRegion": trail.home_region,
        "HasCustomEventSelectors": custom,
        "HasInsightSelectors": False,
    }
