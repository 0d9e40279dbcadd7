"""Tags on every kind of resource, in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from freehold.records.ids import AccountId
from freehold.records.schema import Record, table
from freehold.records.store import Transaction


class Tag(Record, frozen=True):
    """`resource_type` is EC2's name of the kind: ``instance``, ``volume``, ``security-group`` …"""

    resource_id: str
    key: str
    value: str
    account_id: AccountId
    region: str
    resource_type: str


tags = table(
    "tags",
    Tag,
    key=("resource_id", "key"),
    indexes=(
        ("account_id", "region", "key", "value", "resource_id"),
        ("account_id", "region", "resource_id", "key"),
    ),
)


def put_tags(
    tx: Transaction,
    account_id: AccountId,
    region: str,
    resource_type: str,
    resource_id: str,
    pairs: Mapping[str, str],
) -> None:
    """Add tags, overwriting those with the same key."""
    for key, value in pairs.items():
        tx.put(Tag(resource_id, key, value, account_id, region, resource_type))


def tags_of(tx: Transaction, resource_ids: Sequence[str]) -> dict[str, list[Tag]]:
    """The tags of many resources in one query, by resource id, each list in key order."""
    found: dict[str, list[Tag]] = {resource_id: [] for resource_id in resource_ids}
    for start in range(0, len(resource_ids), 500):
        for tag in tx.select(Tag, resource_id=list(resource_ids[start : start + 500])):
            found[tag.resource_id].append(tag)
    return found


def delete_tags_of(tx: Transaction, resource_id: str) -> None:
    tx.delete_where(Tag, resource_id=resource_id)
