"""Random policies and requests, from few words, so that they often speak of each other."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

ACTIONS = ("ec2:RunInstances", "ec2:StopInstances", "ec2:DescribeVpcs", "s3:GetObject", "s3:PutObject", "iam:PassRole")
ACTION_PATTERNS = (*ACTIONS, "*", "ec2:*", "s3:*Object", "EC2:run*", "ec2:????Instances", "iam:*", "s3:Get*t*")
RESOURCES = (
    "*",
    "arn:aws:ec2:us-east-1:111122223333:instance/i-1",
    "arn:aws:ec2:us-east-1:111122223333:vpc/vpc-1",
    "arn:aws:ec2:eu-west-1:111122223333:instance/i-2",
    "arn:aws:s3:::bucket/alice/file:1",
    "arn:aws:s3:::bucket/a*b",
    "arn:aws:iam::111122223333:role/worker",
)
RESOURCE_PATTERNS = (
    *RESOURCES,
    "arn:aws:ec2:*:*:instance/*",
    "arn:aws:ec2:us-*-1:111122223333:*",
    "arn:aws:ec2:*:vpc/*",
    "arn:*:s3:::bucket/*",
    "arn:aws:s3:::bucket/${aws:username}/*",
    "arn:aws:s3:::bucket/${aws:PrincipalTag/team, 'alice'}/*",
    "arn:aws:s3:::bucket/a${*}b",
    "arn:aws:s3:::*:?",
    "arn:aws:ec2:${aws:RequestedRegion}:111122223333:instance/i-?",
    "arn:aws:iam::111122223333:role/*er",
)
TEXTS = ("alice", "Alice", "axb", "bob", "a*b", "", "us-east-1", "true", "false", "10", "9.5", "2026-01-01T00:00:00Z",
         "2026-06-01", "1780000000", "10.0.0.1", "2001:db8::1", "arn:aws:iam::111122223333:role/worker",
         "YWxpY2U=", "x:y")  # fmt: skip
TEXT_PATTERNS = (*TEXTS, "a*", "*", "?ob", "${aws:username}", "${aws:PrincipalTag/team, 'bob'}", "${*}", "a${*}b",
                 "10.0.0.0/8", "2001:db8::/32", "arn:aws:iam::*:role/*", "arn:aws:iam::111122223333:*", "${nothing}",
                 "${aws:TagKeys}", "${open", "$x", True, 10)  # fmt: skip
KEYS = ("aws:username", "aws:PrincipalTag/team", "aws:TagKeys", "aws:RequestedRegion", "aws:SourceIp", "s3:prefix",
        "aws:CurrentTime", "ec2:Owner", "aws:PrincipalArn")  # fmt: skip
OPERATORS = (
    "StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike",
    "StringNotLike", "NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals",
    "NumericGreaterThan", "NumericGreaterThanEquals", "DateEquals", "DateNotEquals", "DateLessThan",
    "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals", "Bool", "BinaryEquals", "IpAddress",
    "NotIpAddress", "ArnEquals", "ArnNotEquals", "ArnLike", "ArnNotLike",
)  # fmt: skip
ACCOUNT = "111122223333"
USER = f"arn:aws:iam::{ACCOUNT}:user/alice"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/worker"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/one"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
OTHER = "arn:aws:iam::444455556666:root"
CALLERS: tuple[dict[str, Any], ...] = (
    {"arn": USER, "account": ACCOUNT},
    {"arn": SESSION, "entity": ROLE, "account": ACCOUNT},
    {"arn": f"arn:aws:sts::{ACCOUNT}:federated-user/bob", "entity": USER, "account": ACCOUNT},
    {"arn": ROOT, "account": ACCOUNT, "root": True},
    {"arn": "ec2.amazonaws.com", "kind": "Service"},
)
PRINCIPALS = (
    "*",
    {"AWS": "*"},
    {"AWS": USER},
    {"AWS": [ROLE, OTHER]},
    {"AWS": [SESSION]},
    {"AWS": [ROOT]},
    {"AWS": [ACCOUNT, ROLE]},
    {"AWS": [ROOT, USER]},
    {"AWS": [ROOT, ROLE, SESSION]},
    {"AWS": OTHER},
    {"Service": "ec2.amazonaws.com"},
    {"Service": ["ec2.amazonaws.com"], "AWS": [USER]},
)


class Maker:
    """Makes policies and requests of a few words of those above, so that one often meets the other."""

    def __init__(self, random: random.Random) -> None:
        self._random = random
        self._texts = random.sample(TEXTS, 4)
        self._patterns = [*self._texts, *random.sample(TEXT_PATTERNS, 4)]
        self._keys = random.sample(KEYS, 4)

    def _some(self, of: Sequence[Any]) -> Any:
        """One, or a list of some."""
        if self._random.random() < 0.4:
            return self._random.choice(of)
        return self._random.choices(of, k=self._random.randint(1, 3))

    def _operator(self) -> str:
        if self._random.random() < 0.08:
            return "Null"
        prefix = self._random.choice(("", "", "", "ForAllValues:", "ForAnyValue:"))
        return prefix + self._random.choice(OPERATORS) + self._random.choice(("", "", "IfExists"))

    def _statement(self, on_resource: bool) -> dict[str, Any]:
        random = self._random
        made: dict[str, Any] = {"Effect": random.choices(("Allow", "Deny"), (4, 1))[0]}
        made[random.choices(("Action", "NotAction"), (6, 1))[0]] = self._some(ACTION_PATTERNS)
        made[random.choices(("Resource", "NotResource"), (6, 1))[0]] = self._some(RESOURCE_PATTERNS)
        if on_resource:
            made[random.choices(("Principal", "NotPrincipal"), (5, 1))[0]] = random.choice(PRINCIPALS)
        if random.random() < 0.6:
            made["Condition"] = {
                self._operator(): {
                    key: self._some(self._patterns) for key in random.choices(self._keys, k=random.choice((1, 1, 2)))
                }
                for _ in range(random.choice((1, 1, 2)))
            }
        return made

    def document(self, on_resource: bool = False) -> dict[str, Any]:
        count = self._random.randint(1, 3)
        made: dict[str, Any] = {"Statement": [self._statement(on_resource) for _ in range(count)]}
        version = self._random.choice(("2012-10-17", "2012-10-17", "2012-10-17", "2008-10-17", None))
        return made if version is None else {"Version": version} | made

    def context(self) -> dict[str, Any]:
        random = self._random
        found: dict[str, Any] = {}
        for key in self._keys:
            if random.random() < 0.8:
                several = key == "aws:TagKeys" or random.random() < 0.05
                chosen = random.choices(self._texts, k=random.randint(0, 3))
                found[key.lower()] = chosen if several else random.choice(self._texts)
        return found
