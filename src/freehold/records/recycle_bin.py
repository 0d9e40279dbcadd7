"""The recycle bin: rules by which what is deleted is kept for a while, and can be had again."""

from __future__ import annotations

import datetime as dt
from typing import Literal

import msgspec

from freehold.records.ids import AccountId
from freehold.records.schema import Record, table
from freehold.records.store import Transaction
from freehold.records.tags import tags_of

ResourceType = Literal["EBS_SNAPSHOT", "EC2_IMAGE"]


class RuleTag(msgspec.Struct, frozen=True):
    """A tag that a resource has; `value` None: whatever its value."""

    key: str
    value: str | None


class RetentionRule(Record, frozen=True):
    """Resources of an account in a region are kept for `retention_days` when they are deleted: those that have one of
    `tags`, or all if there is none, without those that have one of `exclude_tags`.

    A rule with an `unlock_delay_days` is locked, and may not be changed; it is unlocked at `unlocks_at`, once it was
    asked to be.
    """

    id: str
    account_id: AccountId
    region: str
    resource_type: ResourceType
    description: str
    retention_days: int
    tags: tuple[RuleTag, ...]
    exclude_tags: tuple[RuleTag, ...]
    unlock_delay_days: int | None
    unlocks_at: dt.datetime | None
    created_at: dt.datetime


retention_rules = table(
    "retention_rules",
    RetentionRule,
    key=("id",),
    indexes=(("account_id", "region", "resource_type", "id"),),
)


def retention(
    tx: Transaction, account_id: AccountId, region: str, resource_type: ResourceType, resource_id: str
) -> dt.timedelta | None:
    """How long a resource is kept when it is deleted; None: not at all. Its tags say which rules are for it; of several
    the longest counts (https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin-concepts.html)."""

    tags = {tag.key: tag.value for tag in tags_of(tx, [resource_id])[resource_id]}

    def has(wanted: RuleTag) -> bool:
        return wanted.key in tags and wanted.value in (None, tags[wanted.key])

    rules = tx.select(RetentionRule, account_id=account_id, region=region, resource_type=resource_type)
    days = [
        rule.retention_days
        for rule in rules
        if not any(map(has, rule.exclude_tags)) and (not rule.tags or any(map(has, rule.tags)))
    ]
    return dt.timedelta(days=max(days)) if days else None
