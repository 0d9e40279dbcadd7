"""Launch templates: what RunInstances is to be asked for, kept under a name, in versions.

Tags are in records/tags, by the template's id.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from freehold.records.ids import AccountId
from freehold.records.schema import Record, table


class LaunchTemplate(Record, frozen=True):
    """`latest_version` is the greatest that there is; `versions_made` also counts those that were deleted, since a
    number is never used again. `created_by` is the ARN of a principal."""

    id: str
    account_id: AccountId
    region: str
    name: str
    created_at: dt.datetime
    created_by: str
    default_version: int
    latest_version: int
    versions_made: int


class LaunchTemplateVersion(Record, frozen=True):
    """One version, which never changes. `data` is RequestLaunchTemplateData as it was given, times in ISO 8601."""

    template_id: str
    number: int
    account_id: AccountId
    region: str
    description: str | None
    created_at: dt.datetime
    created_by: str
    data: dict[str, Any]


launch_templates = table(
    "launch_templates",
    LaunchTemplate,
    key=("id",),
    unique=(("account_id", "region", "id"), ("account_id", "region", "name")),
)
launch_template_versions = table(
    "template_versions",  # for the names of its indexes are limited
    LaunchTemplateVersion,
    key=("template_id", "number"),
    indexes=(("account_id", "region", "template_id", "number"),),
)
