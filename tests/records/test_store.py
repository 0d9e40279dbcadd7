"""Transactions, the change feed, the usage ledger and migrations, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import datetime as dt
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from freehold.records import feed
from freehold.records.accounts import Account, accounts
from freehold.records.audit import AuditEvent
from freehold.records.compute import CapacitySpecification, Instance, MetadataOptions
from freehold.records.ids import AccountId, is_ec2_id, new_account_id, new_id
from freehold.records.migrations import upgrade
from freehold.records.schema import metadata
from freehold.records.store import Store
from freehold.records.tags import put_tags, tags_of
from freehold.records.usage import UsageEntry, close_usage, count_usage, open_usage
from freehold.records.wake import listen

NOW = dt.datetime(2026, 11, 25, 12, 30, 15, 123456, tzinfo=dt.UTC)
ACCOUNT = AccountId("123456789012")


def test_migrations_make_exactly_the_tables_of_the_records(store: Store) -> None:
    """A record changed without a migration would differ here."""
    with store.read() as tx:
        context = MigrationContext.configure(tx.connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_a_record_comes_back_as_it_was_written(store: Store) -> None:
    instance = Instance(
        **dict.fromkeys(Instance.__struct_fields__)
        | {
            "id": new_id("i"), "account_id": ACCOUNT, "region": "r", "zone": "ra", "vpc_id": "v", "subnet_id": "s",
            "private_ip": "10.0.0.4", "reservation_id": "r-1", "launch_index": 0, "image_id": "ami-1",
            "instance_type": "t3.nano", "vcpus": 2, "memory_mib": 512, "state": "pending",
            "state_transition_reason": "\"'[]\\ \n\x1f\x7f é ☃ 𐍈", "shutdown_behavior": "stop",
            "disable_api_termination": True, "disable_api_stop": False,
            "ebs_optimized": False, "monitoring": False, "root_device_name": "/dev/xvda",
            "metadata_options": MetadataOptions(http_tokens="optional"), "generation": 1, "reboots": 0,
            "launched_at": NOW, "force_stop": False, "holds_capacity": True,
            "cpu_credits": "standard", "reachability": "failed", "auto_recovery": "default",
            "reboot_migration": "default", "boot_mode": "uefi", "capacity": CapacitySpecification(),
            "hibernation_configured": True, "hibernate": False,
        }
    )  # fmt: skip
    with store.write() as tx:
        tx.insert(instance)
    with store.read() as tx:
        assert tx.get(Instance, instance.id) == instance


def test_nothing_of_a_failed_transaction_remains(store: Store) -> None:
    def fail() -> None:
        with store.write() as tx:
            tx.insert(Account(ACCOUNT, "lost", NOW))
            feed.publish(tx, "guest", "i-1")
            open_usage(tx, ACCOUNT, "r", "i-1", "instance:t3.nano")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with store.read() as tx:
        assert tx.count(Account) == tx.count(UsageEntry) == feed.position(tx) == 0


def test_put_overwrites_and_update_returns_what_is_stored(store: Store) -> None:
    with store.write() as tx:
        tx.put(Account(ACCOUNT, "first", NOW))
        tx.put(Account(ACCOUNT, "second", NOW))
        renamed = tx.update(tx.select(Account)[0], name="third")
    with store.read() as tx:
        assert tx.select(Account) == [renamed]
        assert renamed.name == "third"
        assert tx.find(Account, accounts.c.name == "first") is None


@pytest.mark.parametrize("number", [0, 1, 2, 63, 64, 65, 200])
def test_rows_that_are_written_together_keep_their_order(store: Store, number: int) -> None:
    bodies = [f"'{place}' ü" for place in range(number)]
    with store.write() as tx:
        tx.extend(AuditEvent, body=bodies)
    with store.read() as tx:
        assert [event.body for event in tx.select(AuditEvent)] == bodies


def test_followers_see_every_change_once_in_order_and_are_woken(store: Store) -> None:
    bell = listen(store.bell._directory, "follower")  # type: ignore[attr-defined]
    with store.write() as tx:
        feed.publish(tx, "guest", "i-1")
        feed.publish(tx, "vpc", "vpc-1")
    assert bell.recv(1) == b"\0"
    with store.read() as tx:
        position, changed = feed.since(tx, 0, ("guest",))
        assert changed == {("guest", "i-1")}
        assert feed.since(tx, position, ("guest",)) == (position, set())
    bell.close()
    with store.write() as tx:
        feed.publish(tx, "guest", "i-2")
    with store.read() as tx:
        assert feed.since(tx, position, ("guest",))[1] == {("guest", "i-2")}


def test_a_follower_never_passes_over_a_change_that_commits_late(store: Store) -> None:
    """Many writers at once; a reader that always resumes from its last position misses nothing."""

    def write(worker: int) -> None:
        for n in range(20):
            with store.write() as tx:
                feed.publish(tx, "guest", f"{worker}-{n}")

    writers = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for writer in writers:
        writer.start()
    position, seen = 0, set()
    writing = True
    while writing:
        writing = any(writer.is_alive() for writer in writers)  # asked before the last look, not after
        with store.read() as tx:
            position, changed = feed.since(tx, position, ("guest",))
        seen |= changed
    assert len(seen) == 80


def test_a_new_database_is_ready_for_connections_that_open_it_at_the_same_time(tmp_path: Path) -> None:
    """Each would be the first to change how it is kept, and one would find it locked."""
    upgrade(f"sqlite:///{tmp_path / 'state.db'}")
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_usage_is_open_once_and_closed_to_the_second(store: Store) -> None:
    with store.write() as tx:
        open_usage(tx, ACCOUNT, "r", "i-1", "instance:t3.nano")
        open_usage(tx, ACCOUNT, "r", "i-1", "instance:t3.nano")
        opened = tx.now
    end = opened + dt.timedelta(seconds=90)
    for moment in (end, end + dt.timedelta(hours=1)):
        with store.write() as tx:
            close_usage(tx, "i-1", at=moment)
    with store.read() as tx:
        (entry,) = tx.select(UsageEntry)
    assert (entry.opened_at, entry.closed_at) == (opened, end)


def test_usage_never_ends_before_it_began(store: Store) -> None:
    with store.write() as tx:
        open_usage(tx, ACCOUNT, "r", "i-1", "instance:t3.nano")
        close_usage(tx, "i-1", at=tx.now - dt.timedelta(minutes=1))
        (entry,) = tx.select(UsageEntry)
    assert entry.closed_at == entry.opened_at


def test_counted_usage_grows_within_its_hour(store: Store) -> None:
    with store.write() as tx:
        count_usage(tx, ACCOUNT, "r", "203.0.113.5", "egress", 1000)
        count_usage(tx, ACCOUNT, "r", "203.0.113.5", "egress", 24)
        assert [entry.quantity for entry in tx.select(UsageEntry)] == [1024]


def test_tags_of_many_resources(store: Store) -> None:
    ids = [new_id("i") for _ in range(1200)]
    with store.write() as tx:
        put_tags(tx, ACCOUNT, "r", "instance", ids[7], {"b": "2", "a": "1"})
        put_tags(tx, ACCOUNT, "r", "instance", ids[7], {"a": "3"})
        found = tags_of(tx, ids)
    assert [(t.key, t.value) for t in found[ids[7]]] == [("a", "3"), ("b", "2")]
    assert found[ids[8]] == []


def test_readers_do_not_write_and_do_not_block_the_writer(store: Store) -> None:
    with store.read() as reader:
        assert reader.count(Account) == 0
        with store.write() as tx:
            tx.insert(Account(ACCOUNT, "a", NOW))
        if store.url.startswith("sqlite"):
            with pytest.raises(sa.exc.OperationalError):
                reader.insert(Account(new_account_id(), "b", NOW))


def test_ids_have_the_forms_of_aws() -> None:
    assert is_ec2_id("i", new_id("i"))
    assert len(new_id("vpc")) == len("vpc-") + 17
    assert not is_ec2_id("i", "i-0123456789abcdefg")
    assert not is_ec2_id("i", "i-0123456789abcdef0\n")
    assert len(new_account_id()) == 12
