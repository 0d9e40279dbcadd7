"""Retention rules: {Create,Get,Update,Delete,List,Lock,Unlock}Rule.

    unlocked ──► locked ──► pending_unlock ──► unlocked         after the days of its unlock delay

https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin-create-rule.html
"""

from __future__ import annotations

import datetime as dt
import secrets
import string
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_args

import msgspec

from freehold.records.feed import take_turn
from freehold.records.recycle_bin import ResourceType, RetentionRule, RuleTag, retention_rules
from freehold.records.tags import delete_tags_of, put_tags, tags_of
from freehold.services import page_tokens
from freehold.services.errors import UnsupportedOperation
from freehold.services.operation import Call, Needed, Resources, Response, operation
from freehold.services.rbin.errors import RuleLocked, RuleNotFound, RuleQuotaExceeded, ValidationError

RULES_MAX = 250
_PAGE = 1000
_EXCLUDED_MAX = 5
_ALPHABET = string.ascii_letters + string.digits

_keys = msgspec.json.Decoder(list[str])


def arn(call: Call, identifier: str) -> str:
    return f"arn:aws:rbin:{call.region}:{call.account_id}:rule/{identifier}"


def needed(call: Call, identifier: str) -> Needed:
    """A rule that policies must allow the operation on."""

    def keys() -> Mapping[str, Any]:
        rule = call.tx.find(RetentionRule, id=identifier, **_owner(call))
        return {"rbin:Attribute/ResourceType": rule.resource_type if rule else None}

    def tags() -> Mapping[str, str]:
        return {tag.key: tag.value for tag in tags_of(call.tx, [identifier]).get(identifier, ())}

    return Needed(arn(call, identifier), keys=keys, tags=tags)


def _named() -> Resources:
    return lambda call, request: [needed(call, request["Identifier"])]


def _of_type(call: Call, request: Mapping[str, Any]) -> Iterator[Needed]:
    keys = {"rbin:Request/ResourceType": request["ResourceType"]}
    tags = {str(tag["Key"]): str(tag.get("Value", "")) for tag in request.get("Tags") or ()}
    yield Needed(arn(call, "*"), keys=lambda: keys, request_tags=tags)
    if tags:
        yield Needed(arn(call, "*"), "rbin:TagResource", request_tags=tags)


def load(call: Call, identifier: str) -> RetentionRule:
    """Raises RuleNotFound."""
    rule = call.tx.find(RetentionRule, id=identifier, **_owner(call))
    if rule is None:
        raise RuleNotFound(identifier)
    return rule


@operation(resources=_of_type)
def create_rule(call: Call, request: Mapping[str, Any]) -> Response:
    """For snapshots or images, those with some tags or all of the region. A rule for tags can not be locked. There is
    one RetentionPeriodUnit and one UnlockDelayUnit: days."""
    _check_type(request["ResourceType"])
    tags = {str(tag["Key"]): str(tag.get("Value", "")) for tag in request.get("Tags") or ()}
    resource_tags, excluded = _tags(request.get("ResourceTags")), _tags(request.get("ExcludeResourceTags"))
    _check_tags(resource_tags, excluded)
    lock = request.get("LockConfiguration")
    if lock and resource_tags:
        raise ValidationError("A retention rule for resources with tags can not be locked.")
    take_turn(call.tx)
    if call.tx.count(RetentionRule, **_owner(call)) >= RULES_MAX:
        raise RuleQuotaExceeded(RULES_MAX)
    rule = RetentionRule(
        id="".join(secrets.choice(_ALPHABET) for _ in range(11)),
        account_id=call.account_id,
        region=call.region,
        resource_type=request["ResourceType"],
        description=request.get("Description") or "",
        retention_days=request["RetentionPeriod"]["RetentionPeriodValue"],
        tags=resource_tags,
        exclude_tags=excluded,
        unlock_delay_days=_delay(lock),
        unlocks_at=None,
        created_at=call.now,
    )
    call.tx.insert(rule)
    put_tags(call.tx, call.account_id, call.region, "rule", rule.id, tags)
    return {**_shown(call, rule), "Tags": [{"Key": key, "Value": value} for key, value in sorted(tags.items())]}


@operation(resources=_named())
def get_rule(call: Call, request: Mapping[str, Any]) -> Response:
    """What it says, and how it is locked."""
    return _shown(call, load(call, request["Identifier"]))


@operation(resources=_named())
def update_rule(call: Call, request: Mapping[str, Any]) -> Response:
    """What is not named stays. What is in the bin already stays as long as it was to. The only RetentionPeriodUnit is
    days. Raises RuleLocked."""
    take_turn(call.tx)
    rule = _unlocked(call, request["Identifier"])
    if request.get("ResourceType", rule.resource_type) != rule.resource_type:
        raise ValidationError("The resource type of a retention rule can not be changed.")
    tags = _tags(request["ResourceTags"]) if "ResourceTags" in request else rule.tags
    excluded = _tags(request["ExcludeResourceTags"]) if "ExcludeResourceTags" in request else rule.exclude_tags
    _check_tags(tags, excluded)
    days = (request.get("RetentionPeriod") or {}).get("RetentionPeriodValue", rule.retention_days)
    description = request.get("Description", rule.description)
    changed = call.tx.update(rule, tags=tags, exclude_tags=excluded, retention_days=days, description=description)
    return _shown(call, changed)


@operation(resources=_named())
def delete_rule(call: Call, request: Mapping[str, Any]) -> Response:
    """What is in the bin stays as long as it was to. Raises RuleLocked."""
    take_turn(call.tx)
    rule = _unlocked(call, request["Identifier"])
    delete_tags_of(call.tx, rule.id)
    call.tx.delete(rule)
    return {}


