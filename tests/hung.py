"""What QEMU says of a guest that does not come up: where its processors are, how its disks are."""

from __future__ import annotations

from contextlib import closing

from freehold.host.layout import Layout
from tests.host.disks import SpareMonitor

_ASKED = ("query-status", "query-blockstats", "query-block-jobs")
_ASKED_AS_PEOPLE_DO = ("info cpus", "info registers -a", "info irq", "info pic")


def examine(layout: Layout, instance_id: str) -> str:
    """The error, if it does not answer: who asks has failed already, and is to say why."""
    said: list[str] = []
    try:
        with closing(SpareMonitor(layout, instance_id)) as monitor:
            said += [f"{command}: {monitor.execute(command)}" for command in _ASKED]
            for line in _ASKED_AS_PEOPLE_DO:
                said.append(f"{line}: {monitor.execute('human-monitor-command', **{'command-line': line})}")
    except (OSError, ValueError) as error:
        said.append(repr(error))
    return "\n".join(said)
