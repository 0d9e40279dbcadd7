"""The audit trail as it is stored: its queue, its chain, and what `verify` finds when the database is altered."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import RFC_4122, UUID

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from freehold.control.sealing import Chain
from freehold.control.verifying import Finding, Verdict, verify
from freehold.records import audit, lookups, seals
from freehold.records.audit import AuditEvent, AuditQueue, audit_events, service_event
from freehold.records.ids import AccountId
from freehold.records.lookups import AuditLookup
from freehold.records.schema import TABLES
from freehold.records.seals import AuditBlock, AuditKey, AuditSeal, audit_blocks, audit_seals
from freehold.records.secrets import Sealer
from freehold.records.store import Store

ACCOUNT = AccountId("123456789012")
NOW = dt.datetime(2026, 11, 25, 12, 30, 15, 123456, tzinfo=dt.UTC)


def body(number: int, at: dt.datetime = NOW) -> str:
    return service_event(at, ACCOUNT, "us-east-1", "ec2", f"Act{number}", parameters={"instanceId": f"i-{number}"})


class Trail:
    """A store with its chain."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.store = store
        self.sealer = Sealer.of(directory)
        self.head = directory / "audit.head"
        self.chain = Chain(store, self.sealer, self.head)

    def write(self, *numbers: int, follow: bool = True) -> None:
        with self.store.write() as tx:
            audit.record(tx, *(body(number) for number in numbers))
        if follow:
            self.chain.follow()

    def end_seal(self) -> None:
        """Let the hour of the last seal be over."""
        with self.store.write() as tx:
            last = seals.newest_seal(tx)
            assert last is not None
            key = seals.signing_key(tx, self.sealer)
            assert key is not None
            older = msgspec.structs.replace(last, began_at=last.began_at - dt.timedelta(hours=1))
            tx.put(msgspec.structs.replace(older, signature=key.sign(seals.statement(older))))
        self.chain.follow()

    def verdict(self) -> Verdict:
        return verify(self.store, self.sealer, self.head)

    def found(self) -> list[tuple[str, int | None, int | None]]:
        findings: list[Finding] = self.verdict().findings
        return [(finding.kind, finding.seal, finding.position) for finding in findings]

    def alter(self, statement: sa.Executable) -> None:
        with self.store.write() as tx:
            tx.connection.execute(statement)

    def body_of(self, position: int) -> str:
        with self.store.read() as tx:
            event = tx.get(AuditEvent, position)
        assert event is not None
        return event.body


@pytest.fixture
def trail(store: Store, tmp_path: Path) -> Iterator[Trail]:
    """Ten records: three in a seal that has ended, four and two in blocks of the next, and one that waits."""
    made = Trail(store, tmp_path)
    made.write(1, 2, 3)
    made.end_seal()
    made.write(4, 5, 6, 7)
    made.write(8, 9)
    made.write(10, follow=False)
    return made


def set_body(position: int, text: str) -> sa.Executable:
    return sa.update(audit_events).where(audit_events.c.position == position).values(body=text)


def test_what_nobody_touched_is_intact(trail: Trail) -> None:
    verdict = trail.verdict()
    assert verdict == Verdict(intact=True, records=9, seals=2, pruned=0, unsealed=1, findings=[])
    with trail.store.read() as tx:
        first, second = tx.select(AuditSeal)
        assert (first.records, second.records, first.ended_at is None, second.ended_at) == (3, 6, False, None)


@pytest.mark.parametrize(("position", "seal"), [(2, 1), (5, 2)])
def test_a_changed_field(trail: Trail, position: int, seal: int) -> None:
    altered = json.loads(trail.body_of(position))
    altered["eventName"] = "Nothing"
    trail.alter(set_body(position, json.dumps(altered)))
    assert trail.found() == [("changed", seal, position)]


def test_a_changed_record_with_a_new_digest(trail: Trail) -> None:
    """Who alters the digest as well meets the link that was signed."""
    text = trail.body_of(2).replace("Act2", "Act0")
    trail.alter(set_body(2, text))
    with trail.store.read() as tx:
        (block,) = tx.select(AuditBlock, seal=1)
    digests = block.digests[:32] + seals.digest_of(text) + block.digests[64:]
    trail.alter(sa.update(audit_blocks).where(audit_blocks.c.number == block.number).values(digests=digests))
    assert trail.found() == [("seal", 1, None)]


