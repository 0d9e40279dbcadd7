"""Condition operators, in the examples and tables of AWS's documentation."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.iam import patterns
from freehold.iam.conditions import OPERATORS, Condition


def holds(operator: str, values: Any, **context: Any) -> bool:
    """Whether a condition on ``key`` holds; variables are looked up in the same context."""
    given = values if isinstance(values, list) else [values]
    wanted = [patterns.parse(value, variables=True) for value in given]
    return Condition(OPERATORS[operator], "Key", wanted).holds(context.get)


@pytest.mark.parametrize(
    ("operator", "policy", "request_value", "expected"),
    [
        ("StringEquals", "alice", "alice", True),
        ("StringEquals", "alice", "Alice", False),
        ("StringEquals", "a*", "abc", False),
        ("StringEquals", "a*", "a*", True),
        ("StringEquals", ["bob", "alice"], "alice", True),
        ("StringNotEquals", ["bob", "alice"], "alice", False),
        ("StringNotEquals", ["bob", "alice"], "carol", True),
        ("StringEqualsIgnoreCase", "alice", "ALICE", True),
        ("StringNotEqualsIgnoreCase", "alice", "ALICE", False),
        ("StringLike", "home/*", "home/alice", True),
        ("StringLike", "home/?", "home/alice", False),
        ("StringNotLike", "home/*", "home/alice", False),
        ("NumericEquals", "10", "10.0", True),
        ("NumericLessThanEquals", "10", "10", True),
        ("NumericLessThan", "10", "9", True),
        ("NumericGreaterThan", "10", "9", False),
        ("NumericGreaterThanEquals", "10", "x", False),
        ("NumericNotEquals", "10", "x", True),
        ("NumericEquals", "NaN", "NaN", False),
        ("DateGreaterThan", "2019-07-16T12:00:00Z", "2019-07-16T15:00:00Z", True),
        ("DateLessThan", "2019-07-16T16:00:00+02:00", "2019-07-16T15:00:00Z", False),
        ("DateEquals", "1563289200", "2019-07-16T15:00:00Z", True),
        ("DateEquals", "2019-07-16T15:00:00.5Z", "2019-07-16T15:00:00Z", False),
        ("DateLessThanEquals", "2020", "2019-12-31T23:59:59Z", True),
        ("DateNotEquals", "2020-02-31", "2020-02-31", True),
        ("DateLessThan", "99999999999999999999", "2019-12-31T23:59:59Z", True),
        ("Bool", "true", "True", True),
        ("Bool", "false", "true", False),
        ("BinaryEquals", "YWxpY2U=", "YWxpY2U=", True),
        ("BinaryEquals", "not base64", "not base64", False),
        ("IpAddress", "203.0.113.0/24", "203.0.113.9", True),
        ("IpAddress", "203.0.113.9", "203.0.113.9", True),
        ("IpAddress", "2001:DB8:1234:5678::/64", "2001:db8:1234:5678::1", True),
        ("IpAddress", "203.0.113.0/24", "2001:db8::1", False),
        ("NotIpAddress", "203.0.113.0/24", "198.51.100.1", True),
        ("IpAddress", "nonsense", "203.0.113.9", False),
        ("ArnEquals", "arn:aws:sns:*:111122223333:*", "arn:aws:sns:us-east-1:111122223333:topic", True),
        ("ArnLike", "arn:aws:sns:*:topic", "arn:aws:sns:us-east-1:111122223333:topic", False),
        ("ArnNotLike", "arn:aws:sns:*:*:other", "arn:aws:sns:us-east-1:111122223333:topic", True),
        ("ArnLike", "*", "no arn", False),
    ],
)
def test_one_value(operator: str, policy: Any, request_value: str, expected: bool) -> None:
    assert holds(operator, policy, key=request_value) is expected


@pytest.mark.parametrize("operator", [name for name in OPERATORS if not name.startswith("Null")])
def test_a_key_that_is_not_there(operator: str) -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html"""
    exists = operator.endswith("IfExists")
    negated = "Not" in operator
    expected = exists or operator.startswith("ForAllValues:") or (negated and not operator.startswith("ForAnyValue:"))
    assert holds(operator, "10") is expected


@pytest.mark.parametrize(
    ("operator", "policy", "values", "expected"),
    [
        ("ForAllValues:StringEquals", ["a", "b"], ["a"], True),
        ("ForAllValues:StringEquals", ["a", "b"], ["a", "c"], False),
        ("ForAllValues:StringEquals", ["a"], [], True),
        ("ForAllValues:StringEquals", ["a"], "", True),
        ("ForAllValues:StringNotEquals", ["a", "b"], ["c", "d"], True),
        ("ForAllValues:StringNotEquals", ["a", "b"], ["a", "d"], False),
        ("ForAnyValue:StringEquals", ["a", "b"], ["a", "c"], True),
        ("ForAnyValue:StringEquals", ["a", "b"], ["c"], False),
        ("ForAnyValue:StringEquals", ["a", "b"], [], False),
        ("ForAnyValue:StringNotEquals", ["a", "b"], ["a", "c"], True),
        ("ForAnyValue:StringNotEquals", ["a", "b"], ["a"], False),
        ("ForAnyValue:StringLike", ["env*"], ["environment"], True),
    ],
)
def test_many_values(operator: str, policy: list[str], values: Any, expected: bool) -> None:
    assert holds(operator, policy, key=values) is expected


def test_null() -> None:
    assert holds("Null", "true")
    assert not holds("Null", "false")
    assert holds("Null", "false", key="a")
    assert holds("Null", "true", key=[])
    assert not holds("Null", "true", key="")


def test_variables_in_values() -> None:
    assert holds("StringEquals", "${name}", key="alice", name="alice")
    assert holds("StringLike", "${name}/*", key="alice/x", name="alice")
    assert not holds("StringLike", "${name}", key="alice", name="a*")  # a value is no pattern
    assert not holds("StringEquals", "${name}", key="alice")
    assert holds("StringNotEquals", "${name}", key="alice")
    assert holds("StringEquals", "${name, 'alice'}", key="alice")
    assert holds("ArnLike", "arn:aws:iam::*:user/${name}", key="arn:aws:iam::111122223333:user/alice", name="alice")
    assert holds("IpAddress", "${from}", key="203.0.113.1", **{"from": "203.0.113.0/24"})


def test_only_the_keys_that_conditions_name_are_looked_up() -> None:
    asked: list[str] = []

    def lookup(key: str) -> str:
        asked.append(key)
        return "a"

    assert Condition(OPERATORS["StringEquals"], "aws:ResourceTag/Owner", ["a"]).holds(lookup)
    assert asked == ["aws:resourcetag/owner"]
