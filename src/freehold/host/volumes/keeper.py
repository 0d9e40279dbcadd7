"""A QEMU without a machine, for work on disks that no guest has open.

What is in a disk's file may have been written by a guest that broke out into its QEMU, so that it is read as carefully
as by a guest's own: as a user of its own who may open nothing, from descriptors that it is handed.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from freehold.host.commands import start_confined
from freehold.host.hypervisor.monitor import Monitor, MonitorError
from freehold.host.hypervisor.qemu import without_machine
from freehold.host.layout import Layout, guest_uid

_END_SECONDS_MAX = 10.0


@asynccontextmanager
async def keeper(layout: Layout, name: str) -> AsyncIterator[Monitor]:
    """The monitor of such a QEMU. It ends with the block, and with the agent however that ends. `name` is of few
    letters, and no other one's at the same time. Raises HostError."""
    uid = guest_uid(f"keeper-{name}")
    path = layout.paths.host / f"{name}.sock"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(1)
        argv = without_machine(f"freehold-{layout.tag}-keeper-{name}", listener.fileno())
        argv = ["setpriv", "--pdeathsig", "KILL", *argv]
        process = await start_confined(argv, uid, pass_fds=(listener.fileno(),))
    try:
        monitor = await Monitor.connect(path, lambda: None)
        try:
            yield monitor
            await monitor.quit()
        finally:
            await monitor.close()
        async with asyncio.timeout(_END_SECONDS_MAX):
            await process.wait()
    except TimeoutError as error:
        raise MonitorError("QEMU does not end") from error
    finally:
        path.unlink(missing_ok=True)
        if process.returncode is None:
            process.kill()
            await process.wait()
