"""What actions there are: the Service Authorization Reference of AWS as data.

``levels.json`` has every service's actions by their access level, and a file each the services that are served here (or
will be) with the resources and condition keys of each action. They are generated (`python -m freehold.iam.data FILE`)
and read when first asked for: no request needs them but those of IAM that are about actions.
https://docs.aws.amazon.com/service-authorization/latest/reference/
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Mapping
from typing import Literal

import msgspec

Level = Literal["List", "Read", "Write", "Tagging", "Permissions management"]

DETAILED = (
    "autoscaling", "budgets", "ce", "cloudtrail", "cloudwatch", "ebs", "ec2", "ec2-instance-connect",
    "elasticloadbalancing", "iam", "kms", "logs", "rbin", "rds", "s3", "servicequotas", "sts", "tag",
)  # fmt: skip
"""The services of which resources and condition keys are known."""


class Summary(msgspec.Struct, frozen=True):
    """A service: `name` as in ``Amazon EC2``, and its actions by level, with blanks between them."""

    name: str
    levels: dict[Level, str]


class Use(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an action has to do with a type of resource. `keys` are the condition keys that it has for one,
    `dependent` the further actions that it needs for one."""

    required: bool = False
    keys: list[str] = []
    dependent: list[str] = []


class Action(msgspec.Struct, frozen=True):
    """`uses` by type of resource; under ``""`` what it has without any."""

    level: Level
    uses: dict[str, Use]


class Service(msgspec.Struct, frozen=True):
    """`arns` are the forms of ARNs by type of resource, `keys` the condition keys with their types."""

    name: str
    arns: dict[str, str]
    keys: dict[str, str]
    actions: dict[str, Action]


@functools.cache
def services() -> Mapping[str, Summary]:
    """Every service of AWS by its prefix in actions."""
    return msgspec.json.decode(_read("levels"), type=dict[str, Summary])


@functools.cache
def service(prefix: str) -> Service:
    """A service of `DETAILED` by its prefix. Raises KeyError for others."""
    if prefix not in DETAILED:
        raise KeyError(prefix)
    return msgspec.json.decode(_read(prefix), type=Service)


@functools.cache
def levels(prefix: str) -> Mapping[str, Level]:
    """The level of each action of a service, by the action's name; empty if there is no such service."""
    found = services().get(prefix)
    return {name: level for level, names in found.levels.items() for name in names.split()} if found else {}


def _read(name: str) -> bytes:
    return importlib.resources.files(__name__).joinpath(f"{name}.json").read_bytes()
