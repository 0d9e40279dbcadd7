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
    without. `within` is the structure that the parameters are members of: ``"Placement"``. Raises UnsupportedOperation
    naming the parameter.
    """
    for name, value in request.items():
        if name in honoured or name == "DryRun" or value in ("", [], {}, None):
            continue
        if defaults is None or name not in defaults or value != defaults[name]:
            raise UnsupportedOperation(f"The parameter {within + '.' if within else ''}{name}")
