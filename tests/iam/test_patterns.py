"""Wildcards, ARNs and variables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.iam import patterns
from freehold.iam.patterns import Template
from tests.iam import reference

FEW = st.text("ab*?:$", max_size=12)


@given(FEW, FEW)
def test_globs_are_those_of_the_reference(pattern: str, text: str) -> None:
    wanted = [(c,) if c in "*?" else c for c in pattern]
    assert bool(patterns.glob(pattern)(text)) is reference.like(wanted, text)


@given(st.text(max_size=20), st.text(max_size=20))
def test_an_escaped_text_matches_itself_alone(text: str, other: str) -> None:
    matches = patterns.glob(patterns.escaped(text))
    assert matches(text)
    assert bool(matches(other)) is (text == other)
    assert patterns.plain(patterns.escaped(text)) == text


@pytest.mark.parametrize(
    ("pattern", "arn", "matches"),
    [
        ("*", "arn:aws:s3:::bucket", True),
        ("*", "*", True),
        ("arn:aws:s3:::*", "arn:aws:s3:::bucket/key:with:colons", True),
        ("arn:aws:s3:::bucket", "arn:aws:s3:::Bucket", False),
        ("arn:aws:ec2:*:*:instance/*", "arn:aws:ec2:us-east-1:111122223333:instance/i-1", True),
        ("arn:aws:ec2:*:instance/*", "arn:aws:ec2:us-east-1:111122223333:instance/i-1", False),
        ("arn:aws:ec2:*", "arn:aws:ec2:us-east-1:111122223333:instance/i-1", True),
        ("arn:aws:ec2:us-east-?:*:*", "arn:aws:ec2:us-east-1:111122223333:vpc/vpc-1", True),
        ("arn:aws:ec2:us*:*", "arn:aws:ec2:us-east-1:111122223333:vpc/vpc-1", True),
        ("arn:aws:ec2::*", "arn:aws:ec2:us-east-1:111122223333:vpc/vpc-1", False),
        ("arn:aws:ec2:*:*:instance/*", "*", False),
    ],
)
def test_wildcards_stay_within_a_part_of_an_arn(pattern: str, arn: str, matches: bool) -> None:
    assert bool(patterns.arn(pattern)(arn)) is matches


def test_variables() -> None:
    home = patterns.parse("arn:aws:s3:::home/${aws:username}/*", variables=True)
    assert isinstance(home, Template)
    assert home.pattern({"aws:username": "alice"}.get) == "arn:aws:s3:::home/alice/*"
    assert home.pattern({"aws:username": "a*"}.get) == "arn:aws:s3:::home/a${*}/*"
    assert home.pattern({}.get) is None
    assert home.pattern({"aws:username": ["alice"]}.get) is None  # a multivalued key is no variable
    team = patterns.parse("${aws:PrincipalTag/Team, 'company wide'}", variables=True)
    assert isinstance(team, Template)
    assert team.pattern({}.get) == "company wide"
    assert team.pattern({"aws:principaltag/team": "red"}.get) == "red"
    assert patterns.parse("a${*}${?}${$}", variables=True) == "a${*}${?}${$}"
    assert patterns.glob("a${*}${?}${$}")("a*?$")
    assert not patterns.glob("a${*}")("ab")


def test_what_is_no_variable_is_text() -> None:
    for text in ("${aws:username}", "${open", "$x"):
        assert patterns.glob(str(patterns.parse(text, variables=False)))(text)
    assert patterns.glob(str(patterns.parse("${open", variables=True)))("${open")
    assert patterns.variables("${aws:a}/${*}/${b:c, 'd'}${}") == ["aws:a", "b:c"]


def test_a_variable_makes_no_parts_of_an_arn() -> None:
    """A tag with colons in it does not move the parts that follow."""
    region = patterns.parse("arn:aws:ec2:${aws:PrincipalTag/region}:*", variables=True)
    assert isinstance(region, Template)
    pattern = region.pattern({"aws:principaltag/region": "us-east-1:111122223333"}.get)
    assert pattern is not None
    assert not patterns.arn(pattern)("arn:aws:ec2:us-east-1:111122223333:vpc/vpc-1")
    key = patterns.escaped("a:b")
    assert patterns.arn(f"arn:aws:s3:::{key}/*")("arn:aws:s3:::a:b/c")


def test_no_pattern_takes_long() -> None:
    """Backtracking would take longer than there is time."""
    text = "a" * 2000
    assert not patterns.glob("*a" * 1000 + "b")(text)
    assert not patterns.arn("arn:aws:s3:::" + "*a" * 1000 + "b")(f"arn:aws:s3:::{text}")
    assert patterns.glob("*a" * 1000 + "*")(text)
