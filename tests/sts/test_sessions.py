"""Temporary credentials: what they say of their holder, and when they end."""

from __future__ import annotations

import datetime as dt

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from freehold.records import sessions
from freehold.records.accounts import Account, User
from freehold.records.ids import AccountId, account_of_key_id, new_key_id
from freehold.records.secrets import Sealer
from freehold.records.sessions import Holder, Opened, Session, TokenError
from tests.cloudapi import ApiServer, Keys


def identity(api: ApiServer, keys: Keys) -> tuple[str, str]:
    """Arn and UserId."""
    answer = api.client("sts", keys=keys).get_caller_identity()
    assert answer["Account"] == api.account_id
    return answer["Arn"], answer["UserId"]


def code_of(api: ApiServer, keys: Keys) -> str:
    with pytest.raises(ClientError) as caught:
        api.client("sts", keys=keys).get_caller_identity()
    return str(caught.value.response["Error"]["Code"])


def user_of(api: ApiServer, name: str) -> User:
    api.create_user(name)
    with api.store.read() as tx:
        user = tx.find(User, account_id=api.account_id, name=name)
    assert user is not None
    return user


def test_a_role_session_ends_with_its_role(api: ApiServer) -> None:
    role = api.create_role("worker")
    keys = api.create_session(Holder(api.account_id, "role", role.id, "night"))
    arn = f"arn:aws:sts::{api.account_id}:assumed-role/worker/night"
    assert identity(api, keys) == (arn, f"{role.id}:night")
    with api.store.write() as tx:
        tx.delete(role)
    assert code_of(api, keys) == "InvalidClientTokenId"
    api.create_role("worker")  # another of the same name
    assert code_of(api, keys) == "InvalidClientTokenId"


def test_a_users_session_is_the_user(api: ApiServer) -> None:
    user = user_of(api, "alice")
    keys = api.create_session(Holder(api.account_id, "user", user.id))
    assert identity(api, keys) == (f"arn:aws:iam::{api.account_id}:user/alice", user.id)
    with api.store.write() as tx:
        tx.delete(user)
    assert code_of(api, keys) == "InvalidClientTokenId"


def test_a_federated_user_is_no_user(api: ApiServer) -> None:
    user = user_of(api, "broker")
    keys = api.create_session(Holder(api.account_id, "federated", user.id, "bob"))
    arn = f"arn:aws:sts::{api.account_id}:federated-user/bob"
    assert identity(api, keys) == (arn, f"{api.account_id}:bob")
    with api.store.write() as tx:
        tx.delete(user)
    assert code_of(api, keys) == "InvalidClientTokenId"


def test_sessions_end_when_their_account_closes(api: ApiServer) -> None:
    account_id, _ = api.create_account("closing")
    role = api.create_role("worker", account_id)
    holders = Holder(account_id, "root", account_id), Holder(account_id, "role", role.id, "night")
    sessions_of_it = [api.create_session(holder) for holder in holders]
    for keys in sessions_of_it:
        assert api.client("sts", keys=keys).get_caller_identity()["Account"] == account_id
    with api.store.write() as tx:
        account = tx.get(Account, account_id)
        assert account is not None
        tx.update(account, closing_at=tx.now)
    assert [code_of(api, keys) for keys in sessions_of_it] == ["InvalidClientTokenId"] * 2


SEALER = Sealer(bytes(32))
moments = st.datetimes(timezones=st.just(dt.UTC))
texts = st.text(max_size=20)


@given(
    st.builds(Holder, st.just(AccountId("123456789012")), st.sampled_from(("root", "user", "role")), texts, texts),
    st.builds(
        Session,
        moments,
        moments,
        st.none() | moments,
        st.lists(texts).map(tuple),
        st.lists(texts).map(tuple),
        st.dictionaries(texts, texts),
        st.lists(texts).map(tuple),
        st.none() | texts,
        st.booleans(),
    ),
)
def test_a_token_holds_what_was_put_into_it(holder: Holder, session: Session) -> None:
    issued = sessions.issue(SEALER, holder, session)
    opened = sessions.opened(SEALER, issued.access_key_id, issued.session_token)
    assert opened == Opened(issued.secret_access_key, holder, session)


@given(st.text() | st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", max_size=200))
def test_no_other_text_is_a_token(text: str) -> None:
    with pytest.raises(TokenError):
        sessions.opened(SEALER, "ASIAQNZGKIQY56JQ7WML", text)


@given(st.integers(0, 10**12 - 1))
def test_a_key_id_names_its_account(number: int) -> None:
    account_id = AccountId(f"{number:012d}")
    key_id = new_key_id("ASIA", account_id)
    assert len(key_id) == 20
    assert account_of_key_id(key_id) == account_id


@given(st.text(max_size=40))
def test_other_text_names_no_account(text: str) -> None:
    found = account_of_key_id(text)
    assert found is None or (len(found) == 12 and found.isdigit())
