"""The history of the tables. `upgrade` brings a database to the newest form.

A new migration after changing records: ``python -m freehold.records.migrations "what changed"`` compares the record
types with the newest migration and writes a draft, which its author reads and completes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import sqlalchemy as sa
from alembic import command
from alembic.config import Config as AlembicConfig

# Every module that declares tables, so that `metadata` is whole.
from freehold.records import (  # noqa: F401
    accounts,
    audit,
    compute,
    connect,
    cpu_credits,
    encryption,
    event_windows,
    events,
    feed,
    fleets,
    identities,
    images,
    import_tasks,
    keys,
    launch_templates,
    lookups,
    network,
    placement,
    quotas,
    ready_machines,
    recycle_bin,
    reservations,
    root_tasks,
    seals,
    snapshots,
    spot,
    tags,
    trails,
    usage,
)
from freehold.records.schema import Instant, Json, metadata


def alembic_config(url: str) -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Create or upgrade the database at `url`; does nothing when it is up to date."""
    command.upgrade(alembic_config(url), "head")
    if url.startswith("sqlite"):
        # The file keeps it. Of several connections that would be the first to change it, one finds the database locked.
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        engine.dispose()


def drop(url: str) -> None:
    """Remove every table of ours from the database at `url`, which is left as it was before the first `upgrade`."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        metadata.drop_all(connection)
        connection.execute(sa.text("DROP TABLE IF EXISTS alembic_version"))
    engine.dispose()


def render_type(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Migrations name plain column types: they must not change when the code of our own types does."""
    if kind == "type" and isinstance(item, Instant):
        return "sa.BigInteger()"
    if kind == "type" and isinstance(item, Json):
        return "sa.Text()"
    return False
