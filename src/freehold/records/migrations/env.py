"""Alembic's entry point: runs the migrations on the URL that `upgrade` was given."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context

from freehold.records.migrations import render_type
from freehold.records.schema import metadata

engine = sa.create_engine(context.config.attributes["url"])
with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_item=render_type,
        render_as_batch=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
