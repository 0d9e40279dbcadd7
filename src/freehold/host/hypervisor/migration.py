"""A machine's state, all but its memory, saved into a file and loaded from it by QEMU's migration.

The memory is in a file of its own, which a template writes and its clones only read. QEMU leaves such memory out of the
state by a capability that bears the name of an experiment, ``x-ignore-shared``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import cast

from freehold.host.hypervisor.monitor import Monitor, MonitorError

_NAME = "state"


async def save(monitor: Monitor, file: int) -> None:
    """Write the state of a machine whose CPUs are stopped. Raises MonitorError."""
    await _move(monitor, "migrate", file)
    answer = cast(dict[str, object], await monitor.execute("query-migrate"))
    if answer.get("status") != "completed":
        raise MonitorError(f"QEMU did not save the machine: {answer.get('error-desc', 'it does not say why')}")


async def load(monitor: Monitor, state: int) -> None:
    """Load the state into a machine that was started for it; its CPUs stay stopped. Nothing where it is loaded.

    Raises MonitorError: QEMU ends if it can not load it.
    """
    if await monitor.status() == "inmigrate":
        # The machine has no network card yet. QEMU would announce those that it gets within the next second, and have
        # its guest do so too, as if they had come from elsewhere.
        await monitor.execute("migrate-set-parameters", {"announce-rounds": 0})
        # A descriptor of its own: machines that load it at the same time read it each from the beginning.
        file = os.open(f"/proc/self/fd/{state}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            await _move(monitor, "migrate-incoming", file)
        finally:
            os.close(file)
        await _be_capable(monitor, capable=False)  # what is saved of the guest itself is whole


async def _move(monitor: Monitor, command: str, file: int) -> None:
    await _be_capable(monitor, capable=True)
    await monitor.hand_over(file, "getfd", {"fdname": _NAME})
    await monitor.execute_until(command, {"uri": f"fd:{_NAME}"}, "MIGRATION", _ended)


async def _be_capable(monitor: Monitor, *, capable: bool) -> None:
    wanted = [{"capability": name, "state": capable} for name in ("x-ignore-shared", "events")]
    await monitor.execute("migrate-set-capabilities", {"capabilities": wanted})


def _ended(data: Mapping[str, object]) -> bool:
    return data.get("status") in ("completed", "failed", "cancelled")
