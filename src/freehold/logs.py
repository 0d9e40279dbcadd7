"""How Freehold's processes log."""

from __future__ import annotations

import logging
import sys

import structlog


def log_as_json() -> None:
    """One JSON object a line on stderr: control characters in a caller's text are escaped, tracebacks are a field."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
