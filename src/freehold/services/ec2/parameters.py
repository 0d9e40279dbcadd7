"""See freehold.services.parameters, which all services share."""

from __future__ import annotations

from freehold.services.parameters import refuse_others

__all__ = ["refuse_others"]
