"""Filling a fleet: from which pools so many units are launched, on demand or from spare capacity.

One pool after the other is asked, in the order of the allocation strategy, for what is still missing; what a pool can
not give is an error of the fleet, and the next one is asked. All pools draw from the same hosts here, so that the
strategies of spot that look for room come down to which type fits most often.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from freehold.instance_types import spot_price
from freehold.records.compute import Host, Instance
from freehold.records.ids import new_id
from freehold.records.tags import put_tags
from freehold.services.ec2.compute_errors import InsufficientInstanceCapacity
from freehold.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue
from freehold.services.ec2.fleet_pools import Lifecycle, Pool
from freehold.services.ec2.instances_launch import DEFAULTS, HONOURED, launch_all, launch_of
from freehold.services.ec2.launch_needs import check_in
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import INSTANCE
from freehold.services.errors import AwsError
from freehold.services.operation import Call

_COUNT_MAX = 1000


@dataclass(slots=True)
class Filled:
    """What the pools gave: instances of each, errors of each, and the units that they come to."""

    launched: list[tuple[Pool, list[Instance]]] = field(default_factory=list)
    errors: list[tuple[Pool, AwsError]] = field(default_factory=list)
    units: float = 0


def fill(
    call: Call, fleet_id: str, pools: Sequence[Pool], target: int, lifecycle: Lifecycle, options: Mapping[str, Any]
) -> Filled:
    """Launch `target` units as SpotOptions or OnDemandOptions say. The caller has taken its turn.

    Raises InvalidParameterCombination, InvalidParameterValue for options that can not be.
    """
    least = options.get("MinTargetCapacity", 0)
    single_type, single_zone = options.get("SingleInstanceType"), options.get("SingleAvailabilityZone")
    if least and not (single_type or single_zone):
        raise InvalidParameterCombination("MinTargetCapacity needs SingleAvailabilityZone or SingleInstanceType.")
    if not 0 <= least <= _COUNT_MAX:
        raise InvalidParameterValue(f"Value ({least}) for parameter MinTargetCapacity is invalid.")
    money = _money(options)
    ordered = _ordered(call, pools, lifecycle, options.get("AllocationStrategy"))
    if not target:
        return Filled()
    failed: list[tuple[Pool, AwsError]] = []
    for group in _groups(call, ordered, bool(single_type), bool(single_zone)):
        acts = len(call.tx.acts)
        attempt = call.tx.connection.begin_nested()
        spread = options.get("AllocationStrategy") == "diversified"
        filled = _fill(call, fleet_id, group, target, lifecycle, options, money, spread=spread)
        if filled.units >= max(least, 1e-9):
            attempt.commit()
            return filled
        attempt.rollback()
        del call.tx.acts[acts:]
        failed += filled.errors
    return Filled(errors=failed)


def _money(options: Mapping[str, Any]) -> Decimal | None:
    """MaxTotalPrice, for an hour."""
    text = options.get("MaxTotalPrice")
    if not text:
        return None
    try:
        money = Decimal(text)
    except InvalidOperation:
        money = Decimal(-1)
    if not money.is_finite() or money < 0:
        raise InvalidParameterValue(f"Value ({text}) for parameter MaxTotalPrice is invalid.")
    return money


def _ordered(call: Call, pools: Sequence[Pool], lifecycle: Lifecycle, strategy: str | None) -> list[Pool]:
    match strategy or "lowest-price":
        case "prioritized" | "capacity-optimized-prioritized":
            return sorted(pools, key=lambda pool: pool.priority)
        case "capacity-optimized":
            hosts = call.tx.select(Host)
            return sorted(pools, key=lambda pool: -sum(_fitting(host, pool) for host in hosts))
        case _:
            return sorted(pools, key=lambda pool: pool.unit_price)


def _fitting(host: Host, pool: Pool) -> int:
    kind = pool.instance_type
    free_mib, free_vcpus = host.memory_mib - host.memory_used_mib, host.vcpus - host.vcpus_used
    return max(0, min(free_mib // kind.memory_mib, free_vcpus // kind.vcpus))


def _groups(call: Call, pools: Sequence[Pool], single_type: bool, single_zone: bool) -> Iterable[list[Pool]]:
    """Of which pools together a fleet may be, the best first."""
    groups = [list(pools)]
    if single_type:
        names = dict.fromkeys(pool.type_name for pool in pools)
        groups = [[pool for pool in pools if pool.type_name == name] for name in names]
    if not single_zone:
        return groups
    placed = [[(pool, pool.zones(call)) for pool in group] for group in groups]
    return [
        [pool.within(zone) for pool, zones in group if zone in zones]
        for group in placed
        for zone in dict.fromkeys(zone for _pool, zones in group for zone in zones)
    ]


def _fill(
    call: Call,
    fleet_id: str,
    pools: Sequence[Pool],
    target: int,
    lifecycle: Lifecycle,
    options: Mapping[str, Any],
    money: Decimal | None,
    *,
    spread: bool,
) -> Filled:
    filled = Filled()
    for index, pool in enumerate(pools):
        missing = target - filled.units
        if missing <= 0:
            break
        price = pool.price if lifecycle == "on-demand" else spot_price(call.config, pool.instance_type)
        share = missing / (len(pools) - index) if spread else missing
        count = min(_COUNT_MAX, math.ceil(share / pool.weight))
        if money is not None:
            count = min(count, int(money / price) if price else count)
            if not count:
                continue
        attempt = call.tx.connection.begin_nested()
        acts = len(call.tx.acts)
        try:
            made = _launch(call, fleet_id, pool, count, lifecycle, options)
        except AwsError as error:
            attempt.rollback()
            del call.tx.acts[acts:]
            filled.errors.append((pool, error))
            continue
        attempt.commit()
        filled.launched.append((pool, made))
        filled.units += len(made) * pool.weight
        if money is not None:
            money -= len(made) * price
        if len(made) < count:
            filled.errors.append((pool, InsufficientInstanceCapacity(pool.type_name, made[0].zone)))
    return filled


def _launch(
    call: Call, fleet_id: str, pool: Pool, count: int, lifecycle: Lifecycle, options: Mapping[str, Any]
) -> list[Instance]:
    launch = pool.for_count(count, **({"InstanceMarketOptions": _market(pool, options)} if lifecycle == "spot" else {}))
    refuse_others(launch.request, HONOURED, DEFAULTS)
    made = launch_all(call, launch.request, launch_of(call, launch.request), new_id("r"))
    check_in(call, pool.asked, launch, made[0].subnet_id)
    tags = {**launch.tags, "aws:ec2:fleet-id": fleet_id}
    for instance in made:
        put_tags(call.tx, call.account_id, call.region, INSTANCE.resource_type, instance.id, tags)
    return made


def _market(pool: Pool, options: Mapping[str, Any]) -> dict[str, Any]:
    spot: dict[str, Any] = {}
    if price := pool.override.get("MaxPrice"):
        spot["MaxPrice"] = price
    if behavior := options.get("InstanceInterruptionBehavior"):
        spot["InstanceInterruptionBehavior"] = behavior
    return {"MarketType": "spot", **({"SpotOptions": spot} if spot else {})}
