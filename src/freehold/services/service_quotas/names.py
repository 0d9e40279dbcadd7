"""How quotas are named, and what policies must allow on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from freehold.quotas import QUOTAS, SERVICES, Quota
from freehold.services import page_tokens
from freehold.services.operation import Call, Needed
from freehold.services.service_quotas.errors import InvalidPaginationToken, NoSuchResource

T = TypeVar("T")

_PAGE = 100
_TO_THEIRS, _TO_OURS = str.maketrans("-_", "+/"), str.maketrans("+/", "-_")  # the model takes plain base64 alone
_keys = msgspec.json.Decoder(tuple[str])


def arn_of(call: Call, quota: Quota) -> str:
    return f"arn:aws:servicequotas:{call.region}:{call.account_id}:{quota.service}/{quota.code}"


def check_service(code: str) -> None:
    """Raises NoSuchResourceException."""
    if code not in SERVICES:
        raise NoSuchResource(f"The request failed because the specified service does not exist: {code}")


def find(request: Mapping[str, Any]) -> Quota:
    """The quota that ServiceCode and QuotaCode name. Raises NoSuchResourceException."""
    check_service(request["ServiceCode"])
    quota = QUOTAS.get(request["QuotaCode"])
    if quota is None or quota.service != request["ServiceCode"]:
        raise NoSuchResource(f"The request failed because the specified quota does not exist: {request['QuotaCode']}")
    return quota


def named(call: Call, request: Mapping[str, Any]) -> list[Needed]:
    """For `operation(resources=…)`: the quota that a change is asked of."""
    arn = f"arn:aws:servicequotas:{call.region}:{call.account_id}:{request['ServiceCode']}/{request['QuotaCode']}"
    return [Needed(arn, keys=lambda: {"servicequotas:service": request["ServiceCode"]})]


def page(
    call: Call, request: Mapping[str, Any], found: Sequence[T], key: Callable[[T], str]
) -> tuple[Sequence[T], dict[str, str]]:
    """The page of a list sorted by `key` that MaxResults and NextToken ask for, and the answer's NextToken if there is
    more. Raises InvalidPaginationTokenException."""
    asked = page_tokens.asked(request, call.operation, call.region, without=("MaxResults", "NextToken"))
    if token := request.get("NextToken"):
        try:
            (after,) = page_tokens.read(token.translate(_TO_OURS), asked, _keys)
        except page_tokens.UnusableToken as error:
            raise InvalidPaginationToken from error
        found = [each for each in found if key(each) > after]
    limit = request.get("MaxResults", _PAGE)
    shown = found[:limit]
    return shown, (
        {}
        if len(shown) == len(found)
        else {"NextToken": page_tokens.write([key(shown[-1])], asked).translate(_TO_THEIRS)}
    )
