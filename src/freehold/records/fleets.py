"""Fleets: instances of several types that one call launched."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from freehold.records.ids import AccountId
from freehold.records.schema import Record, table


class Fleet(Record, frozen=True):
    """A fleet of type ``instant``. `request` is CreateFleet's as it was given, `target` its TargetCapacitySpecification
    with what it left to the default; `launched` and `errors` are what became of it, as the API shows it, and
    `fulfilled` the units. State ``deleted_terminating``: its instances go, or are gone."""

    id: str
    account_id: AccountId
    region: str
    state: Literal["active", "deleted_terminating"]
    request: dict[str, Any]
    target: dict[str, Any]
    launched: list[dict[str, Any]]
    errors: list[dict[str, Any]]
    fulfilled: float
    fulfilled_on_demand: float
    created_at: dt.datetime
    deleted_at: dt.datetime | None = None


fleets = table("fleets", Fleet, key=("id",), indexes=(("account_id", "region", "id"), ("deleted_at",)))
