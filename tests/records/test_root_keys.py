"""The root key: where it comes from, several generations of it, and sealing everything anew while the cloud runs."""

from __future__ import annotations

import itertools
import os
import stat
import threading
from pathlib import Path

import pytest

from freehold.config import RootKey
from freehold.records import sessions
from freehold.records.access_keys import create_access_key
from freehold.records.accounts import AccessKey, Account
from freehold.records.ids import AccountId
from freehold.records.root_keys import RETIRED_SECONDS, Files, root_keys
from freehold.records.root_rotation import SEALED, rotate
from freehold.records.schema import TABLES
from freehold.records.secrets import ACCESS_KEY, Sealer, SealError
from freehold.records.store import Store

ACCOUNT = AccountId("111122223333")


def names(directory: Path) -> set[str]:
    return {path.name for path in (directory / "keys").iterdir()}


def fill(store: Store, sealer: Sealer, count: int) -> dict[str, str]:
    """Access keys: their secrets by id."""
    with store.write() as tx:
        if tx.get(Account, ACCOUNT) is None:
            tx.insert(Account(ACCOUNT, "test", tx.now))
        made = [create_access_key(tx, sealer, ACCOUNT, None) for _ in range(count)]
    return {key.id: secret for key, secret in made}


def opened(store: Store, sealer: Sealer) -> dict[str, str]:
    with store.read() as tx:
        return {key.id: sealer.open(ACCESS_KEY, key.id, key.sealed_secret).decode() for key in tx.select(AccessKey)}


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    sealers: list[Sealer] = []
    threads = [threading.Thread(target=lambda: sealers.append(Sealer.of(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(tmp_path) == {"root.1.key"}
    assert stat.S_IMODE((tmp_path / "keys" / "root.1.key").stat().st_mode) == 0o600
    sealed = sealers[0].seal("p", "o", b"secret")
    assert {sealer.open("p", "o", sealed) for sealer in sealers} == {b"secret"}


def test_what_is_sealed_opens_for_its_purpose_and_owner_alone(tmp_path: Path) -> None:
    sealer = Sealer.of(tmp_path)
    sealed = sealer.seal("p", "o", b"secret")
    assert b"secret" not in sealed
    for purpose, owner, value in (
        ("p", "other", sealed),
        ("other", "o", sealed),
        ("p", "o", sealed[:-1]),
        ("p", "o", b""),
        ("p", "o", b"\0" + sealed[1:]),
        ("p", "o", sealed[:20]),
    ):
        with pytest.raises(SealError):
            sealer.open(purpose, owner, value)
    with pytest.raises(SealError):
        Sealer(bytes(32)).open("p", "o", sealed)


def test_a_damaged_key_is_said_to_be(tmp_path: Path) -> None:
    Sealer.of(tmp_path)
    (tmp_path / "keys" / "root.1.key").write_bytes(b"short")
    with pytest.raises(SealError, match=r"root\.1\.key: The root key must be 32 bytes, not 5"):
        Sealer.of(tmp_path)


def test_a_link_that_leads_nowhere_is_said_to(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "root.1.key").symlink_to("/nowhere")
    with pytest.raises(SealError, match=r"root\.1\.key leads nowhere"):
        Sealer.of(tmp_path)


def test_a_credential_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    (tmp_path / "freehold.toml").write_text('[root_key]\nsource = "credential"\ncredential = "lab"\n')
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(SealError, match="systemd-run"):
        Sealer.of(tmp_path)
    given = tmp_path / "given"
    given.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
    with pytest.raises(SealError, match="can not be read"):
        Sealer.of(tmp_path)
    (given / "lab").write_bytes(os.urandom(32))
    secrets = fill(store, Sealer.of(tmp_path), 3)
    assert not (tmp_path / "keys").exists()
    (given / "lab").rename(given / "lab.previous")
    (given / "lab").write_bytes(os.urandom(32))
    keys = root_keys(tmp_path, RootKey(source="credential", credential="lab"))
    assert "can be taken away" in list(rotate(store, Sealer(keys), keys))[-1]
    (given / "lab.previous").unlink()
    assert opened(store, Sealer.of(tmp_path)) == secrets


def test_a_rotation_seals_everything_anew(tmp_path: Path, store: Store) -> None:
    running, keys = Sealer.of(tmp_path), Files(tmp_path / "keys")
    secrets = fill(store, running, 450)  # more than two transactions' worth
    token = running.seal("token", "o", b"still good")
    old = Sealer((tmp_path / "keys" / "root.1.key").read_bytes())
    steps = list(rotate(store, Sealer(keys), keys))
    assert steps[0] == "Made root key 2."
    assert steps[-1] == "Retired root key 1."
    assert names(tmp_path) == {"root.1.retired", "root.2.key"}
    secrets |= fill(store, running, 1)  # a process that runs takes notice
    assert opened(store, running) == secrets
    assert running.open("token", "o", token) == b"still good"
    with pytest.raises(SealError):
        opened(store, old)
    assert keys.overdue() == []
    retired = tmp_path / "keys" / "root.1.retired"
    long_ago = retired.stat().st_mtime - RETIRED_SECONDS - 1
    os.utime(retired, (long_ago, long_ago))
    keys.delete(keys.overdue())
    assert names(tmp_path) == {"root.2.key"}
    assert opened(store, running) == opened(store, Sealer.of(tmp_path)) == secrets
    with pytest.raises(SealError):
        running.open("token", "o", token)


def test_at_once_ends_session_tokens(tmp_path: Path, store: Store) -> None:
    running, keys = Sealer.of(tmp_path), Files(tmp_path / "keys")
    holder = sessions.Holder(ACCOUNT, "root", ACCOUNT)
    with store.read() as tx:
        made = sessions.issue(running, holder, sessions.Session(tx.now, tx.now))
    list(rotate(store, running, keys, at_once=True))
    assert names(tmp_path) == {"root.2.key"}
    with pytest.raises(sessions.TokenError):
        sessions.opened(running, made.access_key_id, made.session_token)


def test_a_rotation_that_is_cut_off_anywhere_is_finished_by_the_next(tmp_path: Path, store: Store) -> None:
    secrets = fill(store, Sealer.of(tmp_path), 250)
    for cut in itertools.count(1):
        keys = Files(tmp_path / "keys")
        done = len(list(itertools.islice(rotate(store, Sealer(keys), keys), cut)))
        assert opened(store, Sealer.of(tmp_path)) == secrets
        secrets |= fill(store, Sealer.of(tmp_path), 1)
        list(rotate(store, Sealer(keys), keys, at_once=True))
        assert len(names(tmp_path)) == 1
        assert opened(store, Sealer.of(tmp_path)) == secrets
        if done < cut:
            break
    assert cut > 3


def test_all_that_is_sealed_is_sealed_anew() -> None:
    """Columns are named after what they hold."""
    sealed = {
        (record, column.name) for record, table in TABLES.items() for column in table.c if "sealed" in column.name
    }
    assert sealed == {(of.record, of.column) for of in SEALED}
