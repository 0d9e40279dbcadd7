"""The balloon of a guest: memory that the guest's own system gives back to the host, for as long as that lacks it.

A guest that has no memory left takes it back by itself (``deflate-on-oom``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from freehold.host.hypervisor.monitor import Monitor, Refused

_DEVICE = "/machine/peripheral/balloon0"
_STATISTICS_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Balloon:
    """In bytes: what the guest has now, and how much of that its system could do without (``MemAvailable``); None: it
    has not said."""

    actual: int
    spare: int | None


async def read(monitor: Monitor) -> Balloon | None:
    """None: the guest has no driver for it. Has the guest say every other second how it fares from now on."""
    if await _get(monitor, "guest-stats-polling-interval") != _STATISTICS_SECONDS:
        polling = {"path": _DEVICE, "property": "guest-stats-polling-interval", "value": _STATISTICS_SECONDS}
        await monitor.execute("qom-set", polling)
    try:
        answer = cast(dict[str, int], await monitor.execute("query-balloon"))
        said = cast(dict[str, dict[str, int]], await _get(monitor, "guest-stats"))
    except Refused:
        return None
    spare = said["stats"].get("stat-available-memory", -1)
    return Balloon(answer["actual"], spare if 0 <= spare < 1 << 62 else None)


async def set_target(monitor: Monitor, size: int) -> None:
    """Let the guest have this many bytes."""
    await monitor.execute("balloon", {"value": size})


async def _get(monitor: Monitor, name: str) -> object:
    return await monitor.execute("qom-get", {"path": _DEVICE, "property": name})
