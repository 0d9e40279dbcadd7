"""Event windows: the hours of a week, in UTC, in which an account lets its instances be stopped and rebooted for
scheduled events.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/event-windows.html
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Literal

import msgspec

from freehold.records.compute import Instance
from freehold.records.ids import AccountId
from freehold.records.schema import Record, table
from freehold.records.store import Transaction
from freehold.records.tags import tags_of

_WEEK = 168  # hours
_DAY, _HOUR = dt.timedelta(days=1), dt.timedelta(hours=1)


class TimeRange(msgspec.Struct, frozen=True):
    """From the beginning of an hour up to that of another; day 0 is Sunday."""

    start_day: int
    start_hour: int
    end_day: int
    end_hour: int

    def hours(self) -> range:
        """The hours since Sunday began; those of the week after go on from 168."""
        start, end = self.start_day * 24 + self.start_hour, self.end_day * 24 + self.end_hour
        return range(start, end if end > start else end + _WEEK)


class EventWindow(Record, frozen=True):
    """`cron` is how its owner has written the `ranges`, None where those were given."""

    id: str
    account_id: AccountId
    region: str
    name: str | None
    ranges: tuple[TimeRange, ...]
    cron: str | None
    created_at: dt.datetime


class EventWindowTarget(Record, frozen=True):
    """What a window is for: an instance (`key` is its id, `value` empty) or those with a tag. It has one window."""

    account_id: AccountId
    region: str
    kind: Literal["instance", "tag"]
    key: str
    value: str
    window_id: str


event_windows = table("event_windows", EventWindow, key=("id",), unique=(("account_id", "region", "id"),))
event_window_targets = table(
    "event_window_targets",
    EventWindowTarget,
    key=("account_id", "region", "kind", "key", "value"),
    indexes=(("window_id",),),
)


def hours_of(ranges: Iterable[TimeRange]) -> frozenset[int]:
    return frozenset(hour % _WEEK for each in ranges for hour in each.hours())


def first_within(ranges: Iterable[TimeRange], at: dt.datetime) -> dt.datetime:
    """The first moment from `at` on that is within one of the ranges."""
    hours = hours_of(ranges)
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    sunday = midnight - (at.weekday() + 1) % 7 * _DAY
    hour = (at - sunday) // _HOUR
    ahead = next(ahead for ahead in range(_WEEK) if (hour + ahead) % _WEEK in hours)
    return at if ahead == 0 else sunday + (hour + ahead) * _HOUR


def first_for(tx: Transaction, instance: Instance, at: dt.datetime) -> dt.datetime:
    """The first moment from `at` on that the windows of an instance leave for its events; `at` if it has none."""
    account_id, region = instance.account_id, instance.region
    targets = tx.select(EventWindowTarget, account_id=account_id, region=region, kind="instance", key=instance.id)
    for tag in tags_of(tx, [instance.id])[instance.id]:
        found = tx.get(EventWindowTarget, account_id, region, "tag", tag.key, tag.value)
        targets += [] if found is None else [found]
    windows = tx.select(EventWindow, id=[target.window_id for target in targets])
    return first_within([each for window in windows for each in window.ranges], at) if windows else at
