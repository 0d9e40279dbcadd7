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
from freehold.records.store import Store
from freehold.records.wake import SocketBell

settings.register_profile("untimed", settings(), deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")


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


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql_url: str) -> str:
    """The name of a migrated, empty PostgreSQL database to copy."""
    import psycopg

    with psycopg.connect(postgresql_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE DATABASE migrated")
    upgrade(postgresql_url.replace("/postgres?", "/migrated?"))
    return "migrated"


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
    import psycopg

    server: str = request.getfixturevalue("postgresql_url")
    template: str = request.getfixturevalue("migrated_postgresql")
    name = f"t{os.urandom(6).hex()}"
    libpq = server.replace("+psycopg", "")
    with psycopg.connect(libpq, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE {template}')
    opened = Store(server.replace("/postgres?", f"/{name}?"), SocketBell(bells))
    yield opened
    opened.close()
    with psycopg.connect(libpq, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}"')


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A migrated, empty store; the test runs once on SQLite and once on PostgreSQL."""
    with opened_store(request.param, tmp_path, request) as opened:
        yield opened
