"""Parameters that the service model has and an operation does not honour: refused, never dropped."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from freehold.services.errors import UnsupportedOperation


def refuse_others(
    request: Mapping[str, Any],
    honoured: Collection[str],
    defaults: Mapping[str, Any] | None = None,
    within: str = "",
) -> None:
    """Refuse every parameter that is not in `honoured`, unless it asks for nothing.

    That is when it is empty, or has its value in `defaults`: what clients always send although AWS would do the same
    without. Members of structures, and of structures in lists, are named by their paths: ``"Placement.Tenancy"``; a
    path in `honoured` covers all that is under it. Raises UnsupportedOperation naming the parameter.
    """
    defaults = defaults or {}
    for name, value in request.items():
        path = f"{within}.{name}" if within else name
        if path in honoured or path == "DryRun" or value in ("", [], {}, None):
            continue
        if path in defaults and value == defaults[path]:
            continue
        if not any(known.startswith(f"{path}.") for known in (*honoured, *defaults)):
            raise UnsupportedOperation(f"The parameter {path}")
        for structure in value if isinstance(value, list) else [value]:
            refuse_others(structure, honoured, defaults, path)