def test_a_chain_made_anew_without_the_key(trail: Trail) -> None:
    """Who alters record, digest, link and seal can not sign it, not with a key of their own either."""
    text = trail.body_of(2).replace("Act2", "Act0")
    trail.alter(set_body(2, text))
    with trail.store.write() as tx:
        (block,) = tx.select(AuditBlock, seal=1)
        digests = block.digests[:32] + seals.digest_of(text) + block.digests[64:]
        tx.update(block, digests=digests)
        seal = tx.get(AuditSeal, 1)
        assert seal is not None
        key = seals.new_signing_key(tx, Sealer(b"another root key of 32 bytes ..."))
        link = seals.link_over(seals.FIRST_LINK, block.positions, digests)
        forged = msgspec.structs.replace(seal, link=link, key_id=key.id)
        tx.put(msgspec.structs.replace(forged, signature=key.sign(seals.statement(forged))))
    assert ("seal", 1, None) in trail.found()


@pytest.mark.parametrize(("position", "seal"), [(1, 1), (3, 1), (6, 2), (9, 2)])
def test_a_deleted_row(trail: Trail, position: int, seal: int) -> None:
    trail.alter(sa.delete(audit_events).where(audit_events.c.position == position))
    assert trail.found() == [("missing", seal, position)]


def test_swapped_rows(trail: Trail) -> None:
    second, eighth = trail.body_of(2), trail.body_of(8)
    trail.alter(set_body(2, eighth))
    trail.alter(set_body(8, second))
    assert trail.found() == [("reordered", 1, 2), ("reordered", 2, 8)]


def test_a_tail_that_was_cut_off_after_a_seal(trail: Trail) -> None:
    """With its blocks and its seal: the file beside the database remembers."""
    for table, column in ((audit_events, "position"), (audit_blocks, "seal"), (audit_seals, "number")):
        trail.alter(sa.delete(table).where(table.c[column] > (3 if column == "position" else 1)))
    assert trail.found()[-1] == ("missing", 2, None)


def test_a_tail_of_records_alone(trail: Trail) -> None:
    trail.alter(sa.delete(audit_events).where(audit_events.c.position > 7))
    found = trail.found()
    assert [place for place in found if place[1] == 2] == [("missing", 2, 8), ("missing", 2, 9)]


def test_a_record_that_waits_to_be_sealed(trail: Trail) -> None:
    trail.alter(sa.delete(audit_events).where(audit_events.c.position == 10))
    trail.write(11, follow=False)
    gapless = trail.store.url.startswith("sqlite")
    assert trail.found() == ([("missing", None, 10)] if gapless else [])


@pytest.mark.parametrize(
    "change",
    [{"records": 4}, {"link": bytes(32)}, {"signature": bytes(64)}, {"ended_at": NOW}, {"last_position": 2}],
    ids=str,
)
def test_an_altered_seal(trail: Trail, change: dict[str, object]) -> None:
    trail.alter(sa.update(audit_seals).where(audit_seals.c.number == 1).values(change))
    assert ("seal", 1, None) in trail.found()


def test_a_seal_that_was_taken_out(trail: Trail) -> None:
    trail.alter(sa.delete(audit_seals).where(audit_seals.c.number == 1))
    assert ("missing", 2, None) in trail.found()


def test_a_record_that_was_put_in(trail: Trail) -> None:
    with trail.store.write() as tx:
        tx.delete_where(AuditEvent, position=3)
        tx.insert(AuditEvent(0, body(0)), AuditEvent(3, body(33)))
    assert trail.found() == [("added", 1, 0), ("changed", 1, 3)]


def test_old_records_are_deleted_and_the_chain_holds(trail: Trail) -> None:
    trail.chain.prune(dt.timedelta(hours=1))
    assert trail.verdict().records == 9
    trail.chain.prune(dt.timedelta(0))
    assert trail.verdict() == Verdict(intact=True, records=6, seals=2, pruned=1, unsealed=1, findings=[])
    with trail.store.read() as tx:
        assert [event.position for event in tx.select(AuditEvent)] == [4, 5, 6, 7, 8, 9, 10]
        assert {place[1] for row in tx.select(AuditLookup) for place in row.read()} == {4, 5, 6, 7, 8, 9}
    trail.write(12)
    assert trail.verdict().intact


def test_records_that_are_said_to_be_old(trail: Trail) -> None:
    trail.alter(sa.delete(audit_events).where(audit_events.c.position <= 3))
    trail.alter(sa.delete(audit_blocks).where(audit_blocks.c.seal == 1))
    trail.alter(
        sa.update(audit_seals).where(audit_seals.c.number == 1).values(pruned_at=NOW, pruned_signature=b"x" * 64)
    )
    assert trail.found() == [("seal", 1, None)]


