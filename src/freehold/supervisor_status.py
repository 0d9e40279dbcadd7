"""What the supervisor of a cloud tells: for commands, which need not load the supervisor itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from freehold.processes import Identity, alive

SUPERVISOR_PID = "supervisor.pid"
"""Where whoever starts a supervisor registers it, in the run directory."""


def status_path(run: Path) -> Path:
    return run / "status.json"


def read_status(run: Path) -> dict[str, Any] | None:
    """What the living supervisor of a cloud says; None if there is none."""
    try:
        status: dict[str, Any] = json.loads(status_path(run).read_text())
    except FileNotFoundError:
        return None
    return status if alive(Identity(**status["supervisor"])) else None
