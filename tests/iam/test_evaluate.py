"""Decisions, in the examples and tables of AWS's documentation."""

from __future__ import annotations

import json
from typing import Any

import pytest

from freehold.iam.evaluate import Decision, Policies, Policy, Type, evaluate, matches
from freehold.iam.principals import ANONYMOUS, Who

ACCOUNT = "111122223333"
BUCKET = "arn:aws:s3:::bucket/key"
READ = "s3:GetObject"
USER = Who(f"arn:aws:iam::{ACCOUNT}:user/alice", ACCOUNT, id="AIDAALICEALICEALICEA")
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/worker"
SESSION = Who(
    f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/one",
    ACCOUNT,
    entity=ROLE_ARN,
    id="AROAWORKERWORKERWORKE:one",
    entity_id="AROAWORKERWORKERWORKE",
)
FEDERATED = Who(f"arn:aws:sts::{ACCOUNT}:federated-user/bob", ACCOUNT, entity=USER.arn)
ROOT = Who(f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT, root=True)
SERVICE = Who("ec2.amazonaws.com", kind="Service")


def identity(effect: str = "Allow", action: Any = READ, resource: Any = "*", **others: Any) -> Policy:
    given = {"Effect": effect, "Action": action, "Resource": resource} | others
    statement = {name: value for name, value in given.items() if value is not None}
    return Policy.of(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))


def of_resource(principal: Any, effect: str = "Allow", element: str = "Principal", **others: Any) -> Policy:
    statement = {"Effect": effect, "Action": READ, "Resource": "*", element: principal} | others
    return Policy.of(json.dumps({"Version": "2012-10-17", "Statement": statement}), "resource")


NOTHING = identity(action="s3:PutObject")
ALLOW = identity()
DENY = identity("Deny")


def decide(who: Who = USER, *, foreign: bool = False, context: Any = None, **given: Any) -> Decision:
    return evaluate(who, READ, BUCKET, (context or {}).get, Policies(**given), foreign=foreign)


def reason(decision: Decision) -> str:
    assert not decision.allowed
    return decision.reason(READ)


def test_nothing_is_allowed_by_default() -> None:
    assert reason(decide()) == "because no identity-based policy allows the s3:GetObject action"
    assert reason(decide(identity=[NOTHING])) == "because no identity-based policy allows the s3:GetObject action"
    assert decide(identity=[NOTHING, ALLOW]).allowed
    assert decide(ROOT).allowed


def test_each_type_must_allow() -> None:
    own = {"identity": [ALLOW], "boundary": ALLOW, "session": [ALLOW], "guardrails": [[ALLOW], [NOTHING, ALLOW]]}
    assert decide(SESSION, **own).allowed
    for name, value, of in (
        ("identity", [], "identity-based policy"),
        ("boundary", NOTHING, "permissions boundary"),
        ("session", [NOTHING], "session policy"),
        ("guardrails", [[ALLOW], [NOTHING]], "service control policy"),
    ):
        assert reason(decide(SESSION, **own | {name: value})) == f"because no {of} allows the s3:GetObject action"


def test_an_explicit_deny_anywhere_wins() -> None:
    own = {
        "identity": [ALLOW],
        "boundary": ALLOW,
        "session": [ALLOW],
        "guardrails": [[ALLOW]],
        "resource": of_resource("*"),
    }
    assert decide(SESSION, **own).allowed
    for name, value, of in (
        ("identity", [ALLOW, DENY], "an identity-based policy"),
        ("boundary", DENY, "a permissions boundary"),
        ("session", [ALLOW, DENY], "a session policy"),
        ("guardrails", [[ALLOW, DENY]], "a service control policy"),
        ("resource", of_resource("*", "Deny"), "a resource-based policy"),
    ):
        assert reason(decide(SESSION, **own | {name: value})) == f"with an explicit deny in {of}"


# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html:
# what a resource-based policy allows although nothing else does.
@pytest.mark.parametrize(
    ("who", "principal", "allowed"),
    [
        (SESSION, {"AWS": ROLE_ARN}, False),
        (SESSION, {"AWS": SESSION.arn}, True),
        (USER, {"AWS": USER.arn}, True),
        (FEDERATED, {"AWS": USER.arn}, False),
        (FEDERATED, {"AWS": FEDERATED.arn}, True),
        (ROOT, {"AWS": ROOT.arn}, True),
        (SERVICE, {"Service": SERVICE.arn}, True),
        (SERVICE, {"Service": "s3.amazonaws.com"}, False),
        (ANONYMOUS, "*", True),
        (ANONYMOUS, {"AWS": USER.arn}, False),
        (USER, {"AWS": ACCOUNT}, False),
        (USER, {"AWS": "444455556666"}, False),
        (USER, {"AWS": "AIDAALICEALICEALICEA"}, True),
        (SESSION, {"AWS": "AROAWORKERWORKERWORKE:one"}, True),
        (SESSION, {"AWS": "AROAWORKERWORKERWORKE"}, False),
    ],
)
def test_resource_policies_in_the_same_account(who: Who, principal: Any, allowed: bool) -> None:
    given = {"resource": of_resource(principal), "boundary": NOTHING, "session": [NOTHING]}
    assert decide(who, **given).allowed is allowed


def test_a_role_that_is_named_needs_no_policy_of_its_own() -> None:
    resource = of_resource({"AWS": ROLE_ARN})
    assert decide(SESSION, resource=resource).allowed
    assert decide(SESSION, resource=resource, boundary=ALLOW, session=[ALLOW]).allowed
    assert decide(SESSION, resource=resource, boundary=NOTHING).type is Type.BOUNDARY
    assert decide(SESSION, resource=resource, session=[NOTHING]).type is Type.SESSION


