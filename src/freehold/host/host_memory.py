"""How much memory the machine has left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from freehold.host.errors import CannotStart

_FREE_BYTES_MIN = 512 << 20
_FREE_PART = 20  # a twentieth of the machine's memory, if that is more


@dataclass(frozen=True, slots=True)
class HostMemory:
    """In bytes, and how much of its time somebody waited for memory lately, in percent."""

    total: int
    available: int
    stalled: float

    @property
    def low(self) -> int:
        """Below this it is short of memory."""
        return max(_FREE_BYTES_MIN, self.total // _FREE_PART)


def read_memory() -> HostMemory:
    """proc_meminfo(5), and the kernel's document psi.rst."""
    found = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, available = (int(found[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    pressure = Path("/proc/pressure/memory")
    stalled = float(pressure.read_text().split("avg10=")[1].split()[0]) if pressure.exists() else 0.0
    return HostMemory(total, available, stalled)


def check_memory(memory_mib: int) -> None:
    """Raise CannotStart where a guest of this size would leave the host short of memory."""
    now = read_memory()
    if now.available - (memory_mib << 20) < now.low // 2:
        raise CannotStart(
            f"No memory left: {now.available >> 20} MiB are available on this host, the guest has {memory_mib} MiB; "
            "stop others, or lower compute.memory_overcommit."
        )
