"""The front door without its audit trail, to measure what that costs: ``python -m bench.unrecorded``."""

from __future__ import annotations

import sys
from typing import Any

from freehold.front import serve
from freehold.front.recording import Recorder
from freehold.records import audit


def _nothing(*_arguments: Any, **_named: Any) -> list[str]:
    return []


def main() -> int:
    Recorder.events = _nothing  # type: ignore[method-assign]
    audit.record = _nothing  # type: ignore[assignment]
    audit.AuditQueue.put = _nothing  # type: ignore[assignment, method-assign]
    return serve.main()


if __name__ == "__main__":
    sys.exit(main())
