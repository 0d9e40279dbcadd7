"""GetSessionToken and GetAccessKeyInfo."""

from __future__ import annotations

import datetime as dt

from freehold.records.ids import account_of_key_id
from tests.cloudapi import ApiServer, Keys
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
