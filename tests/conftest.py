"""Fixtures that every test may use."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

from freehold.records.migrations import upgrade
from freehold.records.schema import TABLES
from freehold.records.store import Store
from freehold.records.wake import SocketBell
from tests.templates import SharedTemplates

settings.register_profile("untimed", settings(), deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")


_BOOT_GUESTS = {"cli", "control", "e2e", "fabric", "host", "images"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that take long first: workers get a file each in this order, and none is to begin one of minutes last."""
    items.sort(key=lambda item: item.path.parent.name not in _BOOT_GUESTS)


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A PostgreSQL cluster of this test run's own, on a Unix socket in a temporary directory."""
    (bin_dir,) = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]
    directory = Path(tempfile.mkdtemp(prefix="freehold-pg-"))
    shutil.chown(directory, "postgres")

    def as_postgres(*command: str | Path) -> None:
        subprocess.run(
            command,
            check=True,
            user="postgres",
            cwd=directory,
            env={"PATH": os.environ["PATH"]},
            stdout=subprocess.DEVNULL,
        )

    data = directory / "data"
    as_postgres(
        bin_dir / "initdb", "-D", data, "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "-U", "postgres"
    )
    options = f"-c listen_addresses='' -c unix_socket_directories={directory} -c fsync=off -c max_connections=60"
    as_postgres(bin_dir / "pg_ctl", "-D", data, "-o", options, "-l", directory / "log", "-w", "start")
    try:
        yield f"postgresql+psycopg://postgres@/postgres?host={directory}"
    finally:
        as_postgres(bin_dir / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite database to copy: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("template") / "state.db"
    upgrade(f"sqlite:///{path}")
    return path


class Databases:
    """Migrated, empty databases of a PostgreSQL server. A test has one to itself, which is emptied for the next one: to
    make one takes longer than most tests."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._free: list[str] = []

    @contextmanager
    def one(self) -> Iterator[str]:
        """The URL of a database."""
        url = self._free.pop() if self._free else self._made()
        yield url
        self._empty(url)
        self._free.append(url)

    def _made(self) -> str:
        import psycopg

        name = f"t{os.urandom(6).hex()}"
        with psycopg.connect(_libpq(self._url), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        url = self._url.replace("/postgres?", f"/{name}?")
        upgrade(url)
        return url

    def _empty(self, url: str) -> None:
        """As it was made, whatever the test's processes had it do when they were killed."""
        import psycopg

        with psycopg.connect(_libpq(url), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            counted = {table.name for table in TABLES.values() if table.autoincrement_column is not None}
            held = (f"SELECT '{table}' WHERE EXISTS (SELECT FROM {table})" for table in TABLES.values())
            names = counted.union(name for (name,) in connection.execute(" UNION ALL ".join(held)))
            connection.execute(f"TRUNCATE {', '.join(names)} RESTART IDENTITY CASCADE")


def _libpq(url: str) -> str:
    return url.replace("+psycopg", "")


@pytest.fixture(scope="session")
def databases(postgresql_url: str) -> Databases:
    return Databases(postgresql_url)


@contextmanager
def opened_store(database: str, directory: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    """A migrated, empty store on ``sqlite`` (a file in `directory`) or ``postgresql`` (a database of its own)."""
    bells = directory / "bells"
    bells.mkdir()
    if database == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_sqlite"), directory / "state.db")
        opened = Store(f"sqlite:///{directory / 'state.db'}", SocketBell(bells))
        yield opened
        opened.close()
        return
    databases: Databases = request.getfixturevalue("databases")
    with databases.one() as url:
        opened = Store(url, SocketBell(bells))
        yield opened
        opened.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A migrated, empty store; the test runs once on SQLite and once on PostgreSQL."""
    with opened_store(request.param, tmp_path, request) as opened:
        yield opened


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> SharedTemplates:
    own = tmp_path_factory.getbasetemp()  # of this worker
    return SharedTemplates((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "templates")
