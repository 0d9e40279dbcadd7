"""Clients speak with a cloud that has real servers, as end-to-end tests do."""

from __future__ import annotations

from tests.e2e.conftest import servers

__all__ = ["servers"]
