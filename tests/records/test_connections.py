"""Writers of one SQLite database wait for each other, whatever process they are in."""

from __future__ import annotations

import multiprocessing
import shutil
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from freehold.records import connections
from freehold.records.accounts import Account, accounts
from freehold.records.ids import AccountId
from freehold.records.migrations import upgrade
from freehold.records.store import Store
from freehold.records.wake import SocketBell

ACCOUNT = AccountId("123456789012")


def _store(directory: Path) -> Store:
    return Store(f"sqlite:///{directory / 'state.db'}", SocketBell(directory))


def _lengthen(directory: Path, times: int) -> None:
    """Each reads a name and writes it back longer by one: what two did at once would be lost."""
    store = _store(directory)
    store.prepare()

    def work() -> None:
        for _ in range(times):
            with store.write() as tx:
                account = tx.get(Account, ACCOUNT)
                assert account is not None
                tx.update(account, name=account.name + "x")

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()


def test_no_writer_overwrites_another(tmp_path: Path) -> None:
    upgrade(f"sqlite:///{tmp_path / 'state.db'}")
    store = _store(tmp_path)
    with store.write() as tx:
        tx.insert(Account(ACCOUNT, "", tx.now))
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_lengthen, args=(tmp_path, 40)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    with store.read() as tx:
        (account,) = tx.select(Account)
    assert account.name == "x" * (2 * 3 * 40)
    store.close()


def test_what_a_log_holds_that_was_made_longer_is_there_after_a_crash(tmp_path: Path) -> None:
    """Its files are copied as they are on the disk, while nobody has closed the database."""
    upgrade(f"sqlite:///{tmp_path / 'state.db'}")
    store = _store(tmp_path)
    store.prepare()
    with store.write() as tx:
        tx.insert(Account(ACCOUNT, "kept", tx.now))
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for file in tmp_path.glob("state.db*"):
        if not file.name.endswith("-shm"):  # it is memory
            shutil.copy(file, crashed)
    store.close()
    found = _store(crashed)
    with found.read() as tx:
        assert [account.name for account in tx.select(Account)] == ["kept"]
    found.close()


def test_a_failed_transaction_leaves_the_connection_usable(tmp_path: Path) -> None:
    """Whatever the statement went through: the driver, SQLAlchemy, or a savepoint of its."""
    upgrade(f"sqlite:///{tmp_path / 'state.db'}")
    store = _store(tmp_path)

    def fail(way: str) -> None:
        with store.write() as tx:
            tx.insert(Account(ACCOUNT, way, tx.now))
            if way == "statement":
                tx.connection.execute(sa.update(accounts).values(name="changed"))
            if way == "savepoint":
                with tx.connection.begin_nested():
                    tx.insert(Account(ACCOUNT, way, tx.now))
            tx.insert(Account(ACCOUNT, way, tx.now))

    for way in ("driver", "statement", "savepoint"):
        with pytest.raises(sa.exc.IntegrityError):
            fail(way)
        with store.read() as tx:
            assert tx.select(Account) == []
    with store.write() as tx:
        tx.connection.execute(sa.insert(accounts).values(id=ACCOUNT, name="n", created_at=tx.now))
    with store.read() as tx:
        assert tx.count(Account) == 1
    store.close()


def test_who_waits_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_WAIT_SECONDS", 0.1)
    upgrade(f"sqlite:///{tmp_path / 'state.db'}")
    store = _store(tmp_path)

    def write() -> None:
        with store.write():
            pass

    with store.write(), pytest.raises(sa.exc.TimeoutError, match="held the database"):
        write()
    write()
    store.close()
