"""GetSessionToken, GetFederationToken, GetAccessKeyInfo and DecodeAuthorizationMessage."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from botocore.exceptions import ClientError

from freehold.records.ids import account_of_key_id
from tests.cloudapi import ApiServer, Keys
from tests.iam.granting import Grants, allow, document
from tests.sts.calls import keys_of, person, refused

MFA_FAILED = "MultiFactorAuthentication failed"


def session_token(api: ApiServer, keys: Keys, **request: object) -> dict[str, object]:
    answer: dict[str, object] = api.client("sts", keys=keys).get_session_token(**request)
    return answer


def seconds_left(answer: dict[str, object]) -> float:
    expires: dt.datetime = answer["Credentials"]["Expiration"]  # type: ignore[index]
    return (expires - dt.datetime.now(dt.UTC)).total_seconds()


def test_a_session_of_a_user(api: ApiServer) -> None:
    user = person(api, "alice")
    answer = session_token(api, user.keys, DurationSeconds=900)
    assert 890 < seconds_left(answer) <= 900
    keys = keys_of(answer)
    assert keys.access_key_id.startswith("ASIA")
    assert api.client("sts", keys=keys).get_caller_identity()["UserId"] == user.user.id
    assert 43100 < seconds_left(session_token(api, user.keys)) <= 43200


def test_a_session_of_root_lasts_an_hour_at_most(api: ApiServer) -> None:
    for request in ({}, {"DurationSeconds": 129600}):
        answer = session_token(api, api.root, **request)
        assert 3590 < seconds_left(answer) <= 3600
    assert api.client("ec2", keys=keys_of(answer)).describe_regions()["Regions"]


def test_a_session_makes_no_session(api: ApiServer) -> None:
    keys = keys_of(session_token(api, api.root))
    with refused("AccessDenied", "Cannot call GetSessionToken with session credentials"):
        session_token(api, keys)


def test_sessions_without_a_code_do_not_reach_iam(api: ApiServer) -> None:
    user = person(api, "norma")
    with refused("InvalidClientTokenId"):
        api.client("iam", keys=keys_of(session_token(api, user.keys))).get_user()
    keys = keys_of(session_token(api, user.keys, SerialNumber=user.serial, TokenCode=user.code()))
    with refused("AccessDenied", "iam:GetUser"):
        api.client("iam", keys=keys).get_user()


def test_codes(api: ApiServer) -> None:
    user, other = person(api, "cody"), person(api, "dora")
    code = user.code()
    wrong = f"{(int(code) + 500_000) % 1_000_000:06d}"
    with refused("AccessDenied", f"{MFA_FAILED} with invalid MFA one time pass code."):
        session_token(api, user.keys, SerialNumber=user.serial, TokenCode=wrong)
    with refused("AccessDenied", f"{MFA_FAILED}, must provide both"):
        session_token(api, user.keys, TokenCode=code)
    with refused("AccessDenied", f"{MFA_FAILED}, must provide both"):
        session_token(api, user.keys, SerialNumber=user.serial)
    with refused("AccessDenied", f"{MFA_FAILED}, unable to validate MFA code."):
        session_token(api, other.keys, SerialNumber=user.serial, TokenCode=code)
    session_token(api, user.keys, SerialNumber=user.serial, TokenCode=code)
    with refused("AccessDenied", f"{MFA_FAILED} with invalid MFA one time pass code."):  # no code works twice
        session_token(api, user.keys, SerialNumber=user.serial, TokenCode=code)


def test_codes_are_not_found_by_trying(api: ApiServer) -> None:
    user = person(api, "greta")
    right = user.code()
    for number in range(10):
        wrong = f"{(int(right) + 500_000 + number) % 1_000_000:06d}"
        with refused("AccessDenied", "invalid MFA one time pass code"):
            session_token(api, user.keys, SerialNumber=user.serial, TokenCode=wrong)
    with refused("AccessDenied", "invalid MFA one time pass code"):
        session_token(api, user.keys, SerialNumber=user.serial, TokenCode=user.code())


def test_whose_a_key_is(api: ApiServer) -> None:
    stranger_id, stranger = api.create_account()
    sts = api.client("sts")
    for keys, account_id in (
        (api.root, api.account_id),
        (stranger, stranger_id),
        (keys_of(session_token(api, stranger)), stranger_id),
    ):
        assert sts.get_access_key_info(AccessKeyId=keys.access_key_id)["Account"] == account_id
    assert account_of_key_id("ASIAQNZGKIQY56JQ7WML") == "029608264753"
    with refused("ValidationError"):
        sts.get_access_key_info(AccessKeyId="ASIA0123456789012345")


def federated(api: ApiServer, keys: Keys, **request: object) -> dict[str, object]:
    answer: dict[str, object] = api.client("sts", keys=keys).get_federation_token(Name="bob", **request)
    return answer


def test_a_federated_user_may_do_what_both_allow(api: ApiServer) -> None:
    grants = Grants(api)
    broker = grants.user("broker", allow(["sts:*", "ec2:DescribeVpcs", "ec2:DescribeSubnets"]))
    answer = federated(api, broker, Policy=document(allow(["ec2:DescribeVpcs", "ec2:DescribeRegions", "iam:*"])))
    assert answer["FederatedUser"] == {
        "FederatedUserId": f"{api.account_id}:bob",
        "Arn": f"arn:aws:sts::{api.account_id}:federated-user/bob",
    }
    keys = keys_of(answer)
    ec2 = api.client("ec2", keys=keys)
    assert ec2.describe_vpcs()["Vpcs"]
    for call in (ec2.describe_regions, ec2.describe_subnets):
        with refused("UnauthorizedOperation"):
            call()
    with refused("InvalidClientTokenId"):
        api.client("iam", keys=keys).list_users()
    with refused("AccessDenied", "sts:AssumeRole"):
        api.client("sts", keys=keys).assume_role(
            RoleArn=f"arn:aws:iam::{api.account_id}:role/x", RoleSessionName="session"
        )
    with refused("AccessDenied"):
        federated(api, keys)
    without = federated(api, broker)
    assert without["PackedPolicySize"] == 0
    with refused("UnauthorizedOperation"):
        api.client("ec2", keys=keys_of(without)).describe_vpcs()


def test_who_may_vouch(api: ApiServer) -> None:
    grants = Grants(api)
    with refused("AccessDenied", "sts:GetFederationToken on resource"):
        federated(api, grants.user("novice"))
    arn = f"arn:aws:sts::{api.account_id}:federated-user/bob"
    limited = grants.user("limited", allow("sts:GetFederationToken", arn))
    assert 43100 < seconds_left(federated(api, limited)) <= 43200
    with refused("AccessDenied", "sts:TagSession"):
        federated(api, limited, Tags=[{"Key": "team", "Value": "red"}])
    with refused("AccessDenied"):
        api.client("sts", keys=limited).get_federation_token(Name="eve")
    of_root = federated(api, api.root, DurationSeconds=129600, Policy=document(allow("ec2:*")))
    assert 3590 < seconds_left(of_root) <= 3600
    assert api.client("ec2", keys=keys_of(of_root)).describe_vpcs()["Vpcs"]
    with refused("AccessDenied", "Cannot call GetFederationToken with session credentials"):
        federated(api, keys_of(session_token(api, api.root)))


def test_why_a_call_was_refused(api: ApiServer) -> None:
    grants = Grants(api)
    keys = grants.user("denied", allow("sts:DecodeAuthorizationMessage"))
    with pytest.raises(ClientError) as caught:
        api.client("ec2", keys=keys).create_key_pair(KeyName="k")
    encoded = caught.value.response["Error"]["Message"].rpartition(": ")[2]
    decoded = api.client("sts", keys=keys).decode_authorization_message(EncodedMessage=encoded)["DecodedMessage"]
    assert json.loads(decoded)["context"]["action"] == "ec2:CreateKeyPair"
    _, stranger = api.create_account()
    for client, message in ((api.client("sts", keys=stranger), encoded), (api.client("sts"), "nonsense")):
        with refused("InvalidAuthorizationMessageException"):
            client.decode_authorization_message(EncodedMessage=message)