@operation(resources=_of_type, read_only=True)
def list_rules(call: Call, request: Mapping[str, Any]) -> Response:
    """By tags: the rules that name all that are given."""
    _check_type(request["ResourceType"])
    most = request.get("MaxResults") or _PAGE
    asked = page_tokens.asked(request, call.operation, call.region, without=("MaxResults", "NextToken"))
    after = _after(request["NextToken"], asked) if request.get("NextToken") else ""
    rules = call.tx.select(
        RetentionRule,
        retention_rules.c.id > after,
        order_by=(retention_rules.c.id,),
        resource_type=request["ResourceType"],
        **_owner(call),
    )
    tags, excluded = set(_tags(request.get("ResourceTags"))), set(_tags(request.get("ExcludeResourceTags")))
    wanted = request.get("LockState")
    found = [
        rule
        for rule in rules
        if tags <= set(rule.tags)
        and excluded <= set(rule.exclude_tags)
        and (wanted is None or _state(rule, call.now) == wanted)
    ]
    names = ("Identifier", "Description", "RetentionPeriod", "LockState", "RuleArn")
    shown = [_shown(call, rule) for rule in found[:most]]
    summaries = [{name: each[name] for name in names if name in each} for each in shown]
    token = page_tokens.write([found[most - 1].id], asked) if len(found) > most else None
    return {"Rules": summaries, **({"NextToken": token.replace("-", "+").replace("_", "/")} if token else {})}


@operation(resources=_named())
def lock_rule(call: Call, request: Mapping[str, Any]) -> Response:
    """A rule for all of a region: from here on it may neither be changed nor deleted. The only UnlockDelayUnit is days.
    Raises RuleLocked."""
    take_turn(call.tx)
    rule = _unlocked(call, request["Identifier"])
    if rule.tags:
        raise ValidationError("A retention rule for resources with tags can not be locked.")
    locked = call.tx.update(rule, unlock_delay_days=_delay(request["LockConfiguration"]), unlocks_at=None)
    return _shown(call, locked)


@operation(resources=_named())
def unlock_rule(call: Call, request: Mapping[str, Any]) -> Response:
    """Unlocked when its unlock delay is over. Raises RuleLocked if it is not locked."""
    take_turn(call.tx)
    rule = load(call, request["Identifier"])
    if _state(rule, call.now) != "locked" or rule.unlock_delay_days is None:
        raise RuleLocked(f"The retention rule '{rule.id}' is not locked.")
    return _shown(call, call.tx.update(rule, unlocks_at=call.now + dt.timedelta(days=rule.unlock_delay_days)))


def _owner(call: Call) -> dict[str, Any]:
    return {"account_id": call.account_id, "region": call.region}


def _state(rule: RetentionRule, now: dt.datetime) -> Literal["locked", "pending_unlock", "unlocked"]:
    if rule.unlock_delay_days is None or (rule.unlocks_at is not None and rule.unlocks_at <= now):
        return "unlocked"
    return "locked" if rule.unlocks_at is None else "pending_unlock"


def _unlocked(call: Call, identifier: str) -> RetentionRule:
    rule = load(call, identifier)
    if _state(rule, call.now) != "unlocked":
        raise RuleLocked(f"The retention rule '{identifier}' is locked.")
    return rule


def _check_type(resource_type: str) -> None:
    if resource_type not in get_args(ResourceType):
        raise UnsupportedOperation(f"A retention rule for the resource type {resource_type}")


def _check_tags(tags: tuple[RuleTag, ...], excluded: tuple[RuleTag, ...]) -> None:
    if tags and excluded:
        raise ValidationError("Specify either ResourceTags or ExcludeResourceTags, but not both.")
    if len(excluded) > _EXCLUDED_MAX:
        raise ValidationError(f"At most {_EXCLUDED_MAX} exclusion tags may be given.")


def _tags(given: Iterable[Mapping[str, Any]] | None) -> tuple[RuleTag, ...]:
    return tuple(RuleTag(str(tag["ResourceTagKey"]), tag.get("ResourceTagValue")) for tag in given or ())


def _delay(lock: Mapping[str, Any] | None) -> int | None:
    return None if not lock else int(lock["UnlockDelay"]["UnlockDelayValue"])


def _after(token: str, asked: bytes) -> str:
    try:
        (after,) = page_tokens.read(token.rstrip("=").replace("+", "-").replace("/", "_"), asked, _keys)
    except (page_tokens.UnusableToken, ValueError) as error:
        raise ValidationError("The page token is not valid.") from error
    return after


def _shown(call: Call, rule: RetentionRule) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "Identifier": rule.id,
        "Description": rule.description,
        "ResourceType": rule.resource_type,
        "RetentionPeriod": {"RetentionPeriodValue": rule.retention_days, "RetentionPeriodUnit": "DAYS"},
        "ResourceTags": _shown_tags(rule.tags),
        "ExcludeResourceTags": _shown_tags(rule.exclude_tags),
        "Status": "available",
        "RuleArn": arn(call, rule.id),
    }
    state = _state(rule, call.now)
    if rule.unlock_delay_days is not None:
        delay = {"UnlockDelayValue": rule.unlock_delay_days, "UnlockDelayUnit": "DAYS"}
        answer |= {"LockState": state, "LockConfiguration": {"UnlockDelay": delay}}
    elif not rule.tags:
        answer["LockState"] = state
    if state == "pending_unlock":
        answer["LockEndTime"] = rule.unlocks_at
    return answer


def _shown_tags(tags: Iterable[RuleTag]) -> list[dict[str, str]]:
    return [
        {"ResourceTagKey": tag.key, **({} if tag.value is None else {"ResourceTagValue": tag.value})} for tag in tags
    ]
