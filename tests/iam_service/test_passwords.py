"""Login profiles and the account's password policy."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from freehold.records import passwords
from freehold.records.identities import LoginProfile, PasswordPolicy
from freehold.records.ids import AccountId
from tests.cloudapi import ApiServer
from tests.iam_service.refusals import refused

GOOD = "Correct-horse-1"


def violates(iam: Any, password: str) -> str:
    """The message of the refusal of a password."""
    with refused("PasswordPolicyViolation") as caught:
        iam.create_login_profile(UserName="alice", Password=password)
    message: str = caught.value.response["Error"]["Message"]
    return message


@pytest.fixture
def alice(iam: Any) -> Any:
    iam.create_user(UserName="alice")
    return iam


def test_a_login_profile_from_create_to_delete(alice: Any, api: ApiServer) -> None:
    created = alice.create_login_profile(UserName="alice", Password=GOOD, PasswordResetRequired=True)["LoginProfile"]
    assert (created["UserName"], created["PasswordResetRequired"]) == ("alice", True)
    assert alice.get_login_profile(UserName="alice")["LoginProfile"] == created
    with api.store.read() as tx:
        stored = tx.find(LoginProfile, user_id=alice.get_user(UserName="alice")["User"]["UserId"])
    assert stored is not None
    assert stored.password_hash.startswith("$argon2id$")
    with refused("EntityAlreadyExists", 409):
        alice.create_login_profile(UserName="alice", Password=GOOD)
    with refused("DeleteConflict", 409) as caught:
        alice.delete_user(UserName="alice")
    assert caught.value.response["Error"]["Message"] == "Cannot delete entity, must delete login profile first."
    alice.update_login_profile(UserName="alice", PasswordResetRequired=False)
    assert not alice.get_login_profile(UserName="alice")["LoginProfile"]["PasswordResetRequired"]
    alice.update_login_profile(UserName="alice", Password="Another-1")
    alice.delete_login_profile(UserName="alice")
    for call in (
        lambda: alice.get_login_profile(UserName="alice"),
        lambda: alice.delete_login_profile(UserName="alice"),
        lambda: alice.update_login_profile(UserName="alice", Password=GOOD),
        lambda: alice.create_login_profile(UserName="bob", Password=GOOD),
    ):
        with refused("NoSuchEntity", 404):
            call()
    alice.delete_user(UserName="alice")


def test_what_needs_a_user_and_a_password(alice: Any) -> None:
    for request in ({"UserName": "alice"}, {"Password": GOOD}):
        with refused("ValidationError"):
            alice.create_login_profile(**request)
    with refused("InvalidUserType"):
        alice.change_password(OldPassword=GOOD, NewPassword=GOOD)
    with refused("UnsupportedOperation"):
        alice.create_login_profile(UserName="alice", Password=GOOD, MaxSigninSessionDuration=3600)


def test_without_a_policy_awss_default_is_demanded(alice: Any) -> None:
    with refused("NoSuchEntity", 404):
        alice.get_account_password_policy()
    with refused("NoSuchEntity", 404):
        alice.delete_account_password_policy()
    assert violates(alice, "Ab1-") == "Password should have a minimum length of 8"
    assert violates(alice, "abcdefgh1").startswith("Password should have at least three of")
    alice.create_login_profile(UserName="alice", Password="abcdefgh1-")


def test_a_policy_is_enforced(alice: Any) -> None:
    alice.update_account_password_policy(
        MinimumPasswordLength=10,
        RequireSymbols=True,
        RequireNumbers=True,
        RequireUppercaseCharacters=True,
        RequireLowercaseCharacters=True,
        MaxPasswordAge=90,
        PasswordReusePrevention=2,
    )
    assert alice.get_account_password_policy()["PasswordPolicy"] == {
        "MinimumPasswordLength": 10,
        "RequireSymbols": True,
        "RequireNumbers": True,
        "RequireUppercaseCharacters": True,
        "RequireLowercaseCharacters": True,
        "AllowUsersToChangePassword": False,
        "ExpirePasswords": True,
        "MaxPasswordAge": 90,
        "PasswordReusePrevention": 2,
        "HardExpiry": False,
    }
    for password, lacks in (
        ("Aa1-56789", "a minimum length of 10"),
        ("aa1-567890", "at least one uppercase letter"),
        ("AA1-567890", "at least one lowercase letter"),
        ("Aaa-aaaaaa", "at least one number"),
        ("Aa15678901", "at least one symbol"),
    ):
        assert violates(alice, password) == f"Password should have {lacks}"
    alice.create_login_profile(UserName="alice", Password="First-12345")
    alice.update_login_profile(UserName="alice", Password="Second-12345")
    for password in ("First-12345", "Second-12345"):
        with refused("PasswordPolicyViolation"):
            alice.update_login_profile(UserName="alice", Password=password)
    alice.update_login_profile(UserName="alice", Password="Third-12345")
    alice.update_login_profile(UserName="alice", Password="First-12345")
    alice.update_account_password_policy(RequireNumbers=True)  # what is left out gets its default
    policy = alice.get_account_password_policy()["PasswordPolicy"]
    assert (policy["MinimumPasswordLength"], policy["RequireSymbols"]) == (6, False)
    assert "MaxPasswordAge" not in policy
    alice.update_login_profile(UserName="alice", Password="1aaaaa")
    alice.delete_account_password_policy()
    with refused("NoSuchEntity", 404):
        alice.get_account_password_policy()


def test_of_calls_that_change_a_password_at_once_one_wins(alice: Any) -> None:
    """Hashing takes long, and is done before the transaction: whoever hashed for a password that is gone is refused."""
    alice.create_login_profile(UserName="alice", Password=GOOD)
    together = threading.Barrier(4)

    def change(number: int) -> str:
        together.wait()
        try:
            alice.update_login_profile(UserName="alice", Password=f"Another-{number}")
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "changed"

    with ThreadPoolExecutor(4) as threads:
        outcomes = list(threads.map(change, range(4)))
    assert set(outcomes) == {"changed", "EntityTemporarilyUnmodifiable"}


@given(st.text(max_size=130), st.integers(6, 128), st.lists(st.booleans(), min_size=4, max_size=4))
def test_faults_are_what_the_policy_demands(password: str, length_min: int, demands: list[bool]) -> None:
    symbols, numbers, uppercase, lowercase = demands
    policy = PasswordPolicy(
        AccountId("111122223333"), length_min, symbols, numbers, uppercase, lowercase, False, 0, 0, False
    )
    good = (
        len(password) >= length_min
        and (not symbols or bool(set(password) & set("!@#$%^&*()_+-=[]{}|'")))
        and (not numbers or bool(set(password) & set("0123456789")))
        and (not uppercase or bool(set(password) & set("ABCDEFGHIJKLMNOPQRSTUVWXYZ")))
        and (not lowercase or bool(set(password) & set("abcdefghijklmnopqrstuvwxyz")))
    )
    assert (list(passwords.faults(password, policy, frozenset())) == []) == good


def test_a_password_matches_its_hash_alone() -> None:
    for password in (GOOD, "é\t\u00ff", "a" * 128):
        password_hash = passwords.hashed(password)
        assert passwords.matches(password_hash, password)
        assert not passwords.matches(password_hash, password + "x")
        assert password_hash != passwords.hashed(password)
