"""The one gate through which a guest's reconciler changes the world.

Every change outside this process (a file, a process, a port, a command to QEMU) passes `perform` under a name. In
production that adds nothing. The cut test puts its own gate here, which ends the process just before or after a named
effect or does the effect twice, and then shows that a new agent converges: so the test covers effects that are added
later without knowing them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class Effects:
    async def perform(self, name: str, action: Callable[[], Awaitable[T]]) -> T:
        """Do `action`, which must be safe to do again and to be cut anywhere."""
        return await action()