def test_of_another_account_both_sides_must_allow() -> None:
    given = {"resource": of_resource({"AWS": ACCOUNT}), "foreign": True}
    assert decide(identity=[ALLOW], **given).allowed
    assert decide(ROOT, **given).allowed
    assert decide(**given).type is Type.IDENTITY
    assert decide(**given | {"resource": of_resource({"AWS": USER.arn})}).type is Type.IDENTITY
    assert decide(SESSION, identity=[ALLOW], boundary=NOTHING, **given).type is Type.BOUNDARY
    refused = decide(identity=[ALLOW], foreign=True)
    assert reason(refused) == "because no resource-based policy allows the s3:GetObject action"
    assert not decide(ROOT, foreign=True).allowed


def test_a_key_policy_is_required() -> None:
    """https://docs.aws.amazon.com/kms/latest/developerguide/key-policies.html: without it nobody may, not even root."""
    delegates = of_resource({"AWS": f"arn:aws:iam::{ACCOUNT}:root"})
    other = of_resource({"AWS": "444455556666"})
    assert decide(identity=[ALLOW], resource=delegates, required=True).allowed
    assert decide(resource=delegates, required=True).type is Type.IDENTITY
    assert decide(ROOT, resource=delegates, required=True).allowed
    assert decide(identity=[ALLOW], resource=other, required=True).type is Type.RESOURCE
    assert decide(ROOT, resource=other, required=True).type is Type.RESOURCE
    assert decide(resource=of_resource({"AWS": USER.arn}), required=True).allowed


def trust(principal: Any, **others: Any) -> Policy:
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal} | others
    return Policy.of(json.dumps({"Version": "2012-10-17", "Statement": statement}), "trust")


def test_trust_policies() -> None:
    def assume(who: Who, policy: Policy, *own: Policy, foreign: bool = False, **context: Any) -> Decision:
        policies = Policies(identity=own, resource=policy, required=True, trust=True)
        return evaluate(who, "sts:AssumeRole", ROLE_ARN, context.get, policies, foreign=foreign)

    may = identity(action="sts:AssumeRole", resource=ROLE_ARN)
    assert assume(USER, trust({"AWS": USER.arn})).allowed
    assert assume(USER, trust({"AWS": ACCOUNT}), may).allowed
    assert assume(USER, trust({"AWS": ACCOUNT})).type is Type.IDENTITY
    assert assume(SERVICE, trust({"Service": "ec2.amazonaws.com"})).allowed
    assert not assume(USER, trust({"AWS": USER.arn}), foreign=True).allowed
    assert assume(USER, trust({"AWS": USER.arn}), may, foreign=True).allowed
    refused = assume(USER, trust({"Service": "ec2.amazonaws.com"}), may)
    assert refused.reason("sts:AssumeRole") == "because no role trust policy allows the sts:AssumeRole action"
    denied = assume(USER, trust({"AWS": USER.arn}, Effect="Deny"), may)
    assert denied.reason("sts:AssumeRole") == "with an explicit deny in the role trust policy"
    external = trust({"AWS": USER.arn}, Condition={"StringEquals": {"sts:ExternalId": "x"}})
    assert assume(USER, external, **{"sts:externalid": "x"}).allowed
    assert not assume(USER, external).allowed


def test_not_principal() -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_notprincipal.html"""

    def denied(who: Who, *excepted: str, **given: Any) -> bool:
        policy = of_resource({"AWS": list(excepted)}, "Deny", "NotPrincipal")
        return decide(who, identity=[ALLOW], resource=policy, **given).explicit

    root = f"arn:aws:iam::{ACCOUNT}:root"
    assert not denied(USER, USER.arn, root)
    assert denied(USER, USER.arn)
    assert denied(USER, root)
    assert not denied(SESSION, SESSION.arn, ROLE_ARN, root)
    assert denied(SESSION, SESSION.arn, ROLE_ARN)
    assert denied(SERVICE, USER.arn, root)
    assert denied(USER, USER.arn, root, boundary=ALLOW)


def test_not_action_and_not_resource() -> None:
    all_but_iam = identity(action=None, NotAction="iam:*")
    assert decide(identity=[all_but_iam]).allowed
    assert not evaluate(USER, "iam:GetUser", "*", {}.get, Policies(identity=[all_but_iam])).allowed
    elsewhere = identity("Deny", resource=None, NotResource="arn:aws:s3:::other/*")
    assert decide(identity=[ALLOW, elsewhere]).explicit
    here = identity("Deny", resource=None, NotResource="arn:aws:s3:::bucket/*")
    assert decide(identity=[ALLOW, here]).allowed


def test_actions_are_the_same_in_any_case() -> None:
    assert decide(identity=[identity(action="S3:get*")]).allowed
    assert not decide(identity=[identity(resource="arn:aws:s3:::BUCKET/*")]).allowed


def test_home_folders() -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_examples_s3_home-bucket.html"""
    policy = identity(resource="arn:aws:s3:::bucket/home/${aws:username}/*")
    for name, path, allowed in (("alice", "alice", True), ("bob", "alice", False), ("a*", "alice", False)):
        context = {"aws:username": name}
        resource = f"arn:aws:s3:::bucket/home/{path}/x"
        assert evaluate(USER, READ, resource, context.get, Policies(identity=[policy])).allowed is allowed


def test_matching_statements() -> None:
    policies = Policies(identity=[ALLOW, NOTHING], boundary=DENY, resource=of_resource({"AWS": USER.arn}))
    found = matches(USER, READ, BUCKET, {}.get, policies)
    assert [(match.type, match.policy, match.rule.allow) for match in found] == [
        (Type.IDENTITY, ALLOW, True),
        (Type.BOUNDARY, DENY, False),
        (Type.RESOURCE, policies.resource, True),
    ]