def test_records_are_found_newest_first_whatever_they_were_chained_with(store: Store, tmp_path: Path) -> None:
    """Reads are written later than calls that change something: a record may be older than one before it."""
    trail, chance = Trail(store, tmp_path), random.Random(4)
    for _ in range(30):
        late = [NOW + dt.timedelta(seconds=chance.choice((1, 30, 100)) * chance.random()) for _ in range(20)]
        with store.write() as tx:
            audit.record(tx, *(body(chance.randrange(3), at) for at in late))
        trail.chain.follow()
    with store.read() as tx:
        events = [(lookups.decode(event.body), event.position) for event in tx.select(AuditEvent)]
        for attribute in (None, ("EventName", "Act1"), ("ResourceName", "i-2")):
            moments = sorted(
                ((event.at, place) for event, place in events if not attribute or attribute in event.attributes()),
                reverse=True,
            )
            for since, until in ((0, moments[0][0]), (moments[-20][0], moments[10][0])):
                wanted = [place for place in moments if since <= place[0] <= until]
                found: list[tuple[int, int]] = []
                while page := lookups.find(
                    tx, ACCOUNT, "us-east-1", attribute,
                    since=since, until=until, after=found[-1] if found else None, limit=chance.randrange(1, 60),
                ):  # fmt: skip
                    found += [item[:2] for item in page]
                assert found == wanted


def test_a_chain_goes_on_where_it_was_cut(trail: Trail) -> None:
    Chain(trail.store, trail.sealer, trail.head).follow()
    Chain(trail.store, trail.sealer, trail.head).follow()
    verdict = trail.verdict()
    assert (verdict.intact, verdict.records, verdict.unsealed) == (True, 10, 0)


def test_records_of_writers_beside_each_other_are_all_chained(store: Store, tmp_path: Path) -> None:
    """On PostgreSQL a position may be given before another's and committed after it."""
    trail = Trail(store, tmp_path)
    done = threading.Event()

    def follow() -> None:
        while not done.is_set():
            trail.chain.follow()

    def write(first: int) -> None:
        for number in range(first, first + 40):
            trail.write(number, follow=False)

    follower = threading.Thread(target=follow)
    writers = [threading.Thread(target=write, args=(first,)) for first in range(0, 320, 40)]
    follower.start()
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    done.set()
    follower.join()
    trail.chain.follow()
    verdict = trail.verdict()
    assert (verdict.intact, verdict.records, verdict.unsealed) == (True, 320, 0)


def test_the_queue_writes_everything_before_it_closes(store: Store) -> None:
    queue = AuditQueue(store, capacity=1000)
    bodies = [body(number) for number in range(1234)]
    for text in bodies:
        queue.put(text)
    queue.close()
    with store.read() as tx:
        assert [event.body for event in tx.select(AuditEvent)] == bodies


def test_the_queue_writes_seldom_what_comes_all_the_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write, transactions = store.write, itertools.count()

    def counted() -> Any:
        next(transactions)
        return write()

    monkeypatch.setattr(store, "write", counted)
    queue, number = AuditQueue(store), 0
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        queue.put(body(number))
        number += 1
        time.sleep(0.0002)
    queue.close()
    assert next(transactions) <= 5
    with store.read() as tx:
        assert tx.count(AuditEvent) == number


def test_every_table_of_the_trail_has_no_account_to_be_closed_with() -> None:
    """Closing an account deletes its rows of every table that has an `account_id`: its trail has to stay."""
    assert not [
        kind for kind in (AuditEvent, AuditLookup, AuditBlock, AuditSeal, AuditKey) if "account_id" in TABLES[kind].c
    ]


@given(st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2200, 1, 1), timezones=st.just(dt.UTC)))
def test_an_event_id_begins_with_its_time(at: dt.datetime) -> None:
    event_id = audit.new_event_id(at)
    assert lookups.moment_of(event_id) == int(at.timestamp() * 1000)
    assert (str(UUID(event_id)), UUID(event_id).version, UUID(event_id).variant) == (event_id, 7, RFC_4122)


@given(st.uuids(version=4))
def test_an_event_id_has_the_chance_of_its_request(request_id: UUID) -> None:
    event_id = UUID(audit.new_event_id(NOW, str(request_id)))
    assert (event_id.version, event_id.variant, lookups.moment_of(str(event_id))) == (7, RFC_4122, 1795609815123)
    random_bits = (0xFFF << 64) | ((1 << 62) - 1)
    assert event_id.int & random_bits == request_id.int & random_bits


@given(st.text())
def test_what_is_no_event_id_has_no_time(text: str) -> None:
    at = lookups.moment_of(text)
    assert at is None or at >= 0


@given(st.lists(st.integers(0, (1 << 63) - 1)))
def test_positions_are_packed(positions: list[int]) -> None:
    assert seals.unpacked(seals.packed(positions)) == positions


def test_parameters_that_are_too_large_are_left_out() -> None:
    large = service_event(NOW, ACCOUNT, "r", "ec2", "Act", parameters={"a": "x" * 200_000}, elements={"b": 1})
    record = json.loads(large)
    assert (record["omitted"], record["requestParameters"], record["responseElements"]) == (True, None, {"b": 1})
