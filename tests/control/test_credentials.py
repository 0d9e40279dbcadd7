"""Credentials of servers' roles: made once, renewed in time, gone with the profile."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from msgspec.structs import replace

from freehold.control.acts import Acts
from freehold.control.credentials import LIFETIME, ServerCredentials
from freehold.host.wire import RoleCredentials
from freehold.records import sessions
from freehold.records.compute import Instance, ProfileAssociation
from freehold.records.identities import InstanceProfile, Role
from freehold.records.secrets import Sealer
from freehold.records.sessions import Delivery
from freehold.records.store import Store
from tests.control.builders import ACCOUNT, REGION, make_bare_instance
from tests.front.audited import written

SEALER = Sealer(bytes(32))
ARN = f"arn:aws:iam::{ACCOUNT}:instance-profile/web"


def trusting(service: str) -> str:
    principal = {"Service": f"{service}.amazonaws.com"}
    return json.dumps({"Statement": {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}})


class Servers:
    """An instance with a profile that has a role, and one without."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.acts = Acts()
        self.credentials = ServerCredentials(SEALER, self.acts)
        with store.write() as tx:
            self.instance, self.bare = make_bare_instance(tx), make_bare_instance(tx, 6)
            for number in (1, 2):
                named = (f"role-{number}", f"role-{number}", "/", "")
                tx.insert(Role(f"AROA{number}", ACCOUNT, *named, trusting("ec2"), 3600, None, None, tx.now))
            self.profile = InstanceProfile("AIPA1", ACCOUNT, "web", "web", "/", "AROA1", tx.now)
            self.associated = ProfileAssociation(
                "iip-assoc-1", ACCOUNT, REGION, self.instance.id, ARN, "web", "AIPA1", tx.now
            )
            tx.insert(self.profile, self.associated)

    def change(self, **changes: Any) -> None:
        with self.store.write() as tx:
            self.profile = tx.update(self.profile, **changes)

    def told(self, after: dt.timedelta = dt.timedelta()) -> tuple[RoleCredentials, ...]:
        """What a host is told, some time from now."""
        with self.store.read() as tx:
            tx.now += after
            instances = [tx.get(Instance, self.instance.id), tx.get(Instance, self.bare.id)]
            return self.credentials.of(tx, [instance for instance in instances if instance is not None])

    def stale(self, after: dt.timedelta = dt.timedelta()) -> list[str]:
        with self.store.read() as tx:
            tx.now += after
            return self.credentials.stale(tx)


@pytest.fixture
def servers(store: Store) -> Servers:
    return Servers(store)


def test_that_ec2_assumes_the_role_is_in_the_trail_once(servers: Servers) -> None:
    (told,) = servers.told()
    servers.told()
    for _ in range(2):
        servers.acts.record(servers.store)
    (record,) = written(servers.store)
    assert (record["eventSource"], record["eventName"]) == ("sts.amazonaws.com", "AssumeRole")
    assert record["userIdentity"] == {"type": "AWSService", "invokedBy": "ec2.amazonaws.com"}
    assert record["recipientAccountId"] == ACCOUNT
    role_arn = f"arn:aws:iam::{ACCOUNT}:role/role-1"
    assert record["requestParameters"] == {"roleArn": role_arn, "roleSessionName": servers.instance.id}
    assert record["resources"] == [{"accountId": ACCOUNT, "type": "AWS::IAM::Role", "ARN": role_arn}]
    assert record["responseElements"]["credentials"]["accessKeyId"] == told.access_key_id
    assert told.secret_access_key not in json.dumps(record)
    servers.told(LIFETIME)
    servers.acts.record(servers.store)
    assert len(written(servers.store)) == 2


def test_a_server_has_the_role_of_its_profile(servers: Servers) -> None:
    (told,) = servers.told()
    assert (told.instance_id, told.role) == (servers.instance.id, "role-1")
    assert (told.profile_arn, told.profile_id) == (ARN, "AIPA1")
    opened = sessions.opened(SEALER, told.access_key_id, told.session_token)
    assert (opened.holder.owner_id, opened.holder.name) == ("AROA1", servers.instance.id)
    assert opened.secret == told.secret_access_key
    server = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/{servers.instance.id}"
    assert opened.session.delivery == Delivery(server, servers.instance.vpc_id, servers.instance.private_ip)
    assert opened.session.expires_at == told.expires_at
    assert servers.told() == (told,)
    assert servers.stale() == []


def test_credentials_are_renewed_at_half_their_time(servers: Servers) -> None:
    (first,) = servers.told()
    before, after = LIFETIME / 2 - dt.timedelta(minutes=1), LIFETIME / 2 + dt.timedelta(minutes=1)
    assert servers.stale(before) == []
    assert servers.stale(after) == [servers.instance.id]
    assert servers.told(before) == (first,)
    (second,) = servers.told(after)
    assert second.access_key_id != first.access_key_id
    assert first.expires_at is not None
    assert second.expires_at is not None
    assert second.expires_at > first.expires_at
    assert servers.stale(after) == []


def test_another_role_takes_the_place_of_the_first(servers: Servers) -> None:
    servers.told()
    servers.change(role_id="AROA2")
    assert servers.stale() == [servers.instance.id]
    assert [told.role for told in servers.told()] == ["role-2"]
    servers.change(role_id=None)
    assert servers.stale() == [servers.instance.id]
    assert servers.told() == (RoleCredentials(servers.instance.id, ARN, "AIPA1"),)
    assert servers.stale() == []


def test_what_is_deleted_gives_nothing_more(servers: Servers) -> None:
    servers.told()
    with servers.store.write() as tx:
        tx.delete_where(Role, id="AROA1")
    assert [told.role for told in servers.told()] == [None]
    with servers.store.write() as tx:
        tx.delete(servers.associated)
    assert servers.stale() == [servers.instance.id]
    assert servers.told() == ()
    assert servers.stale() == []


def test_an_exchanged_profile_is_another(servers: Servers) -> None:
    (first,) = servers.told()
    with servers.store.write() as tx:
        tx.delete(servers.associated)
        tx.insert(replace(servers.associated, id="iip-assoc-2"))
    (second,) = servers.told()
    assert second.access_key_id != first.access_key_id


def test_a_server_that_goes_is_forgotten(servers: Servers) -> None:
    servers.told()
    with servers.store.write() as tx:
        tx.update(servers.instance, state="shutting-down")
    assert servers.told() == ()
    assert servers.stale() == []


def test_a_role_must_trust_ec2(servers: Servers) -> None:
    servers.told()
    with servers.store.write() as tx:
        role = tx.get(Role, "AROA1")
        assert role is not None
        role = tx.update(role, trust_policy=trusting("lambda"))
    assert servers.stale() == [servers.instance.id]
    (told,) = servers.told()
    assert (told.role, told.access_key_id, told.expires_at) == ("role-1", "", None)
    assert servers.stale() == []
    with servers.store.write() as tx:
        tx.update(role, trust_policy=trusting("ec2"))
    assert servers.stale() == [servers.instance.id]
    assert servers.told()[0].access_key_id


def test_an_instance_that_is_no_more_is_forgotten_though_its_host_was_away(servers: Servers) -> None:
    servers.told()
    with servers.store.write() as tx:
        tx.delete(servers.instance)
        tx.delete(servers.associated)
    servers.stale()
    assert servers.stale() == []
