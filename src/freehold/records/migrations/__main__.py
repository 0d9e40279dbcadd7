"""Draft a migration: ``python -m freehold.records.migrations "what changed"``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command

from freehold.records.migrations import alembic_config, upgrade

with tempfile.TemporaryDirectory() as directory:
    url = f"sqlite:///{Path(directory) / 'draft.db'}"
    upgrade(url)
    command.revision(alembic_config(url), message=sys.argv[1], autogenerate=True)
