"""Limits of a guest's CPU time and memory, by control groups: version 2, or 1 where that is what is mounted.

A guest's group is ``freehold-<tag>/<instance-id>``. The files are those of the kernel's documents cgroup-v2.rst,
sched-bwc.rst and cgroup-v1/memory.rst.
"""

from __future__ import annotations

import contextlib
import errno
from dataclasses import dataclass
from pathlib import Path

from freehold.host.errors import HostError
from freehold.host.hypervisor.qemu import translation_cache_mib
from freehold.host.wire import GuestSpec

_PERIOD_MICROSECONDS = 100_000
_QUOTA_MIN = 1000  # the kernel takes no less
_OVERHEAD_MIB = 320  # QEMU itself, and page cache of its disk so that writing does not stall at once


@dataclass(frozen=True, slots=True)
class Limits:
    cpu_quota_microseconds: int  # of each period
    memory_bytes: int

    @classmethod
    def of(cls, spec: GuestSpec, vcpus: float | None = None) -> Limits:
        """`vcpus`: how many's worth of time it may use; None: all of its own."""
        mib = spec.memory_mib + translation_cache_mib(spec.memory_mib, boots=True) + _OVERHEAD_MIB
        quota = round((spec.vcpus if vcpus is None else vcpus) * _PERIOD_MICROSECONDS)
        return cls(max(quota, _QUOTA_MIN), mib * 1024 * 1024)


SHARE_LIMITS = Limits(_PERIOD_MICROSECONDS, _OVERHEAD_MIB * 1024 * 1024)
"""Of the QEMU of a volume that several guests have."""


@dataclass(frozen=True, slots=True)
class Cgroups:
    """`hierarchies` are directories to make a group in, each with the files that it sets. `unified` = version 2."""

    tag: str
    hierarchies: tuple[tuple[Path, str], ...]  # (mount point, controller or "" for version 2)

    @classmethod
    def detect(cls, tag: str, mounts: Path = Path("/proc/self/mounts")) -> Cgroups:
        found: list[tuple[Path, str]] = []
        unified: Path | None = None
        for line in mounts.read_text().splitlines():
            _, point, kind, options = line.split()[:4]
            if kind == "cgroup":
                found += [(Path(point), name) for name in options.split(",") if name in ("cpu", "memory")]
            elif kind == "cgroup2":
                unified = Path(point)
        if not found and unified is not None:
            found = [(unified, "")]
        return cls(tag, tuple(found))

    def limitation(self) -> str | None:
        """Why guests can not be limited here, in an operator's words; None if they can."""
        if not self.hierarchies:
            return "No control groups are mounted: guests run without limits of CPU and memory."
        try:
            for point, controller in self.hierarchies:
                (point / self._parent).mkdir(exist_ok=True)
                if not controller:
                    self._delegate(point)
        except OSError as error:
            return f"Control groups can not be made ({error.strerror}): guests run without limits of CPU and memory."
        return None

    def ensure(self, instance_id: str, limits: Limits, pid: int) -> None:
        """Have the guest's group with its limits, and QEMU with all its threads in it."""
        for point, controller in self.hierarchies:
            group = point / self._parent / instance_id
            group.mkdir(parents=True, exist_ok=True)
            for name, value in files(controller, limits):
                (group / name).write_text(value)
            if str(pid) not in (group / "cgroup.procs").read_text().split():
                (group / "cgroup.procs").write_text(str(pid))

    def out_of_memory(self, instance_id: str) -> bool:
        """Whether the kernel has ended a process of the guest's group because memory ran out, its own or the host's."""
        for point, controller in self.hierarchies:
            name = {"": "memory.events", "memory": "memory.oom_control"}.get(controller)
            with contextlib.suppress(FileNotFoundError):
                if name and "oom_kill 0" not in (point / self._parent / instance_id / name).read_text():
                    return True
        return False

    def guests(self) -> set[str]:
        """The instances that have a group."""
        parents = (point / self._parent for point, _ in self.hierarchies)
        return {group.name for parent in parents if parent.is_dir() for group in parent.iterdir() if group.is_dir()}

    def remove(self, instance_id: str) -> None:
        """Have no such group. Raises HostError while a process is in it."""
        for point, _ in self.hierarchies:
            try:
                (point / self._parent / instance_id).rmdir()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise HostError(f"The control group of {instance_id} can not be removed: {error.strerror}.") from error

    def remove_parent(self) -> None:
        """Remove the cloud's own group if it is empty."""
        for point, _ in self.hierarchies:
            with contextlib.suppress(FileNotFoundError):
                try:
                    (point / self._parent).rmdir()
                except OSError as error:
                    if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                        raise

    @property
    def _parent(self) -> str:
        return f"freehold-{self.tag}"

    def _delegate(self, point: Path) -> None:
        for group in (point, point / self._parent):
            (group / "cgroup.subtree_control").write_text("+cpu +memory")


def files(controller: str, limits: Limits) -> tuple[tuple[str, str], ...]:
    """The files of a group and what to write to them, in order."""
    match controller:
        case "":
            return (
                ("cpu.max", f"{limits.cpu_quota_microseconds} {_PERIOD_MICROSECONDS}"),
                ("memory.max", str(limits.memory_bytes)),
            )
        case "cpu":
            return (
                ("cpu.cfs_period_us", str(_PERIOD_MICROSECONDS)),
                ("cpu.cfs_quota_us", str(limits.cpu_quota_microseconds)),
            )
        case _:
            return (("memory.limit_in_bytes", str(limits.memory_bytes)),)
