"""QEMU processes: started as nobody's children, found again by their name, ended for certain.

The truth is the kernel's list of processes, not a pid file: an agent that was killed between starting a QEMU and
writing that down finds it all the same.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from freehold.host.commands import last_line, leave_running
from freehold.host.errors import CannotStart, HostError
from freehold.host.hypervisor.accelerator import groups
from freehold.host.hypervisor.disks import Disk
from freehold.host.hypervisor.disks import opened as opened_disk
from freehold.host.hypervisor.firmware import UEFI_CODE
from freehold.host.hypervisor.qemu import (
    BINARY,
    Accelerator,
    Bios,
    Boot,
    Descriptors,
    DirectKernel,
    InheritedDisk,
    Uefi,
    command_line,
)
from freehold.host.images import Kernel
from freehold.host.layout import GuestPaths, guest_uid, is_volume_id
from freehold.host.ports.taps import open_tap
from freehold.host.templates.store import Template
from freehold.host.wire import GuestSpec
from freehold.processes import Identity, guests, handle, shares

_EXIT_SECONDS_MAX = 10.0
_OOM_SCORE = 500
_LOG_BYTES_MAX = 64 * 1024


def find(tag: str, of: str) -> Identity | None:
    """The QEMU of an instance or of a volume, if it runs: looked for among all processes of the machine."""
    return (shares(tag) if is_volume_id(of) else guests(tag)).get(of)


def mark_as_spare(pid: int) -> None:
    """If the host runs out of memory, its kernel ends this one before all others. Raises OSError if it has ended."""
    Path(f"/proc/{pid}/oom_score_adj").write_text("1000")


async def spawn(
    spec: GuestSpec,
    tag: str,
    accelerator: Accelerator,
    kernel: Kernel | None,
    paths: GuestPaths,
    disks: Sequence[Disk],
    *,
    guest_agent: bool,
    slots: Mapping[str, int] | None = None,
    template: Template | None = None,
    stands_ready: bool = False,
) -> None:
    """Start a guest's QEMU, its CPUs stopped. `kernel` None: its firmware starts it. `disks` has the boot disk first;
    `guest_agent`: its machine has a port for that. `slots` says where each disk and card is, if that must not
    be as usual. With a `template` it waits for the template's state, and has no disks and network cards; then it may
    be one that `stands_ready` (`standbys` of freehold.processes).

    Returns when the process is on its way; whether it came up is seen on its monitor. Raises CannotStart if a file
    is missing, HostError if the program can not be run.
    """
    uid = guest_uid(spec.instance_id)
    with ExitStack() as opened:

        def file(path: Path) -> int:
            try:
                number = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise CannotStart(f"{path} is missing; bring it back or terminate the instance.") from error
            opened.callback(os.close, number)
            return number

        def listener(path: Path) -> int:
            path.unlink(missing_ok=True)
            made = opened.enter_context(socket.socket(socket.AF_UNIX))
            made.bind(str(path))
            path.chmod(0o600)
            made.listen(4)
            return made.fileno()

        def secret(passphrase: str) -> int:
            """A pipe from which QEMU, and nobody after it, reads it."""
            reading, writing = os.pipe()
            opened.callback(os.close, reading)
            os.fchown(reading, uid, uid)  # QEMU opens it anew, by /dev/fd
            os.write(writing, passphrase.encode())
            os.close(writing)
            return reading

        def tap(interface_id: str) -> int:
            number = open_tap(interface_id)
            opened.callback(os.close, number)
            return number

        def boot() -> Boot:
            if kernel is not None:
                return DirectKernel(file(kernel.kernel), file(kernel.initrd), kernel.append)
            if spec.boot_mode == "uefi":
                return Uefi(file(UEFI_CODE), file(paths.uefi_variables))
            return Bios()

        paths.console_log.touch(mode=0o600)
        os.chown(paths.console_log, uid, uid)
        descriptors = Descriptors(
            boot=boot(),
            monitor=listener(paths.monitor),
            spare_monitor=listener(paths.spare_monitor),
            console=listener(paths.console),
            console_log=file(paths.console_log),
            guest_agent=listener(paths.guest_agent) if guest_agent else None,
            disks=tuple(
                InheritedDisk(opened_disk(disk, opened), {key: secret(words) for key, words in disk.keys.items()})
                for disk in disks
            ),
            taps=tuple(tap(interface.interface_id) for interface in spec.interfaces) if template is None else (),
            memory=None if template is None else template.memory,
            preloaded=None if template is None else template.library,
        )
        log = opened.enter_context(_truncated_log(paths.qemu_log).open("ab"))
        line = command_line(spec, tag, accelerator, descriptors, slots, stands_ready=stands_ready)
        given = {"groups": groups(accelerator), "pass_fds": descriptors.all()}
        if not await leave_running(line, uid, _OOM_SCORE, **given, log=log):
            raise HostError(f"{BINARY} could not be started: {last_words(paths)}")


def last_words(paths: GuestPaths) -> str:
    """The last line that QEMU wrote about itself, but for that it waits for us."""
    lines = paths.qemu_log.read_bytes().splitlines(keepends=True) if paths.qemu_log.exists() else []
    return last_line(b"".join(line for line in lines if b"QEMU waiting for connection" not in line))


async def end(tag: str, instance_id: str) -> None:
    """End a guest's QEMU by force and wait until it is gone. Raises HostError if the kernel does not let it go."""
    while (who := find(tag, instance_id)) is not None:
        opened = handle(who)
        if opened is None:
            continue
        try:
            signal.pidfd_send_signal(opened, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it ended by itself
        finally:
            os.close(opened)
        if not await ended(who, _EXIT_SECONDS_MAX):
            raise HostError(
                f"The process {who.pid} of {instance_id} does not end; see what it waits for in /proc/{who.pid}."
            )


async def ended(who: Identity, seconds_max: float) -> bool:
    """Wait for a QEMU that was told to quit."""
    opened = handle(who)
    if opened is None:
        return True
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(opened, gone.set)  # pidfd_open(2): readable once the process has ended
    try:
        async with asyncio.timeout(seconds_max):
            await gone.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(opened)
        os.close(opened)
    return True


def demand(pid: int) -> float:
    """Seconds that all threads of a process have used a core or waited for one (Linux, sched-stats.rst)."""
    total = 0
    for statistics in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            used, waited, _ = statistics.read_text().split()
        except (OSError, ValueError):
            continue  # the thread ended
        total += int(used) + int(waited)
    return total / 1e9


def _truncated_log(path: Path) -> Path:
    if path.exists() and path.stat().st_size > _LOG_BYTES_MAX:
        path.unlink()
    return path
