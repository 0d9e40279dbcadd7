"""Processes of this machine, told apart beyond doubt. Only the standard library: the supervisor lives on it.

A process id alone proves nothing, for it is given to another process once its own has ended. With the moment of its
start and the machine's boot it names one process for ever; a signal goes through a handle (pidfd) that was checked.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Identity:
    """`start`: clock ticks from the boot to the process's start (proc_pid_stat(5), field 22)."""

    pid: int
    start: int
    boot: str


@cache
def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identity(pid: int) -> Identity | None:
    """Who has this process id now; None if no one, or a process that has ended and is not yet buried."""
    try:
        # The name in parentheses may itself have spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else Identity(pid, int(fields[19]), boot_id())


def alive(who: Identity) -> bool:
    return identity(who.pid) == who


def handle(who: Identity) -> int | None:
    """An open pidfd of exactly this process, to be closed by the caller; None if it has ended."""
    try:
        opened = os.pidfd_open(who.pid)
    except ProcessLookupError:
        return None
    if alive(who):  # the handle is open: the number can not have passed on unseen
        return opened
    os.close(opened)
    return None


def ended(opened: int, seconds: float) -> bool:
    """Whether the process of a handle ends within so many seconds."""
    poll = select.poll()
    poll.register(opened, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def end(who: Identity, seconds: float) -> None:
    """Have a process ended: it is asked, and after so many seconds killed. Nothing if it has ended already."""
    opened = handle(who)
    if opened is None:
        return
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(opened, signal.SIGTERM)
            if not ended(opened, seconds):
                signal.pidfd_send_signal(opened, signal.SIGKILL)
        ended(opened, 10)
    finally:
        os.close(opened)


def register(path: Path, argv: Sequence[str]) -> None:
    """Write down that the calling process is about to become `argv`; to be called between fork and exec, which keep
    its identity."""
    me = identity(os.getpid())
    assert me is not None
    temporary = path.with_suffix(f".{me.pid}")
    temporary.write_text(json.dumps({**asdict(me), "argv": list(argv)}))
    temporary.rename(path)


def registered(path: Path) -> tuple[Identity, tuple[str, ...]] | None:
    """The process that registered in this file and what it runs, if it still does."""
    try:
        read = json.loads(path.read_text())
        who = Identity(read["pid"], read["start"], read["boot"])
        return (who, tuple(read["argv"])) if alive(who) else None
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):  # spoilt by a full disk or a person: it proves nothing
        return None


def children(pid: int) -> set[int]:
    """The pids of the processes that a process began; none when it has ended."""
    found: set[int] = set()
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.update(map(int, listed.read_text().split()))
    return found


def guests(tag: str) -> dict[str, Identity]:
    """The QEMU processes of a cloud by instance id, from the kernel's list of processes."""
    return _qemus(tag, "i")


def standbys(tag: str) -> dict[str, Identity]:
    """The QEMU processes that stand ready for instances that are still to be launched, by the id that the instance will
    have. In its control group such a process is the instance's guest."""
    return _qemus(tag, "i", standing_by=True)


def shares(tag: str) -> dict[str, Identity]:
    """The QEMU processes that have a volume open for several guests, by volume id."""
    return _qemus(tag, "vol")


def _qemus(tag: str, kind: str, *, standing_by: bool = False) -> dict[str, Identity]:
    found = {}
    name = re.compile(f"guest=freehold-{re.escape(tag)}-(ready-)?({kind}-[0-9a-f]+)(?:,.*)?".encode())
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        for argument in _first_arguments(entry.name):
            if (match := name.fullmatch(argument)) and (who := identity(int(entry.name))):
                of = match[2].decode()
                if standing_by == (match[1] is not None and not _is_in_group(who, f"freehold-{tag}/{of}")):
                    found[of] = who
    return found


def _is_in_group(who: Identity, name: str) -> bool:
    """Whether a process is in a control group of this name (cgroups(7)); not if it has ended."""
    try:
        groups = Path(f"/proc/{who.pid}/cgroup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return any(group.endswith(f"/{name}") for group in groups)


def _first_arguments(pid: str) -> list[bytes]:
    """The first 8; none if the process has ended. A path and a buffer for each would be half of a look at them all."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:
            return file.read(4096).split(b"\0")[:8]
    except (FileNotFoundError, ProcessLookupError):
        return []
