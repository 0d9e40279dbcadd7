"""AssumeRole: who may, with what, and what the session may do."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

from freehold.records.identities import InlinePolicy, Role
from freehold.records.tags import put_tags
from tests.cloudapi import ApiServer, Keys
from tests.iam.granting import Grants, allow, deny, document
from tests.sts.calls import keys_of, person, refused

NAME = "a-session"


@pytest.fixture(scope="module")
def grants(api: ApiServer) -> Grants:
    return Grants(api)


def trusting(api: ApiServer, name: str, principal: Any, *may: dict[str, Any], account: Any = None, **more: Any) -> str:
    """The ARN of a role that trusts a principal and may do some things."""
    role = api.create_role(name, account)
    statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:*"} | more
    with api.store.write() as tx:
        tx.update(role, trust_policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
        tx.insert(InlinePolicy(role.id, "own", role.account_id, document(*(may or (allow("ec2:DescribeVpcs"),)))))
    return f"arn:aws:iam::{role.account_id}:role/{name}"


def assume(api: ApiServer, keys: Keys, arn: str, **more: Any) -> Any:
    return api.client("sts", keys=keys).assume_role(**{"RoleArn": arn, "RoleSessionName": NAME} | more)


def user_arn(api: ApiServer, name: str) -> str:
    return f"arn:aws:iam::{api.account_id}:user/{name}"


def test_a_user_whom_the_role_names(grants: Grants, api: ApiServer) -> None:
    keys = grants.user("alice")
    arn = trusting(api, "worker", user_arn(api, "alice"))
    answer = assume(api, keys, arn)
    session = f"arn:aws:sts::{api.account_id}:assumed-role/worker/{NAME}"
    assert answer["AssumedRoleUser"]["Arn"] == session
    assert "PackedPolicySize" not in answer
    worker = keys_of(answer)
    who = api.client("sts", keys=worker).get_caller_identity()
    assert (who["Arn"], who["UserId"]) == (session, answer["AssumedRoleUser"]["AssumedRoleId"])
    ec2 = api.client("ec2", keys=worker)
    assert ec2.describe_vpcs()["Vpcs"]
    with refused("UnauthorizedOperation", f"User: {session} is not authorized to perform: ec2:DescribeSubnets"):
        ec2.describe_subnets()


def test_a_role_that_trusts_the_account_leaves_it_to_the_account(grants: Grants, api: ApiServer) -> None:
    arn = trusting(api, "shared", api.account_id)
    with refused("AccessDenied", f"not authorized to perform: sts:AssumeRole on resource: {arn}"):
        assume(api, grants.user("nobody"), arn)
    allowed = grants.user("allowed", allow("sts:AssumeRole", arn))
    assert assume(api, allowed, arn)["AssumedRoleUser"]
    forbidden = grants.user("forbidden", allow("sts:AssumeRole", arn), deny("sts:AssumeRole", arn))
    with refused("AccessDenied", "with an explicit deny in an identity-based policy"):
        assume(api, forbidden, arn)


def test_roles_that_do_not_trust_are_as_roles_that_do_not_exist(grants: Grants, api: ApiServer) -> None:
    keys = grants.user("curious", allow("sts:AssumeRole"))
    arn = trusting(api, "aloof", "123456789012")
    absent = arn.replace("aloof", "absent")
    messages = []
    for each in (arn, absent):
        with pytest.raises(Exception, match="AccessDenied") as caught:
            assume(api, keys, each)
        messages.append(str(caught.value).replace(each, "ROLE"))
    assert messages[0] == messages[1]
    with refused("ValidationError"):
        assume(api, keys, "arn:aws:iam::111122223333:user/alice")
    with refused("AccessDenied", "Roles may not be assumed by root accounts."):
        assume(api, api.root, arn)


def test_another_accounts_role_wants_both_sides(grants: Grants, api: ApiServer) -> None:
    other, _ = api.create_account()
    named = trusting(api, "named", user_arn(api, "guest"), account=other)
    account_only = trusting(api, "of-account", api.account_id, account=other)
    guest = grants.user("guest")
    for arn in (named, account_only):
        with refused("AccessDenied"):
            assume(api, guest, arn)
    grants.inline(grants.user_id("guest"), allow("sts:AssumeRole"))
    for arn in (named, account_only):
        answer = assume(api, guest, arn)
        assert api.client("sts", keys=keys_of(answer)).get_caller_identity()["Account"] == other
    unasked = trusting(api, "unasked", other, account=other)
    with refused("AccessDenied", "because no role trust policy allows the sts:AssumeRole action"):
        assume(api, guest, unasked)


def test_conditions_of_the_trust_policy(grants: Grants, api: ApiServer) -> None:
    keys = grants.user("vendor")
    condition = {"StringEquals": {"sts:ExternalId": "4711", "sts:RoleSessionName": NAME}}
    arn = trusting(api, "external", user_arn(api, "vendor"), Condition=condition)
    assume(api, keys, arn, ExternalId="4711")
    for more in ({}, {"ExternalId": "0815"}, {"ExternalId": "4711", "RoleSessionName": "other"}):
        with refused("AccessDenied"):
            assume(api, keys, arn, **more)


def test_a_role_for_those_with_an_mfa_device(api: ApiServer) -> None:
    user = person(api, "mira")
    condition = {"Bool": {"aws:MultiFactorAuthPresent": "true"}}
    arn = trusting(api, "guarded", user.user.id, Condition=condition)
    with refused("AccessDenied", "sts:AssumeRole"):
        assume(api, user.keys, arn)
    with refused("AccessDenied", "MultiFactorAuthentication failed with invalid MFA one time pass code"):
        assume(api, user.keys, arn, SerialNumber=user.serial, TokenCode=f"{(int(user.code()) + 1) % 10**6:06d}")
    code = user.code()
    assume(api, user.keys, arn, SerialNumber=user.serial, TokenCode=code)
    with refused("AccessDenied", "invalid MFA one time pass code"):
        assume(api, user.keys, arn, SerialNumber=user.serial, TokenCode=code)


def test_mfa_by_a_session_of_the_user(api: ApiServer) -> None:
    user = person(api, "mina")
    condition = {"NumericLessThan": {"aws:MultiFactorAuthAge": "300"}}
    arn = trusting(api, "fresh", user.user.id, Condition=condition)
    sts = api.client("sts", keys=user.keys)
    with refused("AccessDenied"):
        assume(api, keys_of(sts.get_session_token()), arn)
    session = keys_of(sts.get_session_token(SerialNumber=user.serial, TokenCode=user.code()))
    assert assume(api, session, arn)["AssumedRoleUser"]


def test_how_long_sessions_last(grants: Grants, api: ApiServer) -> None:
    keys = grants.user("lena")
    arn = trusting(api, "long", user_arn(api, "lena"))
    with refused("ValidationError", "exceeds the MaxSessionDuration set for this role"):
        assume(api, keys, arn, DurationSeconds=3601)
    with api.store.write() as tx:
        role = tx.find(Role, account_id=api.account_id, folded="long")
        assert role is not None
        tx.update(role, session_seconds_max=43200)
    worker = keys_of(assume(api, keys, arn, DurationSeconds=43200))
    next_arn = trusting(api, "next", arn)
    with api.store.write() as tx:
        role = tx.find(Role, account_id=api.account_id, folded="next")
        assert role is not None
        tx.update(role, session_seconds_max=43200)
    with refused("ValidationError", "exceeds the 1 hour session limit for roles assumed by role chaining"):
        assume(api, worker, next_arn, DurationSeconds=3601)
    assert assume(api, worker, next_arn)["AssumedRoleUser"]


def test_session_policies_narrow_what_the_role_may(grants: Grants, api: ApiServer) -> None:
    keys = grants.user("nora")
    arn = trusting(api, "wide", user_arn(api, "nora"), allow("ec2:Describe*"))
    answer = assume(api, keys, arn, Policy=document(allow(["ec2:DescribeVpcs", "ec2:CreateKeyPair"])))
    assert 0 < answer["PackedPolicySize"] <= 100
    ec2 = api.client("ec2", keys=keys_of(answer))
    assert ec2.describe_vpcs()["Vpcs"]
    for call in (ec2.describe_subnets, lambda: ec2.create_key_pair(KeyName="k")):
        with refused("UnauthorizedOperation"):
            call()
    managed = grants.managed("subnets", allow("ec2:DescribeSubnets"))
    narrowed = keys_of(assume(api, keys, arn, PolicyArns=[{"arn": managed}]))
    ec2 = api.client("ec2", keys=narrowed)
    assert ec2.describe_subnets()["Subnets"]
    with refused("UnauthorizedOperation"):
        ec2.describe_vpcs()
    for wrong, code in (
        ({"Policy": "{"}, "MalformedPolicyDocument"),
        ({"Policy": document(allow("ec2:*")) + " " * 2048}, "ValidationError"),
        ({"PolicyArns": [{"arn": f"{managed}-absent"}]}, "ValidationError"),
        ({"PolicyArns": [{"arn": managed}] * 11}, "ValidationError"),
    ):
        with refused(code):
            assume(api, keys, arn, **wrong)


def test_tags_of_sessions(grants: Grants, api: ApiServer) -> None:
    keys = grants.user("tara")
    red = {"StringEquals": {"aws:PrincipalTag/team": "red"}}
    arn = trusting(api, "tagged", user_arn(api, "tara"), allow("ec2:DescribeVpcs", **red))
    with api.store.write() as tx:
        role = tx.find(Role, account_id=api.account_id, folded="tagged")
        assert role is not None
        put_tags(tx, api.account_id, "", "role", role.id, {"team": "blue"})
    with refused("UnauthorizedOperation"):
        api.client("ec2", keys=keys_of(assume(api, keys, arn))).describe_vpcs()
    tags = [{"Key": "team", "Value": "red"}, {"Key": "cost", "Value": "7"}]
    tagged = keys_of(assume(api, keys, arn, Tags=tags, TransitiveTagKeys=["Team"]))
    assert api.client("ec2", keys=tagged).describe_vpcs()["Vpcs"]
    # What is transitive goes on with the chain, and can not be changed in it.
    last = trusting(api, "last", arn, allow("ec2:DescribeVpcs", **red))
    assert api.client("ec2", keys=keys_of(assume(api, tagged, last))).describe_vpcs()["Vpcs"]
    with refused("InvalidParameterValue", "conflicts with a transitive tag key"):
        assume(api, tagged, last, Tags=[{"Key": "TEAM", "Value": "blue"}])
    for wrong in (
        {"Tags": [*tags, {"Key": "TEAM", "Value": "x"}]},
        {"Tags": tags, "TransitiveTagKeys": ["absent"]},
    ):
        with refused("InvalidParameterValue"):
            assume(api, keys, arn, **wrong)
    for wrong in ({"Tags": [{"Key": "aws:x", "Value": ""}]}, {"Tags": [{"Key": "a", "Value": "<"}]}):
        with refused("ValidationError"):
            assume(api, keys, arn, **wrong)
    untagged = trusting(api, "untagged", user_arn(api, "tara"), Action="sts:AssumeRole")
    assert assume(api, keys, untagged)
    with refused("AccessDenied", "sts:TagSession"):
        assume(api, keys, untagged, Tags=tags)


def test_a_token_of_too_many_tags(grants: Grants, api: ApiServer) -> None:
    keys = grants.user("maxi")
    arn = trusting(api, "full", user_arn(api, "maxi"))
    tags = [{"Key": f"key-{n}", "Value": secrets.token_hex(100)} for n in range(50)]
    with refused("PackedPolicyTooLarge"):
        assume(api, keys, arn, Tags=tags)
    assert assume(api, keys, arn, Tags=tags[:2])["SessionTokenUtilization"] <= 100


def test_a_source_identity_stays(grants: Grants, api: ApiServer) -> None:
    keys = grants.user("sina")
    arn = trusting(api, "sourced", user_arn(api, "sina"))
    condition = {"StringEquals": {"sts:SourceIdentity": "sina@example.org"}}
    last = trusting(api, "end", arn, Condition=condition)
    answer = assume(api, keys, arn, SourceIdentity="sina@example.org")
    assert answer["SourceIdentity"] == "sina@example.org"
    assert assume(api, keys_of(answer), last)["SourceIdentity"] == "sina@example.org"
    with refused("ValidationError"):
        assume(api, keys_of(answer), last, SourceIdentity="other")
    with refused("AccessDenied"):
        assume(api, keys_of(assume(api, keys, arn)), last)


def test_sessions_may_be_revoked(grants: Grants, api: ApiServer) -> None:
    """As the console's "Revoke active sessions" does it."""
    keys = grants.user("rita")
    arn = trusting(api, "revoked", user_arn(api, "rita"))
    ec2 = api.client("ec2", keys=keys_of(assume(api, keys, arn)))
    assert ec2.describe_vpcs()["Vpcs"]
    with api.store.write() as tx:
        role = tx.find(Role, account_id=api.account_id, folded="revoked")
        assert role is not None
    later = {"DateLessThan": {"aws:TokenIssueTime": "2099-01-01T00:00:00Z"}}
    grants.inline(role.id, deny("*", **later), name="AWSRevokeOlderSessions")
    with refused("UnauthorizedOperation"):
        ec2.describe_vpcs()


def test_what_is_not_built_is_refused(api: ApiServer) -> None:
    contexts = [{"ProviderArn": "a" * 20, "ContextAssertion": "abcd"}]
    for more in ({"ProvidedContexts": contexts}, {"MinimumSessionTokenSize": 9}):
        with refused("UnsupportedOperation", next(iter(more))):
            assume(api, api.root, "arn:aws:iam::111122223333:role/x", **more)
    with refused("UnsupportedOperation", "AssumeRoot"):
        api.client("sts").assume_root(TargetPrincipal="111122223333", TaskPolicyArn={"arn": "a" * 20})
