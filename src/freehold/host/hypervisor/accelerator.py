"""Which accelerator works here: KVM where a probe guest boots a 64-bit kernel under it, else QEMU's own emulation.

A present ``/dev/kvm`` proves nothing: on some machines firmware runs under it and the kernel then hangs. So the probe
boots an image's own kernel until a program runs, as the user and with the rights that guests have.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import msgspec
import structlog

from freehold.host import images
from freehold.host.commands import last_line, start_confined
from freehold.host.hypervisor.qemu import BINARY, Accelerator
from freehold.host.images import Kernel
from freehold.host.layout import Layout, guest_uid
from freehold.processes import boot_id

log = structlog.get_logger()

_DEVICE = Path("/dev/kvm")
_SIGN = b"freehold: waiting for a root volume"  # what the first program of an image says (images/guest/helper/boot.c)
_APPEND = "console=ttyS0 earlyprintk=serial panic=-1"
_SILENCE_SECONDS_MAX = 3.0  # a kernel that boots says something all the time
_PROBE_SECONDS_MAX = 30.0


class _Finding(msgspec.Struct, frozen=True):
    """What was found since the machine's boot `boot`: neither KVM nor QEMU's answer to it changes by itself."""

    accelerator: Accelerator
    boot: str


async def accelerator(layout: Layout) -> Accelerator:
    """What guests run on, probed once for each boot of the machine, and kept in a file."""
    remembered = layout.accelerator
    with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
        finding = msgspec.json.decode(remembered.read_bytes(), type=_Finding)
        if finding.boot == boot_id():
            return finding.accelerator
    stored = layout.paths.images
    present = (images.load(stored, image.name).kernel for image in sorted(stored.glob("ami-*")))
    kernel = next(filter(None, present), None)
    if kernel is None:
        return "tcg"  # nothing to probe with
    found: Accelerator = "kvm" if await _boots_under_kvm(kernel) else "tcg"
    remembered.write_bytes(msgspec.json.encode(_Finding(found, boot_id())))
    return found


def groups(of: Accelerator) -> tuple[int, ...]:
    """The groups that let a guest's user open the accelerator's device; never root's."""
    return tuple(group for group in (_DEVICE.stat().st_gid,) if group != 0) if of == "kvm" else ()


async def _boots_under_kvm(direct: Kernel) -> bool:
    if not _DEVICE.exists():
        return False
    uid = guest_uid("probe")
    kernel, initrd = (os.open(path, os.O_PATH | os.O_CLOEXEC) for path in (direct.kernel, direct.initrd))
    try:
        argv = (
            *(BINARY, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-accel", "kvm", "-cpu", "host", "-m", "256M", "-serial", "stdio"),
            *("-kernel", f"/dev/fd/{kernel}", "-initrd", f"/dev/fd/{initrd}", "-append", _APPEND),
        )
        process = await start_confined(
            argv,
            uid,
            groups=groups("kvm"),
            pass_fds=(kernel, initrd),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    finally:
        os.close(kernel)
        os.close(initrd)
    try:
        console = await _listen(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if _SIGN in console:
        return True
    log.warning("KVM is present, but no guest boots under it: guests are emulated", console=last_line(console))
    return False


async def _listen(process: asyncio.subprocess.Process) -> bytes:
    """What the probe writes until it shows the sign, ends, or falls silent."""
    assert process.stdout is not None
    console = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PROBE_SECONDS_MAX):
            while _SIGN not in console:
                async with asyncio.timeout(_SILENCE_SECONDS_MAX):
                    read = await process.stdout.read(4096)
                if not read:
                    break
                console += read
    return console
