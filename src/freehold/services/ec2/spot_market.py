"""What a request says of the market: InstanceMarketOptions of RunInstances, and the same in RequestSpotInstances.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SpotMarketOptions.html
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import msgspec

from freehold.config import InstanceType
from freehold.instance_types import spot_price
from freehold.records.ids import new_id
from freehold.records.spot import RequestState, SpotRequest
from freehold.records.tags import put_tags
from freehold.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue
from freehold.services.ec2.launch_placement import Grouping
from freehold.services.ec2.resources import SPOT_REQUEST
from freehold.services.ec2.spot_errors import SpotMaxPriceTooLow
from freehold.services.errors import UnsupportedOperation
from freehold.services.operation import Call

_MICRO = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Market:
    """How spot instances are asked for. `request_id`: by a request that there is; else each gets one of its own."""

    kind: Literal["one-time", "persistent"]
    interruption: Literal["hibernate", "stop", "terminate"]
    max_price: Decimal
    valid_from: dt.datetime | None = None
    valid_until: dt.datetime | None = None
    request_id: str | None = None


def is_spot(request: Mapping[str, Any]) -> bool:
    return (request.get("InstanceMarketOptions") or {}).get("MarketType") == "spot"


def of_launch(call: Call, request: Mapping[str, Any], instance_type: InstanceType, grouping: Grouping) -> Market | None:
    """The market of a RunInstances request; None = on demand.

    Raises as `asked_for`, and SpotMaxPriceTooLow.
    """
    options = request.get("InstanceMarketOptions") or {}
    given = options.get("SpotOptions") or {}
    if options.get("MarketType") in (None, "", "on-demand"):
        if given:
            raise InvalidParameterCombination("The parameter SpotOptions needs the MarketType 'spot'.")
        return None
    if options["MarketType"] != "spot":
        raise UnsupportedOperation(f"The market type {options['MarketType']}")
    market = asked_for(
        call,
        instance_type,
        grouping,
        kind=given.get("SpotInstanceType"),
        interruption=given.get("InstanceInterruptionBehavior"),
        max_price=given.get("MaxPrice"),
        valid_until=given.get("ValidUntil"),
    )
    if market.kind == "persistent" and market.interruption == "terminate":
        raise InvalidParameterCombination(
            "Persistent Spot Instance requests are only supported when the instance interruption behavior is "
            "'hibernate' or 'stop'."
        )
    if market.kind == "one-time" and market.valid_until is not None:
        raise InvalidParameterCombination("The parameter ValidUntil is only valid for persistent requests.")
    price = shown_price(spot_price(call.config, instance_type))
    if market.max_price < price:
        raise SpotMaxPriceTooLow(market.max_price, price)
    reservations = request.get("CapacityReservationSpecification") or {}
    if reservations.get("CapacityReservationTarget") or reservations.get("CapacityReservationPreference") not in (
        None, "", "none", "open"
    ):  # fmt: skip
        raise InvalidParameterCombination("Spot Instances can not run in capacity reservations.")
    if request.get("DisableApiTermination") or request.get("DisableApiStop"):
        raise InvalidParameterCombination("Spot Instances can not be protected from being stopped or terminated.")
    if market.kind == "one-time" and request.get("InstanceInitiatedShutdownBehavior") == "stop":
        raise InvalidParameterCombination(
            "The instance initiated shutdown behavior 'stop' is not supported for one-time Spot Instance requests."
        )
    return market


def asked_for(
    call: Call,
    instance_type: InstanceType,
    grouping: Grouping,
    *,
    kind: str | None,
    interruption: str | None,
    max_price: str | None,
    valid_from: Any = None,
    valid_until: Any = None,
) -> Market:
    """Raises UnsupportedOperation for what is not built, InvalidParameterValue, and InvalidParameterCombination for a
    one-time request that stops or hibernates, or one that does in a placement group."""
    what: Any = kind or "one-time"
    behavior: Any = interruption or "terminate"
    if what not in ("one-time", "persistent"):
        raise InvalidParameterValue(f"Invalid value '{what}' for the type of a Spot Instance request.")
    if behavior not in ("hibernate", "stop", "terminate"):
        raise InvalidParameterValue(f"Invalid value '{behavior}' for InstanceInterruptionBehavior.")
    if what == "one-time" and behavior != "terminate":
        raise InvalidParameterCombination(
            "The request with type 'one-time' is not supported when instanceInterruptionBehavior is set to "
            f"'{behavior}'."
        )
    if behavior != "terminate" and grouping.group is not None:
        raise InvalidParameterCombination(
            "A Spot Instance that is configured to stop or hibernate on interruption can not be launched in a "
            "placement group."
        )
    begins, ends = _moment(valid_from), _moment(valid_until)
    if ends is not None and ends <= max(call.now, begins or call.now):
        raise InvalidParameterValue("The parameter ValidUntil must be in the future, and after ValidFrom.")
    price = instance_type.price_per_hour if not max_price else _price(max_price)
    return Market(what, behavior, price, begins, ends)


def requested(
    call: Call,
    market: Market,
    launch: Mapping[str, Any],
    tags: Mapping[str, str],
    state: RequestState,
    status: str,
    **more: Any,
) -> SpotRequest:
    """Write a new request for an instance: `launch` is what RunInstances is to be asked for."""
    plain: dict[str, Any] = msgspec.to_builtins(dict(launch))
    request = SpotRequest(
        id=new_id(SPOT_REQUEST.prefix),
        account_id=call.account_id,
        region=call.region,
        kind=market.kind,
        interruption=market.interruption,
        max_price=f"{shown_price(market.max_price):f}",
        instance_type=str(launch["InstanceType"]),
        launch=plain,
        state=state,
        status=status,
        status_at=call.now,
        created_at=call.now,
        valid_from=market.valid_from,
        valid_until=market.valid_until,
        **more,
    )
    call.tx.insert(request)
    put_tags(call.tx, call.account_id, call.region, SPOT_REQUEST.resource_type, request.id, tags)
    return request


def shown_price(price: Decimal) -> Decimal:
    """As answers have it: ``0.003120``."""
    return price.quantize(_MICRO)


def _price(text: str) -> Decimal:
    try:
        price = Decimal(text)
    except InvalidOperation:
        price = Decimal("NaN")
    if not price.is_finite() or not 0 < price < 100_000:
        raise InvalidParameterValue(f"Invalid value '{text}' for the maximum price of a Spot Instance request.")
    return price


def _moment(given: dt.datetime | str | None) -> dt.datetime | None:
    if given is None:
        return None
    if isinstance(given, str):  # of a launch template
        given = dt.datetime.fromisoformat(given)
    return given if given.tzinfo is not None else given.replace(tzinfo=dt.UTC)
