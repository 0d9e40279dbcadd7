"""The managed policies that everyone has (AWS's own), by ARN.

policies.toml says what each is for and, in few words, what it allows; their documents are made of that and of the
action data, which knows the actions that read and list.
"""

from __future__ import annotations

import base64
import datetime as dt
import functools
import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from freehold.iam import data
from freehold.iam.data import Level
from freehold.iam.managed.levels import patterns_of

WRITTEN = dt.datetime(2026, 11, 25, tzinfo=dt.UTC)
"""When the policies became what they are."""

_SERVICE_ROLES = "/aws-service-role/"


@dataclass(frozen=True, slots=True)
class AwsPolicy:
    """A policy that everyone has. `id` is its unique id (``ANPA…``), `rules` what policies.toml says of it."""

    name: str
    path: str
    rules: Mapping[str, Any]

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::aws:policy{self.path}{self.name}"

    @property
    def id(self) -> str:
        return "ANPA" + base64.b32encode(hashlib.sha256(self.arn.encode()).digest()).decode()[:16]

    @property
    def description(self) -> str:
        about: str = self.rules["about"]
        return about

    @property
    def attachable(self) -> bool:
        """Whether users, groups and roles may have it: not if it is for the roles of services."""
        return self.path != _SERVICE_ROLES

    @property
    def document(self) -> str:
        """Its JSON text."""
        return _document(self.arn)


@functools.cache
def policies() -> Mapping[str, AwsPolicy]:
    """All of them, by ARN."""
    given = tomllib.loads(files(__package__).joinpath("policies.toml").read_text())
    found = [AwsPolicy(name, path, rules) for path, named in given.items() for name, rules in named.items()]
    return {policy.arn: policy for policy in found}


def managed_policy(arn: str) -> str | None:
    """The JSON text of one of them, or None if there is none with this ARN."""
    policy = policies().get(arn)
    return policy.document if policy else None


@functools.cache
def _document(arn: str) -> str:
    rules = policies()[arn].rules
    allowed = [
        *(f"{service}:*" for service in rules.get("full", ())),
        *_of_levels(rules.get("read", ()), ("Read", "List"), rules.get("not", ())),
        *_of_levels(rules.get("list", ()), ("List",), rules.get("not", ())),
        *rules.get("actions", ()),
    ]
    statements: list[Mapping[str, Any]] = []
    if allowed:
        statements.append({"Effect": "Allow", "Action": sorted(set(allowed)), "Resource": "*"})
    statements += rules.get("statements", ())
    for member, action, key in (
        ("pass_to", "iam:PassRole", "iam:PassedToService"),
        ("link", "iam:CreateServiceLinkedRole", "iam:AWSServiceName"),
    ):
        if named := rules.get(member):
            condition = {"StringEquals": {key: named}}
            statements.append({"Effect": "Allow", "Action": action, "Resource": "*", "Condition": condition})
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))


def _of_levels(named: Sequence[str], levels: tuple[Level, ...], excepted: Sequence[str]) -> Iterable[str]:
    for service in data.services() if named == ["*"] else named:
        yield from patterns_of(service, levels, excepted)
