"""What is a policy document and what is wrong with one."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.iam.document import Kind, MalformedPolicy, parse, spans

ALLOW = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
TRUST = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}
SYNTAX = "Syntax errors in policy."


def policy(*statements: Any, **others: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)} | others)


def with_(**elements: Any) -> str:
    changed = {name: value for name, value in (ALLOW | elements).items() if value is not None}
    return policy(changed)


GOOD = [
    policy(ALLOW),
    json.dumps({"Statement": ALLOW}),
    policy(ALLOW, Id="mine", Version="2008-10-17"),
    with_(Action=["s3:*", "ec2:Describe*", "*"], Resource=["arn:aws:s3:::a", "arn:aws:ec2:*"]),
    with_(Action=None, NotAction="iam:*"),
    with_(Resource=None, NotResource="arn:aws:s3:::a/${aws:username}"),
    with_(Sid="abc123"),
    with_(Sid=""),
    with_(Resource="arn:aws:iam::111122223333:role/*"),
    with_(Condition={}),
    with_(Condition={"ForAnyValue:StringNotLikeIfExists": {"aws:TagKeys": ["a", True, 7]}, "Null": {"a:b": "true"}}),
]


@pytest.mark.parametrize("text", GOOD)
def test_well_formed(text: str) -> None:
    assert parse(text, "identity").statements


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", SYNTAX),
        ("[]", SYNTAX),
        ("{}", SYNTAX),
        (policy(), SYNTAX),
        ("[" * 5000, SYNTAX),
        (policy(ALLOW)[:-1] + ', "Version": "2012-10-17"}', SYNTAX),
        (policy(ALLOW, Version="2020-01-01"), SYNTAX),
        (policy(ALLOW, Foo="bar"), SYNTAX),
        (policy(ALLOW, Id=7), SYNTAX),
        (policy("statement"), SYNTAX),
        (with_(Foo="bar"), SYNTAX),
        (with_(Sid=7), SYNTAX),
        (with_(Effect="allow"), SYNTAX),
        (with_(Effect=["Allow"]), SYNTAX),
        (with_(NotAction="s3:*"), SYNTAX),
        (with_(NotResource="*"), SYNTAX),
        (with_(Action=7), SYNTAX),
        (with_(Resource=[{}]), SYNTAX),
        (with_(Condition=[]), SYNTAX),
        (with_(Condition={"StringEquals": "a"}), SYNTAX),
        (with_(Condition={"StringEquals": {"a:b": {}}}), SYNTAX),
        ('{"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Sid": NaN}}', SYNTAX),
        (policy(ALLOW, Id="\ud800"), SYNTAX),
        (with_(Effect=None), "Missing required field Effect"),
        (with_(Action=None), "Policy statement must contain actions."),
        (with_(Action=[]), "Policy statement must contain actions."),
        (with_(Resource=None), "Policy statement must contain resources."),
        (with_(Resource=[]), "Policy statement must contain resources."),
        (with_(Principal="*"), "Policy document should not specify a principal."),
        (
            with_(Sid="a-b"),
            "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression "
            "[0-9A-Za-z]*",
        ),
        (
            policy(ALLOW | {"Sid": "a"}, ALLOW | {"Sid": "a"}),
            "Statement IDs (SID) in a single policy must be unique.",
        ),
        (with_(Action="GetObject"), "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."),
        (with_(Action="s3:Get:Object"), "Actions/Condition can contain only one colon."),
        (with_(Action="s*:GetObject"), "Vendor s* is not valid"),
        (with_(Condition={"StringIs": {"a:b": "c"}}), "Invalid Condition type : StringIs."),
        (with_(Condition={"NullIfExists": {"a:b": "c"}}), "Invalid Condition type : NullIfExists."),
        (
            with_(Condition={"Bool": {"secure": "c"}}),
            "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
        ),
        (with_(Resource="bucket"), 'Resource bucket must be in ARN format or "*".'),
        (with_(Resource="arn:xyz:s3:::a"), 'Partition "xyz" is not valid for resource "arn:xyz:s3:*:*:a".'),
        (
            with_(Resource="arn:aws:*:::a"),
            "Resource vendor must be fully qualified and cannot contain regexes.",
        ),
        (with_(Resource="arn:aws:s3"), "Resource vendor must be fully qualified and cannot contain regexes."),
        (
            with_(Resource="arn:aws:iam:us-east-1:111122223333:role/a"),
            "IAM resource arn:aws:iam:us-east-1:111122223333:role/a cannot contain region information.",
        ),
    ],
)
def test_malformed(text: str, reason: str) -> None:
    with pytest.raises(MalformedPolicy) as caught:
        parse(text, "identity")
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    "principal",
    [
        "*",
        {"AWS": "*"},
        {"AWS": ["111122223333", "arn:aws:iam::111122223333:root", "arn:aws:iam::111122223333:user/path/alice"]},
        {"AWS": ["arn:aws:sts::111122223333:assumed-role/worker/one", "AIDAJQABLZS4A3QDU576Q"]},
        {"Federated": "arn:aws:iam::111122223333:oidc-provider/example.com"},
        {"Service": ["ec2.amazonaws.com", "logs.us-east-1.amazonaws.com"]},
    ],
)
@pytest.mark.parametrize("kind", ["resource", "trust"])
def test_principals(principal: Any, kind: Kind) -> None:
    statement = ALLOW | {"Principal": principal} if kind == "resource" else TRUST | {"Principal": principal}
    assert parse(policy(statement), kind).statements[0].principals


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (TRUST | {"Resource": "*"}, "Has prohibited field Resource"),
        (TRUST | {"Action": "s3:*"}, "AssumeRole policy may only specify STS AssumeRole actions."),
        ({"Effect": "Allow", "Action": "sts:AssumeRole"}, "Missing required field Principal"),
        (TRUST | {"Principal": {}}, SYNTAX),
        (TRUST | {"Principal": {"Nobody": "a"}}, SYNTAX),
        (TRUST | {"Principal": {"AWS": "alice"}}, 'Invalid principal in policy: "AWS":"alice"'),
        (
            TRUST | {"Principal": {"AWS": "arn:aws:iam::111122223333:user/*"}},
            'Invalid principal in policy: "AWS":"arn:aws:iam::111122223333:user/*"',
        ),
        (TRUST | {"Principal": {"Service": "nobody"}}, 'Invalid principal in policy: "Service":"nobody"'),
    ],
)
def test_malformed_trust(statement: dict[str, Any], reason: str) -> None:
    with pytest.raises(MalformedPolicy) as caught:
        parse(policy(statement), "trust")
    assert str(caught.value) == reason


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Version", "Statement", "Effect", "Action", "Resource", "Principal", "Condition", "Bool"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.text() | JSON.map(json.dumps))
def test_any_text_is_a_policy_or_malformed(text: str) -> None:
    for kind in ("identity", "resource", "trust"):
        with contextlib.suppress(MalformedPolicy):
            parse(text, kind)


@pytest.mark.parametrize("indent", [None, 2])
def test_where_statements_are(indent: int | None) -> None:
    statements = [ALLOW, ALLOW | {"Sid": "two", "Condition": {"Bool": {"a:b": "]}"}}}]
    text = json.dumps({"Id": "a", "Statement": statements, "Version": "2012-10-17"}, indent=indent)
    assert [json.loads(text[start:end]) for start, end in spans(text)] == statements
    alone = json.dumps({"Statement": ALLOW}, indent=indent)
    assert [json.loads(alone[start:end]) for start, end in spans(alone)] == [ALLOW]


def test_the_keys_that_a_document_names() -> None:
    document = parse(
        with_(
            Resource="arn:aws:s3:::a/${aws:username}/${*}",
            Condition={"StringLike": {"s3:prefix": ["${aws:PrincipalTag/team, 'x'}"]}, "Bool": {"S3:Prefix": "true"}},
        ),
        "identity",
    )
    assert document.context_keys() == ["s3:prefix", "aws:username", "aws:PrincipalTag/team"]
