"""The policy decision for a principal with ten attached policies of ten statements: ``python -m bench.policy``.

Beside it the reference implementation of the tests, and Cedar, which has a language of its own: each statement is
written in it as one policy. (parliament, the linter of IAM policies, decides nothing.) They take turns, and the fastest
turn of each counts, as `timeit` has it: what is slower is slower by what else the machine is at.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import cedarpy
from rich.console import Console
from rich.table import Table

from freehold.iam.evaluate import Policies, Policy, evaluate
from freehold.iam.principals import Who
from tests.iam import reference

WANTED_US = 20
POLICIES = STATEMENTS = 10
_TURNS = 15
_SECONDS = 0.1  # of a turn
_ACCOUNT = "111122223333"
_SERVICES = ("ec2", "s3", "iam", "kms", "rds", "logs", "cloudwatch", "autoscaling", "elasticloadbalancing", "sqs")
_USER = Who(f"arn:aws:iam::{_ACCOUNT}:user/alice", _ACCOUNT)
_INSTANCE = f"arn:aws:ec2:us-east-1:{_ACCOUNT}:instance/i-0123456789abcdef0"
_CONTEXT = {
    "aws:username": "alice",
    "aws:sourceip": "203.0.113.9",
    "aws:requestedregion": "us-east-1",
    "aws:resourcetag/owner": "alice",
}

# What is asked: allowed by one of the last statements, denied explicitly, and not allowed by any.
ASKED = ("ec2:StopInstances", "ec2:TerminateInstances", "ec2:CreateVpc")


def documents() -> list[dict[str, object]]:
    """Ten policies; two statements of each are about EC2, and of those most about other actions or resources."""
    made = []
    for place in range(POLICIES):
        statements: list[dict[str, object]] = []
        for service in _SERVICES:
            statements.append(
                {
                    "Effect": "Allow",
                    "Action": [f"{service}:Describe*", f"{service}:List*", f"{service}:Get{place}*"],
                    "Resource": f"arn:aws:{service}:*:{_ACCOUNT}:thing-{place}/*",
                    "Condition": {"IpAddress": {"aws:SourceIp": f"203.0.{place}.0/24"}},
                }
            )
        statements[1] = {
            "Effect": "Allow",
            "Action": ["ec2:StopInstances", "ec2:StartInstances"],
            "Resource": f"arn:aws:ec2:*:{_ACCOUNT}:instance/*",
            "Condition": {
                "StringEquals": {"aws:ResourceTag/Owner": "${aws:username}" if place == POLICIES - 1 else f"o-{place}"}
            },
        }
        statements[2] = {
            "Effect": "Deny",
            "Action": "ec2:Terminate*",
            "Resource": "*",
            "Condition": {"StringNotEquals": {"aws:RequestedRegion": ["eu-west-1", f"eu-west-{place}"]}},
        }
        made.append({"Version": "2012-10-17", "Statement": statements})
    return made


def microseconds(decide: Callable[[str], object], action: str) -> float:
    """Processor time of a decision, in one turn."""
    count, started = 0, time.process_time()
    while (passed := time.process_time() - started) < _SECONDS:
        for _ in range(20):
            decide(action)
        count += 20
    return passed / count * 1e6


def cedar(made: list[dict[str, object]]) -> str:
    """The same in Cedar's language; its patterns know no ARNs, so they are patterns of text."""
    rules = []
    for document in made:
        for statement in document["Statement"]:  # type: ignore[attr-defined]
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            tests = [" || ".join(f'context.action like "{action}"' for action in actions)]
            tests.append(f'context.resource like "{statement["Resource"]}"')
            for operator, block in statement.get("Condition", {}).items():
                ((key, value),) = block.items()
                name = key.rpartition(":")[2].replace("/", "_")
                match operator:
                    case "IpAddress":
                        tests.append(f'context.{name}.isInRange(ip("{value}"))')
                    case "StringEquals":
                        wanted = "context.username" if value.startswith("$") else f'"{value}"'
                        tests.append(f"context.{name} == {wanted}")
                    case "StringNotEquals":
                        tests.append(f"!({json.dumps(value)}.contains(context.{name}))")
            effect = "permit" if statement["Effect"] == "Allow" else "forbid"
            condition = " && ".join(f"({test})" for test in tests)
            rules.append(f"{effect}(principal, action, resource) when {{ {condition} }};")
    return "\n".join(rules)


def _cedar_decides(made: list[dict[str, object]]) -> Callable[[str], bool]:
    policies, entities = cedarpy.PolicySet.from_str(cedar(made)), cedarpy.Entities.from_json_str("[]")

    def decide(action: str) -> bool:
        context = {
            "action": action,
            "resource": _INSTANCE,
            "username": "alice",
            "SourceIp": {"__extn": {"fn": "ip", "arg": "203.0.113.9"}},
            "RequestedRegion": "us-east-1",
            "ResourceTag_Owner": "alice",
        }
        request = {"principal": 'U::"alice"', "action": 'Action::"do"', "resource": 'R::"it"', "context": context}
        return cedarpy.is_authorized(request, policies, entities).allowed

    return decide


def decisions() -> Table:
    """The table of decisions. All must decide alike."""
    made = documents()
    texts = [json.dumps(document) for document in made]
    compiled = Policies(identity=[Policy(text, "identity") for text in texts])

    def engine(action: str, policies: Policies = compiled) -> bool:
        return evaluate(_USER, action, _INSTANCE, _CONTEXT.get, policies).allowed

    def first(action: str) -> bool:
        return engine(action, Policies(identity=[Policy(text, "identity") for text in texts]))

    def slow(action: str) -> bool:
        asked = reference.Asked(action, _INSTANCE, _CONTEXT, arn=_USER.arn, account=_ACCOUNT)
        return reference.decide(asked, made) == "allowed"

    table = Table(title="Microseconds of processor time a decision; ten policies of ten statements")
    for name in ("", "allowed", "explicitly denied", "not allowed", "wanted"):
        table.add_column(name, justify="right" if name else "left")
    expected = [True, False, False]
    sides = (
        ("Freehold", engine, f"≤ {WANTED_US}"),
        ("Freehold, first of the policies: compiling them too", first, ""),
        ("Cedar, policies parsed before", _cedar_decides(made), ""),
        ("the reference of the tests", slow, ""),
    )
    for name, decide, _ in sides:
        if [decide(action) for action in ASKED] != expected:
            raise RuntimeError(f"{name} decides otherwise")
    turns = [[[microseconds(decide, action) for action in ASKED] for _, decide, _ in sides] for _ in range(_TURNS)]
    for place, (name, _, wanted) in enumerate(sides):
        fastest = map(min, zip(*(turn[place] for turn in turns), strict=True))
        table.add_row(name, *(f"{taken:,.1f}" for taken in fastest), wanted)
    return table


def main() -> None:
    Console().print(decisions())


if __name__ == "__main__":
    main()
