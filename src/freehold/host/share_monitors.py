"""The monitors of the QEMUs that have volumes open for several guests."""

from __future__ import annotations

from collections.abc import Callable

from freehold.host.hypervisor.monitor import Monitor
from freehold.host.layout import Layout


class ShareMonitors:
    """`changed` is called whenever the state of one of them may have changed, also when it has ended."""

    def __init__(self) -> None:
        self.changed: Callable[[], None] = lambda: None
        self._open: dict[str, Monitor] = {}

    def find(self, volume_id: str) -> Monitor | None:
        """That of a volume's QEMU, if it is connected."""
        monitor = self._open.get(volume_id)
        return monitor if monitor is not None and monitor.alive else None

    async def connect(self, layout: Layout, volume_id: str) -> Monitor:
        """Raises MonitorError."""
        if (monitor := self.find(volume_id)) is not None:
            return monitor
        await self.drop(volume_id)
        monitor = await Monitor.connect(layout.share(volume_id).monitor, self._call_changed)
        self._open[volume_id] = monitor
        return monitor

    def _call_changed(self) -> None:
        self.changed()

    async def drop(self, volume_id: str) -> None:
        monitor = self._open.pop(volume_id, None)
        if monitor is not None:
            await monitor.close()

    async def close(self) -> None:
        for volume_id in list(self._open):
            await self.drop(volume_id)
